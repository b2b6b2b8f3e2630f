"""What is measured of a volume before it is denoised: level, kind and spectrum of its noise.

Each is first measured without a model (noise.py, emptyspace.py, noisemap.py, spectrum.py), then with one (refining.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from C2SCore import noise
from C2SCore.emptyspace import EmptySpace
from C2SCore.inference import SlicePass
from C2SCore.masked import beside_a_cut, filled
from C2SCore.noisemap import noise_shape
from C2SCore.refining import FEWEST, SHAPE_SLICES, fullest, refine, refined_shape, refined_spectrum
from C2SCore.spectrum import Spectrum, estimate_spectrum, white_spectrum
from C2SCore.tissue import foreground, signal_level, thickest
from C2SCore.zeropoint import lifted, zero_point

# Volumes with at most so many slices may be 2-D multi-slice scans with a gain of their own per slice: all are looked
# at, and the level is one per slice. Of larger ones, some in the middle tell as much.
MAX_SLICES, MIDDLE = 48, 24
INDEPENDENT = 0.25  # correlation of neighbouring slices' noise above which they share it
MODEST = 0.98  # of what the rounds end at: on simulated noise, 2 % too high on average
# Up to which noise that seems to vary over the plane, or to be stronger in tissue than in empty space, is believed:
# beyond, it is fine anatomy.
MAPPED_SNR = 25.0
AGREES = (0.7, 1.04)  # level in the empty space over the one in tissue, between which the former is taken
ALIKE = 0.03  # difference of the level in empty space and in the flattest tissue, up to which they are the same
FAR = 1.4  # level in the empty space over the one in tissue, from which the tissue seems to have been filtered
SPECTRUM_ROUNDS = 2
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
    if kind != "rician" and (zero := zero_point(part)):
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
    shown = part
    if passes is not None:
        # As in the denoising itself: without noise beyond a cut, a model takes less noise for noise.
        rows = fullest(clear, SHAPE_SLICES)
        shown = filled(part, np.full(len(part), estimate, dtype=np.float32), 0, among=rows)
        sigma, spectrum = _level_and_spectrum(shown, clear, estimate, shape, spectrum, passes)
        if shape is not None and signal > MAPPED_SNR * sigma:
            shape = None
            sigma = refine(shown, clear, sigma, None, spectrum, False, passes)
    empty = EmptySpace(part, mask)
    magnitude = kind == "rician" or (kind == "auto" and noise.is_magnitude(part, empty, sigma))
    if passes is not None and kind == "auto" and not magnitude:
        # Of what it has not learnt, as a phantom, the model may be wrong by far, and then so is the kind.
        seen = empty.sigma()
        faint = signal > MAPPED_SNR * sigma and seen < sigma
        magnitude = (faint or _alike(seen, estimate)) and noise.is_magnitude(part, empty, seen)
    if passes is not None and magnitude:
        shown = filled(part, np.full(len(part), sigma, dtype=np.float32), 0, True, rows)
        sigma = refine(shown, clear, sigma, shape, spectrum, True, passes)
    if passes is not None and shape is not None:
        shape = refined_shape(shown, clear, sigma, shape, spectrum, magnitude, passes)
        sigma = refine(shown, clear, sigma, shape, spectrum, magnitude, passes)
    if passes is not None:
        # Empty space shows nothing but noise, and the stabilising transform hinges on it; but ghosts, or tissue whose
        # noise is another, make it speak for itself alone. Where the flattest tissue says the same, both are right; and
        # where there is little noise, what tissue shows beyond that of a magnitude's empty space is fine anatomy.
        seen = empty.sigma(magnitude) if shape is None else 0.0
        faint = magnitude and signal > MAPPED_SNR * sigma and noise.is_magnitude(part, empty, seen)
        trusted = AGREES[0] < seen / sigma < AGREES[1] or _alike(seen, estimate) or (faint and seen < sigma)
        sigma = seen if trusted else MODEST * sigma
    if given is not None:
        levels = np.broadcast_to(given, (len(volume),)) if given.ndim == 0 else given
    else:
        # Where fine anatomy pushed the first estimate up, it would do so differently in every slice.
        levels = sigma * (relative if estimate < TRUSTED * sigma else np.ones(len(volume)))
    rayleigh = empty.sigma() if passes is not None and kind == "auto" and not magnitude else 0.0
    far = rayleigh > FAR * sigma and noise.is_magnitude(part, empty, rayleigh) and empty.is_rough(rayleigh)
    levels = np.ascontiguousarray(levels, dtype=np.float32)
    if shape is not None:
        plane = shape.astype(np.float32)
        # In a large volume, one plane stands for all: no further copy of its size.
        even = bool(np.ptp(levels) == 0)
        levels = np.broadcast_to(levels[0] * plane, volume.shape) if even else levels[:, None, None] * plane
    return Measured(sigma, estimate, signal, levels, magnitude, spectrum, independent, rayleigh if far else 0.0)


def _alike(empty: float, tissue: float) -> bool:
    """Whether empty space and the flattest tissue show one level."""
    return tissue > 0 and abs(empty / tissue - 1) < ALIKE


def _level_and_spectrum(
    part: np.ndarray,
    mask: np.ndarray,
    start: float,
    shape: np.ndarray | None,
    spectrum: Spectrum,
    passes: SlicePass,
) -> tuple[float, Spectrum]:
    """Level and spectrum as the model sees them, in turns."""
    sigma = refine(part, mask, start, shape, spectrum, False, passes)
    for _ in range(SPECTRUM_ROUNDS):
        better = refined_spectrum(part, mask, sigma, shape, spectrum, False, passes)
        if better is None:
            break
        spectrum = better
        sigma = refine(part, mask, sigma, shape, spectrum, False, passes)
    return sigma, spectrum


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
    """All slices, or the MIDDLE of more than MAX_SLICES: no copy of a large volume."""
    first = (count - MIDDLE) // 2
    return slice(first, first + MIDDLE) if count > MAX_SLICES else slice(0, count)
