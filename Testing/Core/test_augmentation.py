"""Intensities of training patches that are warped: what the network is told of the signal follows."""

from __future__ import annotations

import numpy as np
import pytest

from C2SCore.augmentation import QUIET, augment
from C2SCore.config import TrainConfig
from C2SCore.patches import Batch

N, SIDE, SIGMA = 64, 32, 0.5 * QUIET
ALL = TrainConfig(contrast_jitter=1.0)


def _batch(clean: np.ndarray, sigma: float = SIGMA) -> Batch:
    """Patches (P, P) of a slice that is like them, N times, with noise."""
    rng = np.random.default_rng(0)
    x = (clean + sigma * rng.standard_normal((N, 1, *clean.shape))).astype(np.float32)
    level, rms = (np.full(N, v, dtype=np.float32) for v in (sigma, np.sqrt(np.square(clean).mean())))
    profiles = np.ones((N, 2, SIDE), dtype=np.float32)
    return Batch(x, np.zeros((N, 0, SIDE, SIDE), dtype=np.float32), level, rms, profiles, np.ones(N, dtype=bool))


def _tissue() -> np.ndarray:
    """Two tissues, and empty space."""
    clean = np.full((SIDE, SIDE), 1.0)
    clean[: SIDE // 2], clean[:, -4:] = 0.6, 0
    return clean


def test_the_signal_told_is_that_of_the_warped_patches() -> None:
    before = _batch(_tissue())
    after = augment(before, ALL, np.random.default_rng(1))
    assert (before.x != after.x).any(axis=(1, 2, 3)).all() and np.array_equal(before.sigma_d, after.sigma_d)
    signal = np.sqrt(np.square(after.x[:, 0]).mean(axis=(1, 2)) - SIGMA**2)
    assert np.allclose(after.sigma_data, signal, rtol=0.01) and after.sigma_data.dtype == np.float32
    ratio = after.sigma_data / before.sigma_data
    assert ratio.min() < 0.7 and ratio.max() > 1.05


@pytest.mark.parametrize(("sigma", "jitter"), [(2 * QUIET, 1.0), (SIGMA, 0.0)])
def test_it_stays_where_nothing_is_warped(sigma: float, jitter: float) -> None:
    before = _batch(_tissue(), sigma)
    after = augment(before, TrainConfig(contrast_jitter=jitter), np.random.default_rng(1))
    assert np.array_equal(before.x, after.x) and np.array_equal(before.sigma_data, after.sigma_data)


def test_patches_of_empty_space_say_nothing_of_their_slice() -> None:
    before = _batch(np.zeros((SIDE, SIDE)))
    before.sigma_data[:] = 0.7
    after = augment(before, ALL, np.random.default_rng(1))
    assert np.array_equal(before.sigma_data, after.sigma_data)
