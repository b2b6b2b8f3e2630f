"""Where a volume shows tissue, and how bright that is."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import SimpleITK as sitk

WINDOW = 13  # pixels: side of the squares that are averaged, unless another is asked for
MAX_SLICES = 24


def foreground(volume: np.ndarray) -> np.ndarray:
    """Where there is tissue, (K, J, I) bool: above Otsu's threshold of the smoothed magnitude, lowered to keep dark
    tissue.
    """
    smooth = box_mean(np.abs(volume), 5)
    if smooth.max() <= smooth.min():
        return np.zeros(volume.shape, dtype=bool)
    # A quarter of the pixels has the same histogram.
    sample = smooth[:, :: 1 + (smooth.shape[1] >= 64), :: 1 + (smooth.shape[2] >= 64)]
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetInsideValue(0)
    otsu.SetOutsideValue(1)
    # The brightest percent (fat, vessels) would pull the threshold up.
    # By a power of two to between 1/2 and 1: the filter's histogram fails on intensities of some 1e-5 and less.
    unit = 2.0 ** math.frexp(float(smooth.max()))[1]
    otsu.Execute(sitk.GetImageFromArray(np.minimum(sample, np.quantile(sample, 0.99)) / np.float32(unit)))
    return smooth > 0.8 * unit * otsu.GetThreshold()


def signal_level(volume: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Median of the foreground, in the scan's unit: the signal of SNR = signal / sigma."""
    mask = foreground(volume) if mask is None else mask
    return float(np.median(volume[mask])) if mask.any() else float(np.median(volume))


def thickest(mask: np.ndarray) -> np.ndarray:
    """Indices of the slices with most foreground, at most MAX_SLICES."""
    area = mask.sum(axis=(1, 2))
    wanted = min(MAX_SLICES, max(1, int((area > 0.3 * area.max()).sum())))
    return np.sort(np.argsort(-area, kind="stable")[:wanted])


def box_mean(values: np.ndarray, side: int = WINDOW) -> np.ndarray:
    """Mean over side x side pixels (odd) of (K, J, I), same shape, float32."""
    pad = side // 2
    mode: Literal["reflect", "edge"] = "reflect" if min(values.shape[1:]) > pad + 1 else "edge"
    result = np.empty(values.shape, dtype=np.float32)
    exact = np.uint8 if values.dtype == bool and side**2 < 256 else np.float32
    # Slice by slice: the sums of one stay in the processor's cache.
    for plane, mean in zip(values, result):
        padded = np.pad(plane.astype(exact, copy=False), pad, mode=mode)
        np.divide(_sums(_sums(padded, side, 0), side, 1), side**2, out=mean, dtype=np.float32)
    return result


def _sums(values: np.ndarray, side: int, axis: int) -> np.ndarray:
    """Sums over `side` (odd) successive values along an axis, put together from those over 1, 2, 4, ... of them."""
    count = values.shape[axis] - side + 1
    total, first, width = _part(values, axis, 0, count).copy(), 1, 1
    while first < side:
        wide = values.shape[axis] - width
        values = _part(values, axis, 0, wide) + _part(values, axis, width, wide)
        width *= 2
        if side & width:
            total += _part(values, axis, first, count)
            first += width
    return total


def _part(values: np.ndarray, axis: int, first: int, count: int) -> np.ndarray:
    return values[first : first + count] if axis == 0 else values[:, first : first + count]
