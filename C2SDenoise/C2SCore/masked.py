"""Zeros without noise where something was cut away: around a brain, a face, a vendor's empty space.

A network has not learnt such edges: it takes half a sigma of light from the outermost pixels, more error than the noise
that it removes there; and empty space without noise makes it doubt the level that it is told, everywhere. So it is
shown tissue that goes on and noise in what is empty, and what was zero is zero again afterwards.
"""

from __future__ import annotations

import numpy as np

from C2SCore.tissue import box_mean, foreground

SAMPLED = 32  # slices that decide
FEWEST = 2000  # pixels
MASKED = 0.95  # fraction of zeros away from tissue, from which that is so
APART = 9  # pixels: side of the squares without tissue whose middle is away from it
SMALLEST = 5  # pixels: side of the smallest square of zeros that was cut away, and no dark tissue
REACH = 7  # pixels: side of the squares over which what lies near is averaged, twice
FAINT = 1e-3  # share of the average that is not cut away, below which there is nothing near


def cut_away(slices: np.ndarray) -> np.ndarray:
    """Where slices (K, J, I) were cut away, bool: zeros that fill at least a square, which may go on beyond the
    border of the image.
    """
    zero = slices == 0
    if not zero.any():
        return zero
    margin = (SMALLEST - 1, SMALLEST - 1)
    zero = np.pad(zero, ((0, 0), margin, margin), mode="edge")
    squares = _along(_along(zero, 1, np.logical_and), 2, np.logical_and)
    if not squares.any():
        return np.zeros(slices.shape, dtype=bool)
    return _along(_along(squares, 1, np.logical_or), 2, np.logical_or)


def _along(values: np.ndarray, axis: int, join: np.ufunc) -> np.ndarray:
    """SMALLEST successive values along an axis, joined."""
    values = np.moveaxis(values, axis, 0)
    count = len(values) - SMALLEST + 1
    joined = join(values[:count], values[1 : 1 + count])
    for first in range(2, SMALLEST):
        join(joined, values[first : first + count], out=joined)
    return np.moveaxis(joined, 0, axis)


def is_masked(source: np.ndarray) -> bool:
    """Whether nearly all around the tissue in `source` (K, J, I) was cut away: then every zero was."""
    few = source[:: max(1, len(source) // SAMPLED)]
    if np.count_nonzero(cut_away(few)) < MASKED * FEWEST:
        return False
    away = few[box_mean(foreground(few), APART) == 0]
    return away.size >= FEWEST and bool((away == 0).mean() > MASKED)


def filled(
    slices: np.ndarray, levels: np.ndarray, first: int, magnitude: bool = False, among: np.ndarray | None = None
) -> np.ndarray:
    """Slices (K, J, I) as if nothing had been cut away: what lies beside goes on for some pixels, then there is empty
    space, all of it with noise.

    levels: sigma, (K,) or (K, J, I); `first`: index of the first slice, so that each always gets the same noise;
    `magnitude`: whether the noise is Rician; `among`: indices of the slices to be looked at (default: all).
    """
    outside = cut_away(slices if among is None else slices[among])
    some = outside.any(axis=(1, 2))
    cut, outside = (np.arange(len(slices)) if among is None else among)[some], outside[some]
    if not cut.size:
        return slices
    result = slices.copy()
    beyond = _beyond(slices[cut], outside)
    for n, k in enumerate(cut):
        rng, level = np.random.default_rng(int(first + k)), levels[k]
        beyond[n] += level * rng.standard_normal(slices.shape[1:], dtype=np.float32)
        if magnitude:
            beyond[n] = np.hypot(beyond[n], level * rng.standard_normal(slices.shape[1:], dtype=np.float32))
    result[cut] = np.where(outside, beyond, slices[cut])
    return result


def beside_a_cut(slices: np.ndarray, side: int) -> np.ndarray:
    """Where a square of `side` pixels (odd) around a pixel holds one that was cut away, (K, J, I) bool."""
    result = cut_away(slices)
    cut = np.flatnonzero(result.any(axis=(1, 2)))
    result[cut] = box_mean(result[cut], side) > 0
    return result


def _beyond(slices: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """The mean of what lies near, 0 where nothing does."""
    inside, value = box_mean(~outside, REACH), box_mean(slices, REACH)
    inside, value = box_mean(inside, REACH), box_mean(value, REACH)
    return np.where(inside > FAINT, value / np.maximum(inside, FAINT), np.float32(0))
