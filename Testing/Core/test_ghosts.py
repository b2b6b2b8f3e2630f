"""Ghosts that are laid into training patches."""

from __future__ import annotations

import numpy as np
import torch

from C2SCore.config import TrainConfig
from C2SCore.corruption import make_example
from C2SCore.ghosts import NEAREST, STRENGTHS, add_ghosts
from C2SCore.patches import Batch

N, SIDE = 64, 48


def _patches() -> np.ndarray:
    """Tissue in a corner; the slice below is absent."""
    x = np.zeros((N, 3, SIDE, SIDE), dtype=np.float32)
    x[:, ::2, :10, :10] = 1.0
    return x


def test_a_share_of_the_patches_shows_its_anatomy_again_fainter_and_elsewhere() -> None:
    x = _patches()
    new = x.copy()
    growth = add_ghosts(new, 0.5, np.random.default_rng(0))
    change = new - x
    touched = np.abs(change[:, 0]).max(axis=(1, 2)) > 0
    assert 0.3 < touched.mean() < 0.7 and (growth[~touched] == 1).all()
    strengths = change[touched, 0].max(axis=(1, 2))
    assert STRENGTHS[0] <= strengths.min() < 0.1 < 0.3 < strengths.max() <= STRENGTHS[1]
    assert np.allclose(growth[touched] ** 2, 1 + strengths**2, rtol=1e-5)
    # As much tissue as there was, all of it away from where it was, in the slice above as well.
    assert np.allclose(change[touched, 0].sum(axis=(1, 2)), 100 * strengths, rtol=1e-4)
    assert not change[touched, 0, : SIDE // NEAREST - 9, : SIDE // NEAREST - 9].any()
    assert np.array_equal(change[:, 0], change[:, 2]) and not new[:, 1].any()


def test_the_noise_of_a_ghost_counts() -> None:
    rng = np.random.default_rng(0)
    x = (0.1 * rng.standard_normal((N, 1, SIDE, SIDE))).astype(np.float32)
    level = np.full(N, 0.1, dtype=np.float32)
    empty = np.zeros((N, 0, SIDE, SIDE), dtype=np.float32)
    batch = Batch(x, empty, level, level, np.ones((N, 2, SIDE), dtype=np.float32), np.ones(N, dtype=bool))
    example = make_example(batch, TrainConfig(ghosts=1.0, patch=SIDE), rng, torch.Generator().manual_seed(0))
    assert float(example.sigma_d.max()) > 0.105
    assert torch.allclose(example.x_d.std(dim=(1, 2, 3)), example.sigma_d, rtol=0.06)
