"""Lesions that are laid into training patches."""

from __future__ import annotations

import numpy as np
import torch

from C2SCore.config import TrainConfig
from C2SCore.corruption import make_example
from C2SCore.lesions import CONTRASTS, DARKEST, MOST, add_lesions
from C2SCore.patches import Batch

N, SIDE = 64, 48


def _patches() -> tuple[np.ndarray, np.ndarray]:
    """Tissue on the right, empty space on the left; the slice below is absent."""
    x = np.zeros((N, 3, SIDE, SIDE), dtype=np.float32)
    x[:, ::2, :, SIDE // 2 :] = 0.8
    return x, np.full((N, 1, SIDE, SIDE), 0.5, dtype=np.float32)


def test_a_share_of_the_patches_gets_small_lesions_in_tissue() -> None:
    x, contrasts = _patches()
    new, others = x.copy(), contrasts.copy()
    add_lesions(new, others, 0.5, np.random.default_rng(0))
    change = new[:, 0] - x[:, 0]
    touched = np.abs(change).max(axis=(1, 2)) > 0
    assert 0.3 < touched.mean() < 0.7
    assert (np.abs(change) > 0.01).mean(axis=(1, 2)).max() < MOST * 100 / SIDE**2
    assert (change > 0.02).any() and (change < -0.02).any()
    assert np.abs(change).max() <= MOST * CONTRASTS[1] and new[:, 0].min() >= -0.8 * DARKEST * MOST
    # The middle of each lies in tissue: the strongest change of a patch is never in empty space.
    columns = np.abs(change).max(axis=1).argmax(axis=1)[touched]
    assert (columns >= SIDE // 2 - 1).all()
    assert not new[:, 1].any()  # the absent slice
    beside = [np.abs(v).max(axis=(1, 2))[touched] > 0 for v in (new[:, 2] - x[:, 2], others[:, 0] - contrasts[:, 0])]
    assert all(0.2 < seen.mean() < 0.9 for seen in beside)


def test_empty_patches_stay_empty() -> None:
    x = np.zeros((8, 1, SIDE, SIDE), dtype=np.float32)
    add_lesions(x, np.zeros((8, 0, SIDE, SIDE), dtype=np.float32), 1.0, np.random.default_rng(0))
    assert not x.any()


def test_lesions_are_part_of_what_is_learnt_and_leave_the_noise_as_it_is() -> None:
    x, contrasts = _patches()
    level = np.full(N, 0.1, dtype=np.float32)
    batch = Batch(x, contrasts, level, level * 8, np.ones((N, 2, SIDE), dtype=np.float32), np.ones(N, dtype=bool))
    config = TrainConfig(lesions=1.0, patch=SIDE)
    example = make_example(batch, config, np.random.default_rng(0), torch.Generator().manual_seed(0))
    assert (example.x_d - torch.from_numpy(x[:, :1])).abs().amax(dim=(1, 2, 3)).median() > 0.05
    noise = (example.x_t[0] - example.x_d) / example.sigma_tau.reshape(-1, 1, 1, 1)
    assert torch.allclose(noise, example.z, atol=1e-4)
