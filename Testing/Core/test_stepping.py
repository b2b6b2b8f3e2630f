"""A step of the training: what is averaged, and that one recorded on a GPU is the step that it was."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from C2SCore.config import Levels, Noise, TrainConfig
from C2SCore.corruption import make_example
from C2SCore.denoiser import Denoiser, on_device
from C2SCore.patches import Case, PatchSampler
from C2SCore.stepping import FIRST, Stepper

STEPS = FIRST + 5


def _taken(device: str, config: TrainConfig, record: bool = True) -> tuple[Stepper, list[float]]:
    """Some steps from weights and through examples that are always the same."""
    torch.manual_seed(0)
    case = Case("scan", np.random.default_rng(0).normal(100, 10, (3, 64, 64)).astype(np.float32), sigma=10.0)
    case.prepare()
    sampler = PatchSampler([case], config.patch, config.neighbours)
    denoiser = on_device(Denoiser("small", config.neighbours), device)
    stepper = Stepper(denoiser, copy.deepcopy(denoiser).requires_grad_(False), config, torch.device(device))
    if not record:
        stepper._until = math.inf
    losses = []
    for n in range(STEPS):
        rng, generator = np.random.default_rng(n), torch.Generator(device).manual_seed(n)
        example = make_example(sampler.draw(config.batch, rng), config, rng, generator)
        losses.append(stepper.step(example, 1e-3 / (1 + n), 0.5))
    return stepper, [float(loss) for loss in losses]


def test_the_average_follows_the_weights() -> None:
    stepper, losses = _taken("cpu", TrainConfig(batch=2, patch=32, precision="float32"))
    now, mean = (torch.cat([p.flatten() for p in d.parameters()]) for d in (stepper.denoiser, stepper.average))
    assert all(map(math.isfinite, losses))
    # The last step is of 1e-3 / STEPS for each weight, and half of the way to it is left to the average.
    assert 0.1e-3 / STEPS < (now - mean).abs().mean() < 4e-3 / STEPS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("wide", [False, True])
def test_recorded_steps_are_those_taken_operation_by_operation(wide: bool) -> None:
    """`wide`: only some batches have weighted pixels, those of magnitudes."""
    config = TrainConfig(batch=2, patch=32, precision="float32")
    if wide:
        config = config.replace(levels=Levels(density="range", sigma_range=(0.1, 0.5)), noise=Noise(rician=0.5))
    (one, losses), (other, expected) = (_taken("cuda", config, record) for record in (True, False))
    assert one._recorded is not None and other._recorded is None
    assert losses == pytest.approx(expected, rel=1e-3)
    for a, b in ((one.denoiser, other.denoiser), (one.average, other.average)):
        assert all(torch.allclose(p, q, atol=2e-5) for p, q in zip(a.parameters(), b.parameters()))
