"""The noise of a scan from the scan itself: where it is seen, how strong it is and which frequencies it has.

MR noise is white in the acquired part of k-space and absent outside it. Its standard deviation sigma is measured in
the foreground, at
frequencies that were acquired and are high along both in-plane axes, where anatomy is weak; the flattest places decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

BINS = 65  # frequencies 0 ... 0.5 cycles per pixel
WINDOW = 13  # pixels: side of the squares in which the noise is measured
QUANTILE = 0.1  # of the squares, flattest first, that decide
MAX_SLICES = 24
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
    image = sitk.GetImageFromArray(np.abs(volume).astype(np.float32))
    smooth = sitk.GetArrayFromImage(sitk.Mean(image, (2, 2, 0)))
    if smooth.max() <= smooth.min():
        return np.zeros(volume.shape, dtype=bool)
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetInsideValue(0)
    otsu.SetOutsideValue(1)
    # The brightest percent (fat, vessels) would pull the threshold up.
    otsu.Execute(sitk.GetImageFromArray(np.minimum(smooth, np.quantile(smooth, 0.99))))
    return smooth > 0.8 * otsu.GetThreshold()


def signal_level(volume: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Median of the foreground, in the scan's unit: the signal of SNR = signal / sigma."""
    mask = foreground(volume) if mask is None else mask
    return float(np.median(volume[mask])) if mask.any() else float(np.median(volume))


def estimate_spectrum(volume: np.ndarray, mask: np.ndarray | None = None) -> Spectrum:
    """The acquired part of k-space, from one image (K, J, I).

    The power along one axis is taken only at high acquired frequencies of the other, where there is little
    anatomy; it is flat where noise
    was acquired and falls to nothing where it was not. The low frequencies, where anatomy leaks in, are taken to
    be acquired.
    """
    mask = foreground(volume) if mask is None else mask
    if not mask.any() or min(volume.shape[1:]) < SMALLEST:
        return white_spectrum()
    power = _mean_power(_thickest(volume, mask)[0])
    height, width = power.shape
    rows, columns = np.abs(np.fft.fftfreq(height)), np.abs(np.fft.fftfreq(width))
    edge_r = edge_c = 0.5
    profile_r = profile_c = np.ones(BINS)
    # Which frequencies of one axis are "high but acquired" depends on the other axis' profile: three rounds settle it.
    for _ in range(3):
        profile_r, edge_r = _profile(power[:, (columns > 0.6 * edge_c) & (columns <= 0.95 * edge_c)].mean(axis=1), rows)
        profile_c, edge_c = _profile(power[(rows > 0.6 * edge_r) & (rows <= 0.95 * edge_r), :].mean(axis=0), columns)
    return Spectrum(profile_r, profile_c)


def _mean_power(slices: np.ndarray) -> np.ndarray:
    """Mean power (J, I) of slices (K, J, I), windowed against the jump at the border."""
    height, width = slices.shape[1:]
    window = np.outer(np.hanning(height + 2)[1:-1] ** 0.5, np.hanning(width + 2)[1:-1] ** 0.5)
    centred = slices - slices.mean(axis=(1, 2), keepdims=True)
    return (np.abs(np.fft.fft2(centred * window)) ** 2).mean(axis=0)


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


def estimate_sigma(volume: np.ndarray, mask: np.ndarray | None = None, spectrum: Spectrum | None = None) -> float:
    """Standard deviation of the noise in the foreground of (K, J, I), in the scan's own unit; 0 if constant."""
    mask = foreground(volume) if mask is None else mask
    if not mask.any():
        return 0.0
    spectrum = estimate_spectrum(volume, mask) if spectrum is None else spectrum
    slices, inside = _thickest(volume, mask)
    values, reference = _local_power(slices, inside, spectrum)
    return float(np.sqrt(np.quantile(values, QUANTILE) / reference)) if values.size else 0.0


def estimate_slice_sigmas(volume: np.ndarray, mask: np.ndarray, spectrum: Spectrum) -> np.ndarray:
    """sigma of every slice, (K,), in the scan's unit; a slice with little foreground takes the volume's."""
    whole = estimate_sigma(volume, mask, spectrum)
    result = np.full(volume.shape[0], whole)
    for k in range(volume.shape[0]):
        if mask[k].sum() > 10 * WINDOW**2:
            values, reference = _local_power(volume[k : k + 1].astype(np.float64), mask[k : k + 1], spectrum)
            if values.size > 400:
                result[k] = np.sqrt(np.quantile(values, QUANTILE) / reference)
    return result


