"""How strong the noise of a scan is, from the scan itself.

Its standard deviation sigma is measured in the foreground, at the highest frequencies along both in-plane axes that
still have noise, where anatomy is weak; the flattest places decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from itertools import pairwise

import numpy as np

from C2SCore.emptyspace import MAD_TO_SIGMA, EmptySpace
from C2SCore.masked import beside_a_cut, is_masked
from C2SCore.spectrum import BINS, Spectrum, estimate_spectrum
from C2SCore.tissue import WINDOW, box_mean, foreground, thickest

QUANTILE = 0.1  # of the squares, flattest first, that decide
WHOLLY = 0.98  # share of a square that is foreground, from which it lies in it
FEWEST_SQUARES = 200  # that lie in the foreground: with fewer, those around every pixel of it count
PAIR_SLICES = 12  # at most, in which two frames are compared
DARK_SLICES = 12  # in which dark tissue is looked for
DARK = 3.0  # of sigma: mean over 5 x 5 pixels, above which hardly any value of Gaussian noise is negative
FEWEST_PAIRS = 100  # of pixels, for a correlation
FEWEST_NEGATIVE = 12  # values that would be expected
CLIPPED = 0.3  # share of them that may be 0
NOISY = 0.1  # of the largest noise power, down to which a frequency still has noise
HIGH, RISE = 0.7, 0.03  # of the highest frequency with noise: from where on frequencies pass, and within what width


class HighPassed:
    """Slices (K, J, I) seen at the frequencies where noise rules; made once for everything that is asked of them.

    `filtered` is the high-passed slices, `local` its mean square over WINDOW x WINDOW pixels, `inside` where such a
    square lies in the foreground, `reference` what QUANTILE of `local` is for noise of unit variance, `density` the
    share of the pixels' number that noise of its spectrum has of independent values.
    """

    def __init__(self, slices: np.ndarray, mask: np.ndarray, spectrum: Spectrum) -> None:
        self._gains = _high_pass(slices.shape[1:], spectrum)
        self._look_at(slices)
        self.density = float(spectrum.rows.mean() * spectrum.columns.mean())
        # Only squares that lie in the foreground: the background's noise is weaker in a magnitude image, and masked
        # in others.
        self.inside = box_mean(mask) > WHOLLY
        if self.inside.sum() < FEWEST_SQUARES:
            self.inside = mask
        rng = np.random.default_rng(0)
        shape = max(slices.shape[1], 64), max(slices.shape[2], 64)
        white = rng.standard_normal((2, *shape)).astype(np.float32)
        noise = _apply(white, [np.sqrt(p) * g for p, g in zip(spectrum.profiles(*shape), _high_pass(shape, spectrum))])
        self.reference = float(np.quantile(box_mean(np.square(noise)), QUANTILE))

    def _look_at(self, slices: np.ndarray) -> None:
        self.filtered = _apply(slices, self._gains)
        self.local = box_mean(np.square(self.filtered))

    def of(self, slices: np.ndarray) -> HighPassed:
        """The same of other slices (K, J, I), as after denoising, whose foreground and spectrum are those of these."""
        other = copy(self)
        other._look_at(slices)
        return other

    def sigma(self, rows: np.ndarray | slice = slice(None)) -> float:
        """Level of the noise in the slices `rows`; 0 where there is no foreground."""
        values = self.local[rows][self.inside[rows]]
        return float(np.sqrt(np.quantile(values, QUANTILE) / self.reference)) if values.size else 0.0

    def slice_sigmas(self, fallback: float) -> np.ndarray:
        """Level of every slice, (K,); a slice with little foreground takes `fallback`."""
        enough = self.inside.sum(axis=(1, 2)) > 10 * WINDOW**2
        return np.array([self.sigma(slice(k, k + 1)) if enough[k] else fallback for k in range(len(enough))])

    def slice_correlation(self, mask: np.ndarray) -> float:
        """Correlation of neighbouring slices' noise, -1 to 1: above some 0.2 they were interpolated."""
        both = mask[1:] & mask[:-1]
        if both.sum() < FEWEST_PAIRS:
            return 0.0
        # Edges of anatomy go through several slices; in the flatter half of the tissue it is noise that decides.
        local = self.local[1:] + self.local[:-1]
        keep = both & (local <= np.median(local[both]))
        return _correlation(self.filtered[1:][keep], self.filtered[:-1][keep])


def _apply(slices: np.ndarray, gains: Sequence[np.ndarray]) -> np.ndarray:
    """Slices (K, J, I) filtered by even gains over the frequencies of rows (J,) and columns (I,), as float32."""
    rows, columns = map(_circulant, gains)
    return rows @ np.ascontiguousarray(slices, dtype=np.float32) @ columns


def _circulant(gain: np.ndarray) -> np.ndarray:
    """The matrix (n, n) that filters n pixels; for as many as slices have, it is quicker than their transforms."""
    place = np.arange(len(gain))
    return np.fft.ifft(gain).real.astype(np.float32)[place[:, None] - place]


