"""A head-like magnitude phantom, for benchmarks that are given no scans; its anatomy goes on from slice to slice."""

from __future__ import annotations

import numpy as np


def head(shape: tuple[int, int, int] = (18, 256, 256), seed: int = 0, contrast: int = 0) -> np.ndarray:
    """(K, J, I) float32 in arbitrary units: tissue about 400 to 1000, air 0.

    Heads of one seed and shape have one anatomy; `contrast` 1, 2, ... gives its tissues other intensities.

    A skull and a brain whose folded border is a level set of a smooth random field, ellipsoids inside, weak texture in
    the tissue and a coil's slow shading; then blurred a little in plane, as a scanner's finite k-space does.
    """
    rng = np.random.default_rng([seed, 2])  # not the stream of the noise that is laid over it
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    z = (0.45 * z)[:, None, None]
    y, x = y[None, :, None], x[None, None, :]
    radius = np.sqrt((x / 0.72) ** 2 + (y / 0.86) ** 2 + z**2)
    folds = _field(shape, rng, 14)
    skin, bone, grey, white = 300.0, 150.0, 600.0, 800.0
    other = np.random.default_rng([seed, contrast, 3])
    if contrast:
        skin, bone, grey, white = other.permutation([250.0, 150.0, 850.0, 550.0])
    brain = np.where(folds + 4 * (0.82 - radius) > 0.9, white, grey)
    volume = np.where(radius < 1.08, skin, 0.0)
    volume = np.where(radius < 1.0, bone, volume)
    volume = np.where(radius < 0.93, brain + 25 * _field(shape, rng, 40), volume)
    for _ in range(60):
        centre = rng.uniform(-0.5, 0.5, 3) * (0.8, 1.1, 1.0)
        size = rng.uniform(0.02, 0.16, 3)
        inside = ((x - centre[0]) / size[0]) ** 2 + ((y - centre[1]) / size[1]) ** 2 + (
            (z - centre[2]) / (2 * size[2])
        ) ** 2 < 1
        value = rng.uniform(350, 1050)
        volume = np.where(inside & (radius < 0.9), other.uniform(350, 1050) if contrast else value, volume)
    shading = 1 + 0.15 * x - 0.1 * y + 0.1 * z
    return np.maximum(_in_plane_blur(volume * shading), 0).astype(np.float32)


def _field(shape: tuple[int, int, int], rng: np.random.Generator, cycles: float) -> np.ndarray:
    """A smooth random field of unit variance, about `cycles` periods across a slice and a few through the slices."""
    spectrum = np.fft.rfftn(rng.standard_normal(shape))
    k, j, i = (np.fft.fftfreq(n) * n for n in shape)
    i = i[: shape[2] // 2 + 1]
    distance = np.sqrt((4 * k[:, None, None]) ** 2 + j[None, :, None] ** 2 + i[None, None, :] ** 2)
    field = np.fft.irfftn(spectrum * np.exp(-((distance / cycles - 1) ** 2) / 0.08), s=shape, axes=(0, 1, 2))
    return (field / max(field.std(), 1e-12)).astype(np.float32)


def _in_plane_blur(volume: np.ndarray) -> np.ndarray:
    """(1 2 1) / 4 along rows and columns."""
    for axis in (1, 2):
        volume = (np.roll(volume, 1, axis) + 2 * volume + np.roll(volume, -1, axis)) / 4
    return volume
