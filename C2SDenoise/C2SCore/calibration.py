"""What is measured of a volume before it is denoised: level, kind and spectrum of its noise.

The level is first measured without a model (noise.py), then with one. For h = E[x_0 | x_d] at the true sigma

    E |x_d - h|^2 = sigma^2 (1 - tr(Sigma dh/dx) / n)

(from |x_d - h|^2 = |n - (h - x_0)|^2 with Stein's E n.h = sigma^2 tr(Sigma dh/dx) and second-order Tweedie's E |h -
x_0|^2, the same number). At an assumed sigma both sides are measured in the foreground; their ratio says which way to
go. Fine anatomy, which misleads every high-pass filter upwards, is what h knows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from C2SCore import noise, rician
from C2SCore.inference import SlicePass
from C2SCore.masked import beside_a_cut
from C2SCore.noisemap import CLEAR, noise_shape, refine_shape, span
from C2SCore.spectrum import Spectrum, estimate_spectrum, white_spectrum
from C2SCore.tensors import to_array, to_tensor
from C2SCore.tissue import foreground, signal_level, thickest
from C2SCore.zeropoint import lifted, zero_point

# Slices that are looked at. Volumes with at most so many may be 2-D multi-slice scans with a gain of their own per
# slice; then the level is one per slice.
MAX_SLICES = 48
INDEPENDENT = 0.25  # correlation of neighbouring slices' noise above which they share it
REFINE_SLICES = 4
SHAPE_SLICES = 8
FEWEST = 2000  # voxels of tissue, with fewer of which the model says nothing of the level
REFINE_SIDE = 128  # pixels around the middle of the tissue
ROUNDS = 4
CLOSE = 0.01  # difference of both sides' logarithms, from which no further round is worth its time
FLATTEST = -0.2  # slope of that difference over log sigma: a flatter one is chance
LONGEST = 0.6  # step in log sigma
MODEST = 0.98  # of what the rounds end at: on simulated noise, 2 % too high on average
MAPPED_SNR = 25.0  # up to which noise that seems to vary over the plane is believed: beyond, it is fine anatomy
AGREES = (0.7, 1.01)  # level in the empty space over the one in tissue, between which the former is taken
FAR = 1.4  # level in the empty space over the one in tissue, from which the tissue seems to have been filtered
PROBE_STEP = 0.3  # of sigma: well above the rounding of bfloat16, small enough for a derivative
TRUSTED = 1.12  # first estimate over the refined one, up to which it is taken for noise alone
EDGE = 9  # pixels: side of the squares without a pixel that was cut away, where the model is asked
ENOUGH = 0.5  # of the largest slice's tissue, below which a slice does not speak for itself
TOLERANCE = 0.15  # of a slice's level: smaller deviations are anatomy and chance


@dataclass(frozen=True)
class Measured:
    """`levels` (K,) or (K, J, I) float32; `sigma` their median; `filtered` the level as the high-pass filter alone sees
    it; `signal` the tissue median; all in the scan's unit.
    """

    sigma: float
    filtered: float
    signal: float
    levels: np.ndarray
    magnitude: bool
    spectrum: Spectrum
    independent_slices: bool
    empty: float = 0.0  # level in the empty space of a magnitude, where it is far above `sigma`: 0 otherwise

    def lowered(self, sigma: float) -> Measured:
        """The same with another level."""
        return replace(self, sigma=sigma, levels=self.levels * np.float32(sigma / self.sigma))


def measure(volume: np.ndarray, given: np.ndarray | None, kind: str, passes: SlicePass | None) -> Measured:
    """Measure (K, J, I). `given`: a level that the caller knows; `kind`: "auto", "gaussian" or "rician"; `passes`: the
    model that looks at it, if there is one; it needs no other contrast.
    """
    part = volume[_chosen(len(volume))]
    if zero := zero_point(part):
        part = lifted(part, zero)
    mask = foreground(part)
    signal = signal_level(part, mask)
    # Beside a hard edge the model's residual is not noise alone.
    clear = mask & ~beside_a_cut(part, EDGE)
    spectrum, estimate, independent, relative = white_spectrum(), 0.0, True, np.ones(len(volume))
    shape: np.ndarray | None = None
    if mask.any():
        spectrum = estimate_spectrum(part, mask)
        passed = noise.HighPassed(part, mask, spectrum)
        estimate = passed.sigma(thickest(mask))
        independent = passed.slice_correlation(mask) < INDEPENDENT
        if len(part) == len(volume):
            relative = _relative_levels(passed.slice_sigmas(estimate), mask)
        if given is None:
            shape = noise_shape(passed, mask)
    sigma = estimate if given is None else float(np.median(given))
    if given is not None or estimate == 0 or clear.sum() < FEWEST:
        passes = None
    if passes is not None:
        sigma = refine(part, clear, estimate, shape, spectrum, False, passes)
        if shape is not None and signal > MAPPED_SNR * sigma:
            shape = None
            sigma = refine(part, clear, sigma, None, spectrum, False, passes)
    magnitude = kind == "rician" or (kind == "auto" and noise.is_magnitude(part, mask, sigma))
    if passes is not None and magnitude:
        sigma = refine(part, clear, sigma, shape, spectrum, True, passes)
    if passes is not None and shape is not None:
        shape = _refined_shape(part, clear, sigma, shape, spectrum, magnitude, passes)
        sigma = refine(part, clear, sigma, shape, spectrum, magnitude, passes)
    if passes is not None:
        # A magnitude's empty space shows nothing but noise, and the stabilising transform hinges on it; but ghosts,
        # or tissue whose noise is another, make it speak for itself alone.
        empty = noise.background_sigma(part, mask) if magnitude and shape is None else 0.0
        trusted = AGREES[0] < empty / sigma < AGREES[1]
        sigma = empty if trusted else MODEST * sigma
    if given is not None:
        levels = np.broadcast_to(given, (len(volume),)) if given.ndim == 0 else given
    else:
        # Where fine anatomy pushed the first estimate up, it would do so differently in every slice.
        levels = sigma * (relative if estimate < TRUSTED * sigma else np.ones(len(volume)))
    empty = noise.background_sigma(part, mask) if passes is not None and kind == "auto" and not magnitude else 0.0
    far = empty > FAR * sigma and noise.is_magnitude(part, mask, empty)
    levels = np.ascontiguousarray(levels, dtype=np.float32)
    if shape is not None:
        plane = shape.astype(np.float32)
        # In a large volume, one plane stands for all: no further copy of its size.
        even = bool(np.ptp(levels) == 0)
        levels = np.broadcast_to(levels[0] * plane, volume.shape) if even else levels[:, None, None] * plane
    return Measured(sigma, estimate, signal, levels, magnitude, spectrum, independent, empty if far else 0.0)


def _relative_levels(each: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Level of every slice over the median, (K,), from `each` slice's estimate: 1 unless a slice's noise clearly
    differs, as where each slice was scaled by itself.
    """
    ratio = np.log(np.maximum(each, 1e-30) / max(float(np.median(each)), 1e-30))
    # Slices at the ends have little tissue and much skin and bone: what they seem to say of the noise is their edges.
    area = mask.sum(axis=(1, 2))
    ratio[area < ENOUGH * area.max()] = 0
    return np.exp(np.sign(ratio) * np.maximum(np.abs(ratio) - TOLERANCE, 0))


