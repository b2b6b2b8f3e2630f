"""What the model sees of a scan's noise: its level, its shape over the plane and its spectrum.

For h = E[x_0 | x_d] at the true sigma and spectrum

    E |x_d - h|^2 = sigma^2 (1 - tr(Sigma dh/dx) / n)

(from |x_d - h|^2 = |n - (h - x_0)|^2 with Stein's E n.h = sigma^2 tr(Sigma dh/dx) and second-order Tweedie's E |h -
x_0|^2, the same number), pixel by pixel and, likewise, frequency by frequency: E |R|^2 = E Re Z* (Z - dh/dx Z) for the
transforms R of the residual and Z of noise z ~ N(0, Sigma). At an assumed noise both sides are measured in the
foreground; their ratio says which way to go. Fine anatomy, which misleads every high-pass filter upwards, is what h
knows.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from C2SCore import rician
from C2SCore.inference import SlicePass
from C2SCore.noisemap import CLEAR, refine_shape, span
from C2SCore.spectrum import BINS, Spectrum
from C2SCore.tensors import to_array, to_tensor
from C2SCore.tissue import box_mean

REFINE_SLICES = 4
SHAPE_SLICES = 8
FEWEST = 2000  # voxels of tissue, with fewer of which the model says nothing of the level
REFINE_SIDE = 128  # pixels around the middle of the tissue
ROUNDS = 4
CLOSE = 0.01  # difference of both sides' logarithms, from which no further round is worth its time
FLATTEST = -0.2  # slope of that difference over log sigma: a flatter one is chance
LONGEST = 0.6  # step in log sigma
PROBE_STEP = 0.3  # of sigma: well above the rounding of bfloat16, small enough for a derivative
BANDS = 8  # of frequencies along an axis, in each of which both sides are compared
HIGH = 0.15  # cycles per pixel along the other axis, from which they are: below, there is too much anatomy
FAINT = 0.05  # of the largest noise power: what is less is left as it was found
DIFFERENT = 1.5  # largest ratio of both sides over the smallest, from which the spectrum is another
LARGEST = 4.0  # ratio that is believed
SURE = 0.1  # of the noise: a band of which the model removes less says nothing


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
    tissue, or if the search leads away from where it began to no such level. `shape` (J, I): the level over the plane,
    relative to its median.
    """
    rows = fullest(mask, REFINE_SLICES)
    window = _window(mask)
    inside = mask[rows][:, window[0], window[1]]
    if inside.sum() < FEWEST:
        return start
    probe = _Probe(part[rows], window, spectrum, passes)
    # Where anatomy is fine, the residual grows almost as fast as the level that is assumed: a fixed share of the
    # difference, step by step, would come to a halt long before the end; so its zero is found by secants.
    place, slope, before, differences = math.log(start), -1.0, (0.0, 0.0), []
    for n in range(ROUNDS):
        sigma = math.exp(place)
        residual, expected = probe.moments(np.float32(sigma) if shape is None else sigma * shape, magnitude)
        ratio = float(residual[inside].mean() / max(expected[inside].mean(), 0.05))
        differences.append(difference := math.log(min(max(ratio, 0.1), 10)))
        if n > 0:
            slope = min((difference - before[1]) / (place - before[0]), FLATTEST)
        before = place, difference
        place += min(max(-difference / slope, -LONGEST), LONGEST)
        if abs(difference) < CLOSE:
            break
    return math.exp(place) if abs(differences[-1]) <= abs(differences[0]) else start


def refined_shape(
    part: np.ndarray,
    mask: np.ndarray,
    sigma: float,
    shape: np.ndarray,
    spectrum: Spectrum,
    magnitude: bool,
    passes: SlicePass,
) -> np.ndarray | None:
    """The shape as the model sees it; None if it then hardly varies."""
    rows = fullest(mask, SHAPE_SLICES)
    probe = _Probe(part[rows], (slice(None), slice(None)), spectrum, passes)
    refined = refine_shape(shape, mask[rows], lambda guess: probe.moments(sigma * guess, magnitude))
    return refined if span(refined) > CLEAR else None


def refined_spectrum(
    part: np.ndarray,
    mask: np.ndarray,
    sigma: float,
    shape: np.ndarray | None,
    spectrum: Spectrum,
    magnitude: bool,
    passes: SlicePass,
) -> Spectrum | None:
    """The spectrum at which the model's residual has the power that it should have at every frequency; None if that is
    so at the one given, or if there is too little tissue.
    """
    rows, window = fullest(mask, REFINE_SLICES), _window(mask)
    inside = mask[rows][:, window[0], window[1]]
    if inside.sum() < FEWEST:
        return None
    # Fading out towards the edge of the tissue, which would spread the power over frequencies.
    weight = np.clip(2 * box_mean(inside.astype(np.float32), 9) - 1, 0, 1)
    found = _Probe(part[rows], window, spectrum, passes).powers(
        np.float32(sigma) if shape is None else sigma * shape, magnitude, weight
    )
    profiles = [
        _corrected(profile, *(_bands(power, axis) for power in found))
        for axis, profile in enumerate((spectrum.rows, spectrum.columns))
    ]
    if all(profile is None for profile in profiles):
        return None
    return Spectrum(*(old if new is None else new for old, new in zip((spectrum.rows, spectrum.columns), profiles)))


