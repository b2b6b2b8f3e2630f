"""The network and the denoiser's contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from phantom import blur, noisy, phantom

from C2SCore import denoiser as denoisers
from C2SCore import network
from C2SCore.denoiser import Denoiser, measure_sigma_data
from C2SCore.denoising import Options, denoise
from C2SCore.inference import SlicePass
from C2SCore.model import load
from C2SCore.network import SIZES, UNet, pad_to_multiple


def _denoiser(size: str = "small", **channels: int) -> Denoiser:
    torch.manual_seed(0)
    denoiser = Denoiser(size, **channels).eval()
    # The exit starts at zero, where every property would hold trivially.
    for p in denoiser.parameters():
        if p.abs().sum() == 0:
            torch.nn.init.normal_(p, std=0.05)
    return denoiser


@pytest.mark.parametrize("size", sorted(SIZES))
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 7), (16, 16), (33, 50)])
def test_any_slice_size(size: str, shape: tuple[int, int]) -> None:
    with torch.no_grad():
        out = _denoiser(size)(torch.randn(2, 1, *shape), torch.ones(2))
    assert out.shape == (2, 1, *shape)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("size", sorted(SIZES))
@pytest.mark.parametrize("scale", [1e-3, 17.0, 4096.0])
def test_intensity_scale_does_not_matter(size: str, scale: float) -> None:
    denoiser = _denoiser(size, neighbours=1, contrasts=1)
    g = torch.Generator().manual_seed(1)
    x, near, other = (torch.randn(1, c, 24, 24, generator=g) + 3 for c in (1, 2, 1))
    with torch.no_grad():
        one = denoiser(x, torch.tensor([0.5]), torch.cat([near, other], 1))
        many = denoiser(scale * x, torch.tensor([scale * 0.5]), torch.cat([scale * near, other], 1))
    assert torch.allclose(many / scale, one, atol=2e-4)
    assert not torch.allclose(one, x, atol=0.05)


def test_the_level_is_seen() -> None:
    denoiser = _denoiser()
    x = torch.randn(1, 1, 24, 24) + 5
    with torch.no_grad():
        assert not torch.allclose(denoiser(x, torch.tensor([0.1])), denoiser(x, torch.tensor([1.0])), atol=1e-3)


def test_a_constant_map_equals_one_number() -> None:
    denoiser = _denoiser(neighbours=1)
    x, aux = torch.randn(2, 1, 17, 20) + 5, torch.randn(2, 2, 17, 20)
    with torch.no_grad():
        number = denoiser(x, torch.tensor([0.5, 0.7]), aux)
        as_map = denoiser(x, torch.tensor([0.5, 0.7]).reshape(2, 1, 1, 1).expand(2, 1, 17, 20), aux)
    assert torch.allclose(number, as_map, atol=1e-5)


def test_missing_neighbours_are_zeros() -> None:
    denoiser = _denoiser(neighbours=1)
    x = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(denoiser(x, torch.ones(1)), denoiser(x, torch.ones(1), torch.zeros(1, 2, 16, 16)))


def test_sigma_data_is_the_signal_under_the_noise() -> None:
    g = torch.Generator().manual_seed(0)
    x = 3 + 2 * torch.randn(1, 1, 256, 256, generator=g)
    assert float(measure_sigma_data(x, torch.full((1, 1, 1, 1), 2.0))) == pytest.approx(3, rel=0.02)


def test_small_is_small() -> None:
    assert sum(p.numel() for p in UNet(SIZES["small"]).parameters()) <= 500_000


def test_padding_reflects_where_it_can() -> None:
    x = torch.arange(5.0).reshape(1, 1, 1, 5)
    assert pad_to_multiple(x, 4)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 4, 4, 4]  # one row: nothing to reflect downwards
    x = torch.arange(6.0).expand(1, 1, 6, 6)
    assert pad_to_multiple(x, 4)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]


def test_bfloat16_stays_close_at_high_signal() -> None:
    denoiser = _denoiser()
    x = 100 + torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        exact = denoiser(x, torch.ones(1))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = denoiser(x, torch.ones(1))
    assert rounded.dtype == torch.float32
    assert float((rounded - exact).abs().mean()) < 0.02 * float((exact - x).abs().mean())


def test_a_mac_s_gpu_is_not_asked_for_autocast(monkeypatch) -> None:
    """PyTorch 2.4 knows the question, but no autocast of MPS: it raises."""

    def enabled(kind: str) -> bool:
        raise RuntimeError(f"unknown device type for autocast: {kind}")

    monkeypatch.setattr(torch, "is_autocast_enabled", enabled)
    assert not network._autocast_enabled("mps")


def test_nothing_is_channels_last_on_a_mac_s_gpu(monkeypatch) -> None:
    """PyTorch before 2.4 computes wrongly with such tensors there. The processor stands in for it."""
    denoiser, x = _denoiser(), 10 + torch.randn(2, 1, 24, 24)
    with torch.no_grad():
        usual = denoiser(x, torch.ones(2))
    assert network.order_in_memory("mps") == torch.contiguous_format != network.order_in_memory("cuda")
    for module in (network, denoisers):
        monkeypatch.setattr(module, "order_in_memory", lambda kind: torch.contiguous_format)
    denoiser = SlicePass(denoiser, torch.device("cpu")).denoiser
    seen = []
    for layer in denoiser.modules():
        layer.register_forward_hook(lambda layer, given, out: seen.append(out.is_contiguous()))
    with torch.no_grad():
        assert torch.allclose(denoiser(x, torch.ones(2)), usual, atol=1e-4)
    assert len(seen) > 20 and all(seen) and all(p.is_contiguous() for p in denoiser.parameters())


@pytest.mark.parametrize("snr", [200, 300])
def test_next_to_no_noise_costs_no_anatomy(snr: float) -> None:
    """Far from what a training shows, the network would take many times more than the noise."""
    clean = blur(phantom((4, 96, 96)), 2)
    sigma = 800 / snr
    scan = noisy(clean, sigma)
    result = denoise(scan, load("default"), Options(sigma=sigma, noise="gaussian"))
    assert np.mean((result.estimate - clean) ** 2) < 1.05 * sigma**2
