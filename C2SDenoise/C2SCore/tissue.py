"""Where a volume shows tissue, and how bright that is."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import torch
from torch.nn import functional

from C2SCore.tensors import to_array, to_tensor

WINDOW = 13  # pixels: side of the squares that are averaged, unless another is asked for
MAX_SLICES = 24
PIXELS = 2**17  # that are averaged at a time


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
    otsu.Execute(sitk.GetImageFromArray(np.minimum(sample, np.quantile(sample, 0.99))))
    return smooth > 0.8 * otsu.GetThreshold()


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
    mode = "reflect" if min(values.shape[1:]) > pad + 1 else "replicate"
    result = np.empty(values.shape, dtype=np.float32)
    # A few slices at a time: their running sums stay in the processor's cache.
    step = max(1, PIXELS // (values.shape[1] * values.shape[2]))
    for first in range(0, len(values), step):
        padded = functional.pad(to_tensor(values[first : first + step])[None], (pad + 1, pad) * 2, mode=mode)[0]
        sums = padded.cumsum(1, dtype=torch.float64)
        sums = (sums[:, side:] - sums[:, :-side]).cumsum(2)
        result[first : first + step] = to_array((sums[:, :, side:] - sums[:, :, :-side]) / side**2)
    return result