def _thickest(volume: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slices with most foreground, at most MAX_SLICES, float64, and their masks."""
    area = mask.sum(axis=(1, 2))
    chosen = np.sort(np.argsort(-area, kind="stable")[: min(MAX_SLICES, max(1, int((area > 0.3 * area.max()).sum())))])
    return volume[chosen].astype(np.float64), mask[chosen]


def _local_power(slices: np.ndarray, inside: np.ndarray, spectrum: Spectrum) -> tuple[np.ndarray, float]:
    """Local mean squares of the high-passed slices in the foreground, and what QUANTILE of them is for noise of unit
    variance.
    """
    height, width = slices.shape[1:]
    high = _high_pass(height, width, spectrum)
    filtered = np.fft.ifft2(np.fft.fft2(slices) * high).real
    local = box_mean(filtered**2)
    # Only squares that lie in the foreground: the background's noise is weaker in a magnitude image, and masked
    # in others.
    whole = box_mean(inside.astype(np.float64)) > 0.98
    if whole.sum() < 200:
        whole = inside
    rng = np.random.default_rng(0)
    shape = max(height, 64), max(width, 64)
    white = np.fft.fft2(rng.standard_normal((2, *shape)))
    noise = np.fft.ifft2(white * np.sqrt(spectrum.power(*shape)) * _high_pass(*shape, spectrum)).real
    return local[whole], float(np.quantile(box_mean(noise**2), QUANTILE))


def _high_pass(height: int, width: int, spectrum: Spectrum) -> np.ndarray:
    """1 at frequencies that were acquired and are high along both axes, 0 elsewhere, (height, width)."""
    return np.outer(_upper_band(spectrum.rows, height), _upper_band(spectrum.columns, width))


def _upper_band(profile: np.ndarray, n: int) -> np.ndarray:
    edge = np.linspace(0, 0.5, BINS)[np.flatnonzero(profile >= 0.5)[-1]]
    frequencies = np.abs(np.fft.fftfreq(n))
    return 1 / (1 + np.exp(-(frequencies - 0.7 * edge) / (0.03 * edge))) * (frequencies <= edge)


def box_mean(values: np.ndarray) -> np.ndarray:
    """Mean over WINDOW x WINDOW pixels of (K, J, I), same shape."""
    pad = WINDOW // 2
    padded = np.pad(
        values, ((0, 0), (pad + 1, pad), (pad + 1, pad)), mode="reflect" if min(values.shape[1:]) > pad + 1 else "edge"
    )
    sums = padded.cumsum(axis=1).cumsum(axis=2)
    box = (
        sums[:, WINDOW:, WINDOW:]
        - sums[:, :-WINDOW, WINDOW:]
        - sums[:, WINDOW:, :-WINDOW]
        + sums[:, :-WINDOW, :-WINDOW]
    )
    return box / WINDOW**2


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


def is_magnitude(volume: np.ndarray, mask: np.ndarray, sigma: float) -> bool:
    """Whether the background looks like the magnitude of complex noise (Rayleigh: mean 1.25 sigma, spread 0.655 sigma,
    nothing negative).
    """
    away = ~_grown(mask, 4)
    if sigma <= 0 or volume.min() < 0 or away.sum() < 500:
        return False
    values = volume[away]
    # Zeros beyond what rounding to whole numbers makes: the background was masked, or windowed to a range that
    # begins above 0. Then an
    # unknown offset is gone, and the statistics of a magnitude no longer hold.
    whole = bool(np.all(values[:10000] == np.round(values[:10000])))
    rounded = 1 - np.exp(-((0.5 / sigma) ** 2) / 2) if whole else 0.0
    if (values == 0).mean() > 3 * rounded + 0.003:
        return False
    middle = np.median(values)
    spread = np.quantile(values, 0.75) - np.quantile(values, 0.25)
    # Rayleigh: median 1.177 sigma, interquartile range 0.906 sigma.
    return bool(0.7 < middle / (1.177 * sigma) < 1.4 and 0.6 < spread / (0.906 * sigma) < 1.6)


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    return sitk.GetArrayFromImage(sitk.BinaryDilate(image, (pixels, pixels, 0))).astype(bool)


def slice_correlation(volume: np.ndarray, mask: np.ndarray, spectrum: Spectrum) -> float:
    """Correlation of the noise in neighbouring slices, -1 to 1: above about 0.2 the slices were interpolated or
    filtered together.
    """
    if volume.shape[0] < 2:
        return 0.0
    high = _high_pass(volume.shape[1], volume.shape[2], spectrum)
    filtered = np.fft.ifft2(np.fft.fft2(volume.astype(np.float64)) * high).real
    both = mask[1:] & mask[:-1]
    if both.sum() < 100:
        return 0.0
    # Edges of anatomy go through several slices; in the flatter half of the tissue it is noise that decides.
    local = box_mean(filtered**2)
    local = local[1:] + local[:-1]
    keep = both & (local <= np.median(local[both]))
    a, b = filtered[1:][keep], filtered[:-1][keep]
    return float(np.mean(a * b) / np.sqrt(np.mean(a**2) * np.mean(b**2) + 1e-30))
