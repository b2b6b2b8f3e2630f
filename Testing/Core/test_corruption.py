"""Examples to learn from: their levels of noise, its spectrum, and its kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from trainings import TINY, noisy_disk

from C2SCore import config
from C2SCore.config import Levels, Noise
from C2SCore.corruption import coloured, make_example, patch_size
from C2SCore.patches import Case, PatchSampler
from C2SCore.tensors import to_tensor


@pytest.mark.parametrize("density", ["uniform", "range"])
def test_examples_have_the_levels_they_claim(density: str) -> None:
    case = Case("scan", noisy_disk(sigma=0.02))
    case.prepare()
    recipe = TINY.replace(batch=64, levels=Levels(density=density, sigma_range=(0.05, 0.2)), neighbours=1)
    batch = PatchSampler([case], 32, 1).draw(64, np.random.default_rng(0))
    example = make_example(batch, recipe, np.random.default_rng(1), torch.Generator().manual_seed(1))
    added = (example.x_t[0] - example.x_d).std(dim=(1, 2, 3))
    assert torch.allclose(added, example.sigma_tau, rtol=0.15)
    assert torch.allclose(example.x_t[0] + example.x_t[1], 2 * example.x_d, atol=1e-5)
    if density == "range":
        assert float(example.sigma_t.min()) >= 0.05 * 0.999 and float(example.sigma_t.max()) <= 0.2 * 1.001
        # Neighbours are at the same level, or the model would learn to copy from quieter ones.
        assert example.aux is not None
        assert float((example.aux[:, 0] - to_tensor(batch.x[:, 1])).abs().mean()) > 0.01


def test_magnitude_examples_are_stabilised() -> None:
    case = Case("scan", noisy_disk(sigma=0.005))
    case.prepare()
    recipe = TINY.replace(
        batch=64,
        levels=Levels(density="range", sigma_range=(0.1, 0.2)),
        noise=Noise(rician=1.0),
        loss=config.Loss(antithetic=False),
    )
    batch = PatchSampler([case], 32, 1).draw(64, np.random.default_rng(0))
    example = make_example(batch, recipe, np.random.default_rng(1), torch.Generator().manual_seed(1))
    residual = (example.x_t[0] - example.x_d).std(dim=(1, 2, 3))
    assert torch.allclose(residual, torch.ones(64), atol=0.15)
    assert torch.allclose(example.sigma_t, torch.ones(64), atol=1e-4)


def test_coloured_noise_has_its_spectrum_and_unit_variance() -> None:
    power = torch.ones(400, 16, 16)
    power[:, :, 4:13] = 0
    power = power / power.mean(dim=(1, 2), keepdim=True)
    z, other = coloured(power, torch.Generator().manual_seed(0), 2)
    assert float(z.std()) == pytest.approx(1, rel=0.02) and float(other.std()) == pytest.approx(1, rel=0.02)
    assert abs(float((z * other).mean())) < 0.02
    measured = torch.fft.fft2(z).abs().square().mean(dim=(0, 1)) / 256
    assert torch.allclose(measured, power[0], atol=0.35)


def test_band_limited_patches_lose_their_high_frequencies() -> None:
    case = Case("scan", noisy_disk(sigma=0.05))
    case.prepare()
    recipe = TINY.replace(noise=Noise(band_limited=1.0))
    batch = PatchSampler([case], 32, 1).draw(32, np.random.default_rng(0), patch_size(recipe))
    example = make_example(batch, recipe, np.random.default_rng(1), torch.Generator().manual_seed(1))
    power = torch.fft.fft2(example.z).abs().square().mean(dim=(0, 1))
    assert example.x_d.shape[-1] == 32
    assert float(power[16, 16]) < 0.2 * float(power[2, 2])