def _chosen(count: int) -> slice:
    """The middle part of a volume, at most MAX_SLICES: no copy of a large one."""
    first = max((count - MAX_SLICES) // 2, 0)
    return slice(first, min(first + MAX_SLICES, count))


def refine(
    part: np.ndarray,
    mask: np.ndarray,
    start: float,
    shape: np.ndarray | None,
    spectrum: Spectrum,
    magnitude: bool,
    passes: SlicePass,
) -> float:
    """The level at which the model's residual has the variance that it should have; `start` if there is too little
    tissue. `shape` (J, I): the level over the plane, relative to its median.
    """
    rows = _fullest(mask, REFINE_SLICES)
    window = tuple(_around(np.asarray(mask.any(axis=(0, 2 - axis)))) for axis in range(2))
    inside = mask[rows][:, window[0], window[1]]
    if inside.sum() < FEWEST:
        return start
    probe = _Probe(part[rows], window, spectrum, passes)
    # Where anatomy is fine, the residual grows almost as fast as the level that is assumed: a fixed share of the
    # difference, step by step, would come to a halt long before the end; so its zero is found by secants.
    place, slope, before = math.log(start), -1.0, (0.0, 0.0)
    for n in range(ROUNDS):
        sigma = math.exp(place)
        residual, expected = probe.moments(np.float32(sigma) if shape is None else sigma * shape, magnitude)
        ratio = float(residual[inside].mean() / max(expected[inside].mean(), 0.05))
        difference = math.log(min(max(ratio, 0.1), 10))
        if n > 0:
            slope = min((difference - before[1]) / (place - before[0]), FLATTEST)
        before = place, difference
        place += min(max(-difference / slope, -LONGEST), LONGEST)
        if abs(difference) < CLOSE:
            break
    return math.exp(place)


def _refined_shape(
    part: np.ndarray,
    mask: np.ndarray,
    sigma: float,
    shape: np.ndarray,
    spectrum: Spectrum,
    magnitude: bool,
    passes: SlicePass,
) -> np.ndarray | None:
    """The shape as the model sees it; None if it then hardly varies."""
    rows = _fullest(mask, SHAPE_SLICES)
    probe = _Probe(part[rows], (slice(None), slice(None)), spectrum, passes)
    refined = refine_shape(shape, mask[rows], lambda guess: probe.moments(sigma * guess, magnitude))
    return refined if span(refined) > CLEAR else None


def _fullest(mask: np.ndarray, wanted: int) -> np.ndarray:
    """Indices of the `wanted` slices with most foreground, rising."""
    return np.sort(np.argsort(-mask.sum(axis=(1, 2)), kind="stable")[:wanted])


def _around(seen: np.ndarray) -> slice:
    """At most REFINE_SIDE pixels about the middle of where `seen` is true."""
    places = np.flatnonzero(seen)
    first = int(np.clip((places[0] + places[-1]) // 2 - REFINE_SIDE // 2, 0, max(len(seen) - REFINE_SIDE, 0)))
    return slice(first, min(first + REFINE_SIDE, len(seen)))


class _Probe:
    """Asks the model about slices (N, J, I) at assumed levels of their noise; only a `window` of them is passed."""

    def __init__(self, slices: np.ndarray, window: tuple[slice, ...], spectrum: Spectrum, passes: SlicePass) -> None:
        self.window, self.passes = window, passes
        self.x = slices[:, window[0], window[1]]
        self.mean_square = np.square(slices).mean(axis=(1, 2))
        power = to_tensor(spectrum.power(*self.x.shape[1:]))
        white = torch.randn(self.x.shape, generator=torch.Generator().manual_seed(0))
        self.z = torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real[:, None]

    def moments(self, level: np.ndarray | np.float32, magnitude: bool) -> tuple[np.ndarray, np.ndarray]:
        """Square of the residual and its expectation, (N, H, W) in units of the noise, if its level is `level`, a
        number or (J, I).
        """
        mean, square = float(np.mean(level)), float(np.mean(np.square(level)))
        scaled = self.x / (level[self.window] if isinstance(level, np.ndarray) else level)
        u = to_tensor((rician.stabilise(np.abs(scaled)) if magnitude else scaled).astype(np.float32))[:, None]
        power = (self.mean_square - (2 if magnitude else 1) * square) / mean**2
        sigma_data = to_tensor(np.sqrt(np.maximum(power, 0)).astype(np.float32))
        one = torch.ones(len(u))
        run = self.passes.run
        plus = run(u + PROBE_STEP * self.z, one, None, sigma_data)
        minus = run(u - PROBE_STEP * self.z, one, None, sigma_data)
        residual = (u - run(u, one, None, sigma_data)).square()
        expected = 1 - self.z * (plus - minus) / (2 * PROBE_STEP)
        return to_array(residual)[:, 0], to_array(expected)[:, 0]