def _bands(power: np.ndarray, axis: int) -> np.ndarray:
    """Sums of the power (H, W) in BANDS along an axis, (BANDS,), at the HIGH frequencies of the other."""
    along, other = (np.abs(np.fft.fftfreq(power.shape[n])) for n in (axis, 1 - axis))
    sums = np.compress(other > HIGH, power, axis=1 - axis).sum(axis=1 - axis)
    band = np.minimum((2 * BANDS * along).astype(int), BANDS - 1)
    return np.bincount(band, sums, BANDS)


def _corrected(profile: np.ndarray, residual: np.ndarray, expected: np.ndarray, noise: np.ndarray) -> np.ndarray | None:
    """The profile (BINS,) times the ratio of both sides; None if it is much the same in all bands."""
    grid, centres = np.linspace(0, 0.5, BINS), (np.arange(BANDS) + 0.5) / (2 * BANDS)
    usable = (np.interp(centres, grid, profile) > FAINT) & (expected > SURE * noise)
    if usable.sum() < 2:
        return None
    ratio = np.clip(residual[usable] / expected[usable], 1 / LARGEST, LARGEST)
    if ratio.max() < DIFFERENT * ratio.min():
        return None
    logs = np.interp(grid, centres[usable], np.log(ratio))
    # Whatever was done to k-space, it left less at higher frequencies.
    changed = np.minimum.accumulate(profile * np.exp(logs))
    return changed / changed.max()


def fullest(mask: np.ndarray, wanted: int) -> np.ndarray:
    """Indices of the `wanted` slices with most foreground, rising."""
    return np.sort(np.argsort(-mask.sum(axis=(1, 2)), kind="stable")[:wanted])


def _around(seen: np.ndarray) -> slice:
    """At most REFINE_SIDE pixels about the middle of where `seen` is true."""
    places = np.flatnonzero(seen)
    first = int(np.clip((places[0] + places[-1]) // 2 - REFINE_SIDE // 2, 0, max(len(seen) - REFINE_SIDE, 0)))
    return slice(first, min(first + REFINE_SIDE, len(seen)))


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns about the middle of the tissue that the model is asked about."""
    rows, columns = (_around(np.asarray(mask.any(axis=(0, 2 - axis)))) for axis in range(2))
    return rows, columns


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
        residual, removed = self._asked(level, magnitude)
        # The mean of z^2 is 1; the one drawn is not quite, and where the search is flat that would show in the level.
        expected = 1 - self.z * (self.z - removed)
        return to_array(residual.square())[:, 0], to_array(expected)[:, 0]

    def powers(
        self, level: np.ndarray | np.float32, magnitude: bool, weight: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same over frequency, and the power of the noise, (H, W) on the grid of `np.fft.fft2`, of pixels weighted
        by `weight` (N, H, W).
        """

        def transform(values: Tensor) -> np.ndarray:
            return np.fft.fft2(to_array(values)[:, 0] * weight)

        residual, removed = self._asked(level, magnitude)
        seen, noise = transform(residual), transform(self.z)
        powers = np.square(np.abs(seen)), (np.conj(noise) * transform(removed)).real, np.square(np.abs(noise))
        return powers[0].mean(axis=0), powers[1].mean(axis=0), powers[2].mean(axis=0)

    def _asked(self, level: np.ndarray | np.float32, magnitude: bool) -> tuple[Tensor, Tensor]:
        """The residual x - h(x) and what h removes of z, z - dh/dx z, (N, 1, H, W), in units of the noise."""
        mean, square = float(np.mean(level)), float(np.mean(np.square(level)))
        scaled = self.x / (level[self.window] if isinstance(level, np.ndarray) else level)
        u = to_tensor(scaled)[:, None]
        u = rician.stabilise(u.abs()) if magnitude else u
        power = (self.mean_square - (2 if magnitude else 1) * square) / mean**2
        sigma_data = to_tensor(np.sqrt(np.maximum(power, 0)).astype(np.float32))
        probes = torch.cat([u, u + PROBE_STEP * self.z, u - PROBE_STEP * self.z])  # in one pass, for a GPU's sake
        seen, plus, minus = self.passes.run(probes, torch.ones(len(probes)), None, sigma_data.repeat(3)).chunk(3)
        return u - seen, self.z - (plus - minus) / (2 * PROBE_STEP)
