"""Training patches made more various than the scans are: lesions, ghosts, other contrasts, k-space windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from C2SCore.config import TrainConfig
from C2SCore.ghosts import add_ghosts
from C2SCore.lesions import add_lesions
from C2SCore.patches import Batch

SOFT = 0.5  # of the band-limited patches are apodised, too
QUIET = 0.03  # of the tissue signal: own noise up to which a scan's intensities may be warped
EMPTIEST = 0.5  # of the slice's root mean square: a patch of less says nothing of how a warp changes its slice


def augment(batch: Batch, config: TrainConfig, rng: np.random.Generator) -> Batch:
    """The batch as the recipe varies it; a window is only chosen here (`Batch.window`), level and spectrum are those
    under it.
    """
    if config.lesions > 0:
        x, contrasts = add_lesions(batch.x, batch.contrasts, config.lesions, rng)
        batch = replace(batch, x=x, contrasts=contrasts)
    if config.ghosts > 0:
        x, growth = add_ghosts(batch.x, config.ghosts, rng)
        batch = replace(batch, x=x, sigma_d=batch.sigma_d * growth, sigma_data=batch.sigma_data * growth)
    if config.contrast_jitter > 0:
        x = _jitter(batch.x, config.contrast_jitter, batch.sigma_d < QUIET, rng)
        batch = replace(batch, x=x, sigma_data=batch.sigma_data * _growth(batch, x))
    if config.noise.band_limited > 0:
        window = _random_windows(len(batch.x), batch.x.shape[-1], config.noise.band_limited, rng)
        passed = batch.profiles * window**2
        kept = passed.mean(axis=2, keepdims=True)
        sigma_d = batch.sigma_d * np.sqrt(kept.prod(axis=(1, 2)))
        batch = replace(batch, window=window, profiles=passed / kept, sigma_d=sigma_d)
    return batch


def _random_windows(n: int, size: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Random k-space windows as zero-filling, apodisation and interpolation leave them, their factors along rows and
    columns (n, 2, size); ones for the rest of the rows.
    """
    frequencies = np.abs(np.fft.fftfreq(size))
    windows = np.ones((n, 2, size), dtype=np.float32)
    for row in range(n):
        if rng.random() >= fraction:
            continue
        soft = rng.random() < SOFT
        both = rng.random() < (0.75 if soft else 0.5)
        for axis in rng.permutation(2)[: 1 + both]:
            windows[row, axis] = _random_window(frequencies, soft, rng)
    return windows


def _random_window(frequencies: np.ndarray, soft: bool, rng: np.random.Generator) -> np.ndarray:
    """Gain along one axis: nothing beyond an edge and, if soft, a fall towards it, from a faint one to Hamming's
    (which exp(-2.5 (f / edge)^2) follows closely) and that of linear interpolation.
    """
    edge = min(rng.uniform(0.22, 0.7 if soft else 0.5), 0.5)
    taper = 1 / (1 + np.exp((frequencies - edge) / 0.004))
    return taper * np.exp(-rng.uniform(0.3, 3.5) * (frequencies / edge) ** 2) if soft else taper


def _jitter(x: np.ndarray, fraction: float, quiet: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy of (N, C, P, P) with the intensities of some rows warped smoothly, keeping 0: other contrasts of the same
    structure.

    A warp stretches the noise with its slope, so only `quiet` rows (N,) are touched, whose own noise is far below the
    levels trained.
    """
    x = x.copy()
    for row in np.flatnonzero((rng.random(len(x)) < fraction) & quiet):
        v = np.maximum(x[row], 0)
        if rng.random() < 0.3:
            # Upside down above the background: fluid dark or bright.
            top = np.float32(rng.uniform(1.2, 1.8))
            weight = np.minimum(v / np.float32(0.3), 1)
            x[row] = weight * np.maximum(top - v, np.float32(0.05)) + (1 - weight) * v
        else:
            x[row] = v ** np.float32(rng.uniform(0.6, 1.6))
    return x


def _growth(batch: Batch, warped: np.ndarray) -> np.ndarray:
    """How much the signal of the slices grew, (N,) float32: the root mean square of the signal in each patch, after
    over before.
    """
    before, after = (np.square(x[:, 0]).mean(axis=(1, 2)) - batch.sigma_d**2 for x in (batch.x, warped))
    told = (before > (EMPTIEST * batch.sigma_data) ** 2) & (after > 0)
    return np.sqrt(np.divide(after, before, out=np.ones_like(before), where=told))
