"""What the tests of training share: a noisy scan, recipes of a few steps, and the weights of a model."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch

from C2SCore import model, training
from C2SCore.config import TrainConfig
from C2SCore.patches import Case

train = functools.partial(training.train, device="cpu")  # where the same seed gives the same weights
TINY = TrainConfig(steps=12, batch=4, patch=32, validate_every=4, warm_up=2, precision="float32", checkpoint_every=1e-6)
LONGER = TINY.replace(checkpoint_every=60)  # a checkpoint at every step takes longer than the step
UNSEEN = TINY.replace(steps=60, validate_every=60, checkpoint_every=3600.0)  # not validated before its end


def noisy_disk(seed: int = 0, shape: tuple[int, int, int] = (6, 64, 64), sigma: float = 0.1) -> np.ndarray:
    """(K, J, I) float32: a textured disk of about 1000 in the same place of every slice, under Gaussian noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[1], : shape[2]] / 64 - 0.5
    clean = (x**2 + y**2 < 0.16) * (1 + 0.3 * np.sin(20 * x + seed) * np.cos(15 * y))
    return (1000 * (clean + sigma * rng.standard_normal(shape))).astype(np.float32)


def one_scan() -> list[Case]:
    return [Case("scan", noisy_disk())]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return model.load(path).denoiser.state_dict()
