"""What scanners and programs do to an image before it is stored: it shapes the noise and the anatomy alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

M4RAW = 256 / 195  # lines over acquired lines

Stored = Callable[[np.ndarray], np.ndarray]  # linear: (K, J, I), real or complex -> (K, factor J, factor I)


def zero_filled(volume: np.ndarray, factors: tuple[float, float]) -> np.ndarray:
    """(K, J, I) -> (K, factor J, factor I), rounded, by zeros around k-space; the mean of the image stays."""
    spectrum = np.fft.fftshift(np.fft.fft2(volume), axes=(1, 2))
    widths = [(0, 0)]
    for n, factor in zip(volume.shape[1:], factors):
        size = round(n * factor)
        # The middle of an odd and an even axis must fall on the middle again.
        before = size // 2 - n // 2
        widths.append((before, size - n - before))
    padded = np.fft.ifftshift(np.pad(spectrum, widths), axes=(1, 2))
    return (np.fft.ifft2(padded).real * (padded[0].size / volume[0].size)).astype(np.float32)


def windowed(volume: np.ndarray, rows: Stored, columns: Stored | None = None) -> np.ndarray:
    """k-space times a window along the rows' axis, given over frequency, and one, or the same, along the columns'."""
    gains = [gain(np.abs(np.fft.fftfreq(n))) for gain, n in zip((rows, columns or rows), volume.shape[1:])]
    return np.fft.ifft2(np.fft.fft2(volume) * np.outer(*gains)).real.astype(np.float32)


def interpolated(volume: np.ndarray, factor: float, order: int) -> np.ndarray:
    """In-plane interpolation by splines: order 1 is linear."""
    from scipy.ndimage import zoom

    return zoom(volume, (1, factor, factor), order=order).astype(np.float32)


def hamming(f: np.ndarray) -> np.ndarray:
    return 0.54 + 0.46 * np.cos(2 * np.pi * f)


def tukey(f: np.ndarray) -> np.ndarray:
    """Flat up to half of the edge."""
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(4 * f - 1, 0, 1))


def fermi(f: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp((f - 0.4) / 0.03))


def none(f: np.ndarray) -> np.ndarray:
    return np.ones_like(f)


WAYS: dict[str, Stored] = {
    "as acquired": lambda v: v,
    "zero-filled as M4Raw": partial(zero_filled, factors=(1, M4RAW)),
    "zero-filled 2 x": partial(zero_filled, factors=(2, 2)),
    "Hamming": partial(windowed, rows=hamming),
    "Hamming along rows": partial(windowed, rows=hamming, columns=none),
    "Hamming, zero-filled 2 x": lambda v: zero_filled(windowed(v, hamming), (2, 2)),
    "Tukey": partial(windowed, rows=tukey),
    "Fermi": partial(windowed, rows=fermi),
    "linear 1.5 x": partial(interpolated, factor=1.5, order=1),
    "linear 2 x": partial(interpolated, factor=2, order=1),
    "cubic 1.5 x": partial(interpolated, factor=1.5, order=3),
}


def noise(way: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Noise of standard deviation 1, stored."""
    made = WAYS[way](np.random.default_rng(seed).standard_normal(shape).astype(np.float32))
    return (made / made.std()).astype(np.float32)


def noise_power(way: str, shape: tuple[int, ...], seed: int, volumes: int = 16) -> np.ndarray:
    """Power of the noise on the grid of `np.fft.fft2`, mean 1: from many draws, since interpolation is no plain filter;
    separable, as every way is.
    """
    power = sum(np.square(np.abs(np.fft.fft2(noise(way, shape, seed + n)))).mean(axis=0) for n in range(volumes))
    separable = np.outer(power.mean(axis=1), power.mean(axis=0))
    return separable / separable.mean()
