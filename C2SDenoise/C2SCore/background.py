"""Empty space around the patient: where it begins; what is removed there must be zero on average."""

from __future__ import annotations

import numpy as np

from C2SCore.tissue import box_mean, foreground

DARK = 0.5  # of sigma: local mean of the estimate below which there is nothing
FADE = 1.5  # of sigma: estimate from which nothing is changed
SAMPLED = 32  # slices that decide
FEWEST = 2000  # pixels
LARGEST = 0.1  # of sigma: a larger offset is no leftover light of the network but a background that is not empty
MARGIN = 8  # pixels around tissue


def tissue_window(slices: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of `slices` (K, J, I) that hold tissue, with a margin; all of them where there is none."""
    mask = foreground(slices[:, ::2, ::2])  # the box of a quarter of the pixels is the same
    places = [np.flatnonzero(mask.any(axis=(0, 2 - axis))) for axis in range(2)]
    if not places[0].size:
        return slice(None), slice(None)
    rows, columns = (_with_margin(p) for p in places)
    return rows, columns


def tissue_box(volume: np.ndarray) -> tuple[slice, slice, slice]:
    """The part of `volume` (K, J, I) that holds tissue, with a margin; all of it where there is none."""
    mask = foreground(volume[::2, ::2, ::2])
    places = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if not places[0].size:
        return slice(None), slice(None), slice(None)
    slices, rows, columns = (_with_margin(p) for p in places)
    return slices, rows, columns


def _with_margin(places: np.ndarray) -> slice:
    """From the first to the last of `places`, which are those of every second pixel."""
    return slice(max(2 * int(places[0]) - MARGIN, 0), 2 * int(places[-1]) + 2 + MARGIN)


def centre_background(source: np.ndarray, estimate: np.ndarray, levels: np.ndarray) -> float:
    """Add to the dark pixels of `estimate` (K, J, I), in place, what makes its mean there that of `source`; returns the
    offset.

    A network has learnt that nothing is darker than empty space, so it leaves a few hundredths of sigma of light there,
    which noise that is zero on average does not justify. `levels` is sigma, (K,) or (K, J, I). Nothing changes in scans
    without dark background.
    """
    total = count = 0.0
    for k in range(0, len(source), max(1, len(source) // SAMPLED)):
        # A wide mean hardly knows the noise of the single pixel, so choosing by it does not bias the mean
        # over the chosen.
        dark = box_mean(np.abs(estimate[k : k + 1]))[0] < DARK * levels[k]
        total += float((source[k] - estimate[k])[dark].sum(dtype=np.float64))
        count += int(dark.sum())
    if count < FEWEST:
        return 0.0
    offset = total / count
    if abs(offset) > LARGEST * float(np.median(levels)):
        return 0.0
    for k in range(len(source)):
        estimate[k] += np.float32(offset) * np.clip(FADE - np.abs(estimate[k]) / levels[k], 0, 1)
    return offset
