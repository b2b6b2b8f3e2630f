"""Scans whose intensities were shifted, below zero as z-scores are, or above it as phase-sensitive scans may be: where
their zero was.

Everything else takes empty space for 0 and tissue for more; a shift changes neither noise nor anatomy.
"""

from __future__ import annotations

import numpy as np

from C2SCore.emptyspace import MAD_TO_SIGMA
from C2SCore.masked import cut_away
from C2SCore.tissue import box_mean

SAMPLED = 16  # slices that decide
SHIFTED = 0.1  # of the range of intensities: a deeper bottom, deeper also than the noise, is no undershoot
ENDS = (0.01, 0.99)  # quantiles of the smoothed voxels that are the range
DARKEST = 0.5  # of that range: the darkest tissue of a brain that was normalised without its surroundings
CONSTANT = 0.05  # share of voxels at the minimum, from which that is empty space
ABOVE = 4.0  # of the noise: a bottom that far above zero is no empty space of a magnitude
CONTRAST = 3.0  # of the noise: a narrower range shows no anatomy, and so no empty space beside it
EMPTY = 0.15  # share of voxels at that bottom, from which it is empty space and not dark tissue


def zero_point(volume: np.ndarray) -> float:
    """The value of empty space, or of the darkest tissue, in a volume (K, J, I) that was shifted; 0 in all others."""
    few = volume[:: max(1, len(volume) // SAMPLED)]
    positive = bool(volume.min() >= 0)
    if positive and not _above(*np.quantile(few[:, ::4, ::4], ENDS)):  # saves the work of what follows
        return 0.0
    outside = cut_away(few)
    smooth = box_mean(few, 5)
    rough = few - smooth
    fine = float(np.std(rough))
    smooth = smooth[~outside]
    low, high = np.quantile(smooth, ENDS) if smooth.size else (0.0, 0.0)
    if positive:
        bottom = smooth[smooth < low + fine]
        anatomy = high - low > CONTRAST * fine
        raised = anatomy and _above(low, high) and low > ABOVE * fine and bottom.size > EMPTY * smooth.size
        return float(np.median(bottom)) if raised else 0.0
    # Beside a skull that shines, dark tissue is hardly below zero; edges are no noise.
    noise = MAD_TO_SIGMA * float(np.median(np.abs(rough[~outside]))) if smooth.size else 0.0
    if low >= -max(SHIFTED * (high - low), noise):
        return 0.0
    if outside.any():
        return float(low - DARKEST * (high - low))
    bottom = few.min()
    if (few == bottom).mean() > CONSTANT:
        return float(bottom)
    # Dark tissue may be too thin for the smoothed voxels to show it, and what is left below zero is strange to a model.
    empty = (smooth < low + noise).mean() > EMPTY
    return float(low if empty else np.quantile(few, ENDS[0]))


def _above(low: float, high: float) -> bool:
    """Whether a range of intensities begins clearly above zero."""
    return low > SHIFTED * (high - low)


def lifted(volume: np.ndarray, zero: float) -> np.ndarray:
    """A copy with `zero` at 0; what was cut away there stays 0."""
    moved = volume - np.float32(zero)
    moved[cut_away(volume)] = 0
    return moved


def lowered(volume: np.ndarray, zero: float, source: np.ndarray) -> np.ndarray:
    """The inverse of `lifted`, for a volume that was made of that of `source`."""
    moved = volume + np.float32(zero)
    moved[cut_away(source)] = 0
    return moved
