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
INVERTED = 0.3  # of the warped patches are turned upside down, bright for dark
TOPS = (1.2, 1.8)  # of the tissue signal: the brightness that they are subtracted from
LOWEST = 0.05  # of the tissue signal: no tissue becomes darker
BACKGROUND = 0.3  # of the tissue signal: what is darker is turned less and less, so that empty space stays dark
EXPONENTS = (0.6, 1.6)  # of the other warps
EMPTIEST = 0.5  # of the slice's root mean square: a patch of less says nothing of how a warp changes its slice


def augment(batch: Batch, config: TrainConfig, rng: np.random.Generator) -> Batch:
    """The batch as the recipe varies it; a window is only chosen here (`Batch.window`), level and spectrum are those
    under it.
    """
    if max(config.lesions, config.ghosts, config.contrast_jitter) > 0:
        batch = replace(batch, x=batch.x.copy(), contrasts=batch.contrasts.copy())
    if config.lesions > 0:
        add_lesions(batch.x, batch.contrasts, config.lesions, rng)
    if config.ghosts > 0:
        growth = add_ghosts(batch.x, config.ghosts, rng)
        batch = replace(batch, sigma_d=batch.sigma_d * growth, sigma_data=batch.sigma_data * growth)
    if config.contrast_jitter > 0:
        batch = replace(batch, sigma_data=batch.sigma_data * _jitter(batch, config.contrast_jitter, rng))
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
    soft = rng.random((n, 1)) < SOFT
    both = rng.random((n, 1)) < np.where(soft, 0.75, 0.5)
    limited = (rng.random((n, 1)) < fraction) & (both | (rng.integers(2, size=(n, 1)) == [0, 1]))
    # Nothing beyond an edge and, if soft, a fall towards it, from a faint one to Hamming's (which
    # exp(-2.5 (f / edge)^2) follows closely) and that of linear interpolation.
    edge = np.minimum(rng.uniform(0.22, np.where(soft, 0.7, 0.5), (n, 2)), 0.5)[..., None]
    fall = np.where(soft, rng.uniform(0.3, 3.5, (n, 2)), 0)[..., None]
    f = np.abs(np.fft.fftfreq(size))
    gain = np.exp(-fall * (f / edge) ** 2) / (1 + np.exp((f - edge) / 0.004))
    return np.where(limited[..., None], gain, 1).astype(np.float32)


def _jitter(batch: Batch, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Warp the intensities of some rows of batch.x smoothly, keeping 0: other contrasts of the same structure. Returns
    how much the signal of the slices grew, (N,) float32: the root mean square of the signal in each patch, after over
    before.

    A warp stretches the noise with its slope, so only quiet rows are touched, whose own noise is far below the levels
    trained.
    """
    growth = np.ones(len(batch.x), dtype=np.float32)
    for row in np.flatnonzero((rng.random(len(batch.x)) < fraction) & (batch.sigma_d < QUIET)):
        x, noise = batch.x[row], batch.sigma_d[row] ** 2
        before = np.square(x[0]).mean() - noise
        v = np.maximum(x, 0)
        if rng.random() < INVERTED:
            # Fluid dark or bright.
            top = np.float32(rng.uniform(*TOPS))
            weight = np.minimum(v / np.float32(BACKGROUND), 1)
            x[...] = weight * np.maximum(top - v, np.float32(LOWEST)) + (1 - weight) * v
        else:
            x[...] = v ** np.float32(rng.uniform(*EXPONENTS))
        after = np.square(x[0]).mean() - noise
        if before > (EMPTIEST * batch.sigma_data[row]) ** 2 and after > 0:
            growth[row] = np.sqrt(after / before)
    return growth