def estimate_sigma(volume: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Standard deviation of the noise in the foreground of (K, J, I), in the scan's own unit; 0 if constant."""
    mask = foreground(volume) if mask is None else mask
    if not mask.any():
        return 0.0
    rows = thickest(mask)
    return HighPassed(volume[rows], mask[rows], estimate_spectrum(volume, mask)).sigma()


def shared_noise(volume: np.ndarray, other: np.ndarray) -> float:
    """Correlation, -1 to 1, of what looks like noise in the flatter tissue of two volumes (K, J, I) on one grid.

    Above some 0.5 it is the same noise, as where one was computed from the other; the less noise there is, the less of
    that shows. Contrasts of their own reach 0.2; the finest anatomy of two images of one kind may reach 0.7.
    """
    mask = foreground(volume)
    rows = thickest(mask)
    tissue = mask[rows]
    if tissue.sum() < FEWEST_PAIRS:
        return 0.0
    first = HighPassed(volume[rows], tissue, estimate_spectrum(volume, mask))
    second = first.of(other[rows])
    local = first.local / (np.median(first.local[tissue]) or 1) + second.local / (np.median(second.local[tissue]) or 1)
    keep = tissue & (local <= np.median(local[tissue]))
    return _correlation(first.filtered[keep], second.filtered[keep])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two high-passed samples, whose means are 0."""
    deviations = (max(float(np.sqrt(np.mean(np.square(v)))), 1e-30) for v in (a, b))
    return float(np.mean(a * b)) / math.prod(deviations)


def _high_pass(shape: Sequence[int], spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Gains (J,) and (I,): 1 at frequencies that were acquired and are high, 0 elsewhere."""
    return _upper_band(spectrum.rows, shape[0]), _upper_band(spectrum.columns, shape[1])


def _upper_band(profile: np.ndarray, n: int) -> np.ndarray:
    edge = np.linspace(0, 0.5, BINS)[np.flatnonzero(profile >= NOISY)[-1]]
    frequencies = np.abs(np.fft.fftfreq(n))
    return 1 / (1 + np.exp(-(frequencies - HIGH * edge) / (RISE * edge))) * (frequencies <= edge)


def pair_sigma(first: np.ndarray, second: np.ndarray) -> float:
    """sigma from two repetitions (K, J, I) of one scan: gain and offset are matched per slice, then std(difference) /
    sqrt(2) in the foreground.
    """
    return _matched_sigma(first, second, foreground((first + second) / 2))


def _matched_sigma(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> float:
    differences = []
    for a, b, m in zip(first, second, mask):
        if m.sum() < 50:
            continue
        a, b = a[m].astype(np.float64), b[m].astype(np.float64)
        # Matching the moments and not regressing: noise in the regressor would bias the gain.
        d = a - a.std() / max(b.std(), 1e-30) * (b - b.mean()) - a.mean()
        differences.append(MAD_TO_SIGMA * np.median(np.abs(d - np.median(d))) / np.sqrt(2))
    return float(np.median(differences)) if differences else 0.0


def frame_limits(frames: Sequence[np.ndarray]) -> list[float]:
    """`frame_limit` of each frame (K, J, I) of a series, in its unit."""
    found = [_pair_limit(a, b) for a, b in pairwise(frames)]
    return [_largest(found[max(n - 1, 0) : n + 1]) for n in range(len(frames))]


def frame_limit(frame: np.ndarray, beside: Sequence[np.ndarray]) -> float:
    """The most that the noise of a frame (K, J, I) can be, from those before and after it; infinite without any.

    What differs between two frames is noise, and whatever moved or changed besides. Of either direction the larger
    counts, since matching a strong frame to a weak one shrinks its noise; and so it does of two pairs, since the noise
    of a neighbour may be weaker, as where it was averaged more often.
    """
    return _largest([_pair_limit(frame, other) for other in beside])


def _largest(limits: Sequence[float]) -> float:
    return max((limit for limit in limits if limit > 0), default=math.inf)


def _pair_limit(first: np.ndarray, second: np.ndarray) -> float:
    """The larger level of either direction; 0 where they tell nothing, as a copy, or a constant frame."""
    if first.shape != second.shape:
        return 0.0
    few = slice(None, None, -(-len(first) // PAIR_SLICES))
    first, second = first[few], second[few]
    mask = foreground((first + second) / 2)
    found = _matched_sigma(first, second, mask), _matched_sigma(second, first, mask)
    return max(found) if min(found) > 0 else 0.0


def is_magnitude(volume: np.ndarray, empty: EmptySpace, sigma: float) -> bool:
    """Whether the noise of (K, J, I), of level `sigma`, is that of a magnitude: its `empty` space tells, or, where that
    was cut away, that dark tissue lacks the negative values which Gaussian noise would have there.
    """
    if sigma <= 0 or volume.min() < 0:
        return False
    return _lacks_negative(volume, sigma) if is_masked(volume) else empty.is_magnitude(sigma)


def _lacks_negative(volume: np.ndarray, sigma: float) -> bool:
    """Whether tissue in a masked `volume` (K, J, I) without negative values is too dark for Gaussian noise. Values that
    were clipped are zeros.
    """
    few = volume[:: max(1, len(volume) // DARK_SLICES)]
    inside = ~beside_a_cut(few, 5)
    mean = box_mean(few, 5)[inside]
    dark = mean[mean < DARK * sigma] / (math.sqrt(2) * sigma)
    expected = sum(map(math.erfc, dark.tolist())) / 2
    return expected > FEWEST_NEGATIVE and int(np.count_nonzero(few[inside] == 0)) < CLIPPED * expected
