"""The noise of a scan from the scan itself: where it is seen, how strong it is and which frequencies it has.

MR noise is white in the acquired part of k-space and absent outside it. Its standard deviation sigma is measured in the
foreground, at frequencies that were acquired and are high along both in-plane axes, where anatomy is weak; the flattest
places decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

BINS = 65  # frequencies 0 ... 0.5 cycles per pixel
WINDOW = 13  # pixels: side of the squares in which the noise is measured
QUANTILE = 0.1  # of the squares, flattest first, that decide
MAX_SLICES = 24
REPEATED_PAIRS = 4
BACKGROUND_SLICES = 12  # that tell magnitudes from additive noise
EMPTY = 1.4  # mean square of 9 x 9 pixels over that of noise alone, from which space is not empty
EMPTY_ROUNDS = 5
FEWEST_EMPTY = 500  # voxels
RAYLEIGH_MEDIAN = 1.1774  # of sigma
INNER = 0.25  # cycles per pixel, up to which frequencies are acquired in all but the rarest scans
SMALLEST = 16  # pixels: with fewer, a spectrum says nothing


@dataclass(frozen=True)
class Spectrum:
    """Noise power along the two in-plane axes, separable: S(f_row, f_column) = rows(|f_row|) columns(|f_column|).

    `rows` and `columns` have BINS values from frequency 0 to 0.5 cycles per pixel; the largest of each is about 1.
    """

    rows: np.ndarray
    columns: np.ndarray

    @property
    def white(self) -> bool:
        return bool(min(self.rows.min(), self.columns.min()) > 0.5)

    def power(self, height: int, width: int) -> np.ndarray:
        """S on the grid of `np.fft.fft2`, (height, width), scaled to a mean of 1: noise of unit variance."""
        power = np.outer(_sample(self.rows, height), _sample(self.columns, width))
        return power / power.mean()


def white_spectrum() -> Spectrum:
    return Spectrum(np.ones(BINS), np.ones(BINS))


def _sample(profile: np.ndarray, n: int) -> np.ndarray:
    return np.interp(np.abs(np.fft.fftfreq(n)), np.linspace(0, 0.5, BINS), profile)


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


def estimate_spectrum(volume: np.ndarray, mask: np.ndarray | None = None) -> Spectrum:
    """The acquired part of k-space, from one image (K, J, I).

    The power along one axis is taken only at high acquired frequencies of the other, where there is little anatomy; it
    is flat where noise was acquired and falls to nothing where it was not. The low frequencies, where anatomy leaks in,
    are taken to be acquired.
    """
    mask = foreground(volume) if mask is None else mask
    if not mask.any() or min(volume.shape[1:]) < SMALLEST:
        return white_spectrum()
    power = _mean_power(volume[thickest(mask)])
    height, width = power.shape
    rows, columns = np.abs(np.fft.fftfreq(height)), np.abs(np.fft.fftfreq(width))
    edge_r = edge_c = INNER
    profile_r = profile_c = np.ones(BINS)
    # Which frequencies of one axis are "high but acquired" depends on the other axis' profile: three rounds settle it.
    # They begin inside of what an image zero-filled to twice the matrix has: beyond, the little that a magnitude leaves
    # looks as if it went on to the end.
    for _ in range(3):
        profile_r, edge_r = _profile(power[:, (columns > 0.6 * edge_c) & (columns <= 0.95 * edge_c)].mean(axis=1), rows)
        profile_c, edge_c = _profile(power[(rows > 0.6 * edge_r) & (rows <= 0.95 * edge_r), :].mean(axis=0), columns)
    return Spectrum(profile_r, profile_c)


def _mean_power(slices: np.ndarray) -> np.ndarray:
    """Mean power (J, I) of slices (K, J, I), windowed against the jump at the border."""
    height, width = slices.shape[1:]
    window = np.outer(np.hanning(height + 2)[1:-1] ** 0.5, np.hanning(width + 2)[1:-1] ** 0.5)
    centred = slices - slices.mean(axis=(1, 2), keepdims=True)
    return (np.abs(np.fft.fft2(centred * window.astype(np.float32))) ** 2).mean(axis=0, dtype=np.float64)


def _profile(power: np.ndarray, frequencies: np.ndarray) -> tuple[np.ndarray, float]:
    """Noise profile (BINS) and the highest acquired frequency, from the power at `frequencies`."""
    grid = np.linspace(0, 0.5, BINS)
    binned = np.full(BINS, np.nan)
    index = np.round(frequencies * 2 * (BINS - 1)).astype(int)
    for b in np.unique(index):
        binned[b] = power[index == b].mean()
    known = np.isfinite(binned)
    binned = np.interp(grid, grid[known], binned[known])
    smooth = np.convolve(np.pad(binned, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    # The plateau: the median above the frequencies where anatomy leaks in, among those that carry any power.
    candidates = smooth[(grid > 0.2)]
    plateau = np.median(candidates[candidates > 0.25 * candidates.max()])
    profile = np.clip(smooth / max(plateau, 1e-30), 0, 1)
    profile[: np.argmax(grid > 0.2)] = 1
    # A fall of less than half is anatomy fading towards high frequencies, not the edge of k-space.
    outside = np.flatnonzero(profile < 0.5)
    if outside.size == 0:
        return np.ones(BINS), 0.5
    return profile, float(grid[max(outside[0] - 1, 1)])


class HighPassed:
    """Slices (K, J, I) seen at the frequencies where noise rules; made once for everything that is asked of them.

    `filtered` is the high-passed slices, `local` its mean square over WINDOW x WINDOW pixels, `inside` where such a
    square lies in the foreground, `reference` what QUANTILE of `local` is for noise of unit variance, `density` the
    share of the pixels' number that noise of its spectrum has of independent values.
    """

    def __init__(self, slices: np.ndarray, mask: np.ndarray, spectrum: Spectrum) -> None:
        height, width = slices.shape[1:]
        gain = _high_pass(height, width, spectrum).astype(np.float32)
        self.filtered = _apply(slices, gain)
        self.local = box_mean(np.square(self.filtered))
        self.density = float(spectrum.rows.mean() * spectrum.columns.mean())
        # Only squares that lie in the foreground: the background's noise is weaker in a magnitude image, and masked
        # in others.
        self.inside = box_mean(mask) > 0.98
        if self.inside.sum() < 200:
            self.inside = mask
        rng = np.random.default_rng(0)
        shape = max(height, 64), max(width, 64)
        white = rng.standard_normal((2, *shape))
        noise = _apply(white, np.sqrt(spectrum.power(*shape)) * _high_pass(*shape, spectrum))
        self.reference = float(np.quantile(box_mean(np.square(noise)), QUANTILE))

    def sigma(self, rows: np.ndarray | slice = slice(None)) -> float:
        """Level of the noise in the slices `rows`; 0 where there is no foreground."""
        values = self.local[rows][self.inside[rows]]
        return float(np.sqrt(np.quantile(values, QUANTILE) / self.reference)) if values.size else 0.0

    def slice_sigmas(self, fallback: float) -> np.ndarray:
        """Level of every slice, (K,); a slice with little foreground takes `fallback`."""
        enough = self.inside.sum(axis=(1, 2)) > 10 * WINDOW**2
        return np.array([self.sigma(slice(k, k + 1)) if enough[k] else fallback for k in range(len(enough))])

    def slice_correlation(self, mask: np.ndarray) -> float:
        """Correlation of neighbouring slices' noise, -1 to 1."""
        both = mask[1:] & mask[:-1]
        if both.sum() < 100:
            return 0.0
        # Edges of anatomy go through several slices; in the flatter half of the tissue it is noise that decides.
        local = self.local[1:] + self.local[:-1]
        keep = both & (local <= np.median(local[both]))
        a, b = self.filtered[1:][keep], self.filtered[:-1][keep]
        return float(np.mean(a * b) / np.sqrt(np.mean(a**2) * np.mean(b**2) + 1e-30))


def _apply(slices: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Slices filtered by a gain on the FFT grid that is even in both frequencies, (K, J, I)."""
    spectrum = np.fft.rfft2(slices)
    return np.fft.irfft2(spectrum * gain[:, : spectrum.shape[2]], s=slices.shape[1:])


def estimate_sigma(volume: np.ndarray, mask: np.ndarray | None = None, spectrum: Spectrum | None = None) -> float:
    """Standard deviation of the noise in the foreground of (K, J, I), in the scan's own unit; 0 if constant."""
    mask = foreground(volume) if mask is None else mask
    if not mask.any():
        return 0.0
    spectrum = estimate_spectrum(volume, mask) if spectrum is None else spectrum
    rows = thickest(mask)
    return HighPassed(volume[rows], mask[rows], spectrum).sigma()


def estimate_slice_sigmas(volume: np.ndarray, mask: np.ndarray, spectrum: Spectrum) -> np.ndarray:
    """sigma of every slice, (K,), in the scan's unit; a slice with little foreground takes the volume's."""
    passed = HighPassed(volume, mask, spectrum)
    return passed.slice_sigmas(passed.sigma(thickest(mask)))


def thickest(mask: np.ndarray) -> np.ndarray:
    """Indices of the slices with most foreground, at most MAX_SLICES."""
    area = mask.sum(axis=(1, 2))
    wanted = min(MAX_SLICES, max(1, int((area > 0.3 * area.max()).sum())))
    return np.sort(np.argsort(-area, kind="stable")[:wanted])


def _high_pass(height: int, width: int, spectrum: Spectrum) -> np.ndarray:
    """1 at frequencies that were acquired and are high along both axes, 0 elsewhere, (height, width)."""
    return np.outer(_upper_band(spectrum.rows, height), _upper_band(spectrum.columns, width))


def _upper_band(profile: np.ndarray, n: int) -> np.ndarray:
    edge = np.linspace(0, 0.5, BINS)[np.flatnonzero(profile >= 0.5)[-1]]
    frequencies = np.abs(np.fft.fftfreq(n))
    return 1 / (1 + np.exp(-(frequencies - 0.7 * edge) / (0.03 * edge))) * (frequencies <= edge)


def box_mean(values: np.ndarray, side: int = WINDOW) -> np.ndarray:
    """Mean over side x side pixels (odd) of (K, J, I), same shape, float32."""
    pad = side // 2
    mode: Literal["reflect", "edge"] = "reflect" if min(values.shape[1:]) > pad + 1 else "edge"
    result = np.empty(values.shape, dtype=np.float32)
    # Slice by slice: the running sums of one stay in the processor's cache.
    for plane, mean in zip(values, result):
        padded = np.pad(plane, ((pad + 1, pad), (pad + 1, pad)), mode=mode)
        sums = padded.cumsum(axis=0, dtype=np.float64)
        sums = (sums[side:] - sums[:-side]).cumsum(axis=1)
        mean[:] = (sums[:, side:] - sums[:, :-side]) / side**2
    return result


def pair_sigma(first: np.ndarray, second: np.ndarray) -> float:
    """sigma from two repetitions (K, J, I) of one scan: gain and offset are matched per slice, then std(difference) /
    sqrt(2) in the foreground.
    """
    mask = foreground((first + second) / 2)
    differences = []
    for a, b, m in zip(first.astype(np.float64), second.astype(np.float64), mask):
        if m.sum() < 50:
            continue
        # Matching the moments and not regressing: noise in the regressor would bias the gain.
        gain = a[m].std() / max(b[m].std(), 1e-30)
        d = a[m] - gain * (b[m] - b[m].mean()) - a[m].mean()
        differences.append(1.4826 * np.median(np.abs(d - np.median(d))) / np.sqrt(2))
    return float(np.median(differences)) if differences else 0.0


def repeated_sigma(frames: Sequence[np.ndarray]) -> float:
    """The most that the noise can be, from the frames (K, J, I) of one scan; infinite for a single frame.

    What differs between two frames is noise, and whatever moved or changed besides. The least of a few pairs of
    neighbours counts; of either direction the larger, since matching a strong frame to a weak one shrinks its noise.
    """
    pairs = range(0, len(frames) - 1, max(1, (len(frames) - 1) // REPEATED_PAIRS))
    found = [max(pair_sigma(frames[n], frames[n + 1]), pair_sigma(frames[n + 1], frames[n])) for n in pairs]
    return min((sigma for sigma in found if sigma > 0), default=math.inf)


def is_magnitude(volume: np.ndarray, mask: np.ndarray, sigma: float) -> bool:
    """Whether the background looks like the magnitude of complex noise (Rayleigh: mean 1.25 sigma, spread 0.655 sigma,
    nothing negative).
    """
    if sigma <= 0 or volume.min() < 0:
        return False
    values = _background(volume, mask)
    if values.size < FEWEST_EMPTY:
        return False
    # Zeros beyond what rounding to whole numbers makes: the background was masked, or windowed to a range that begins
    # above 0. Then an unknown offset is gone, and the statistics of a magnitude no longer hold.
    whole = bool(np.all(values[:10000] == np.round(values[:10000])))
    rounded = 1 - np.exp(-((0.5 / sigma) ** 2) / 2) if whole else 0.0
    if (values == 0).mean() > 3 * rounded + 0.003:
        return False
    middle = np.median(values)
    spread = np.quantile(values, 0.75) - np.quantile(values, 0.25)
    # Rayleigh: median 1.177 sigma, interquartile range 0.906 sigma.
    return bool(0.7 < middle / (RAYLEIGH_MEDIAN * sigma) < 1.4 and 0.6 < spread / (0.906 * sigma) < 1.6)


def background_sigma(volume: np.ndarray, mask: np.ndarray) -> float:
    """sigma from the empty space of a magnitude image (K, J, I), where noise is Rayleigh distributed; 0 if there is
    none.
    """
    few, away = _away(mask)
    part = volume[few]
    power = box_mean(np.square(part), 9)
    sigma = math.inf
    # Dark tissue, as skin where fat is suppressed, is no foreground, but it shines more than noise does.
    for _ in range(EMPTY_ROUNDS):
        values = part[away & (power < EMPTY * 2 * sigma**2)]
        if values.size < FEWEST_EMPTY:
            return 0.0
        sigma = float(np.median(values)) / RAYLEIGH_MEDIAN
    return sigma


def _background(volume: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Voxels of some slices, 4 pixels and more away from the foreground `mask`."""
    few, away = _away(mask)
    return volume[few][away]


def _away(mask: np.ndarray) -> tuple[slice, np.ndarray]:
    """Some slices, and where in them one is 4 pixels and more away from the foreground `mask`."""
    few = slice(None, None, max(1, len(mask) // BACKGROUND_SLICES))
    return few, box_mean(mask[few], 9) == 0


def slice_correlation(volume: np.ndarray, mask: np.ndarray, spectrum: Spectrum) -> float:
    """Correlation of the noise in neighbouring slices, -1 to 1: above about 0.2 the slices were interpolated or
    filtered together.
    """
    return HighPassed(volume, mask, spectrum).slice_correlation(mask) if len(volume) > 1 else 0.0
