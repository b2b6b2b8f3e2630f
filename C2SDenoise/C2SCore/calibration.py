"""What is measured of a volume before it is denoised: level, kind and spectrum of its noise.

The level is first measured without a model (noise.py), then with one. For h = E[x_0 | x_d] at the true sigma

    E |x_d - h|^2 = sigma^2 (1 - tr(Sigma dh/dx) / n)

(from |x_d - h|^2 = |n - (h - x_0)|^2 with Stein's E n.h = sigma^2 tr(Sigma dh/dx) and second-order Tweedie's E |h -
x_0|^2, the same number).
At an assumed sigma both sides are measured in the foreground; their ratio says which way to go. Fine anatomy, which
misleads every
high-pass filter upwards, is what h knows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from C2SCore import noise, rician
from C2SCore.inference import SlicePass
from C2SCore.noise import Spectrum, white_spectrum
from C2SCore.tensors import to_array, to_tensor

# Slices that are looked at. Volumes with at most so many may be 2-D multi-slice scans with a gain of their own per
# slice; then the level is one per slice.
MAX_SLICES = 48
INDEPENDENT = 0.25  # correlation of neighbouring slices' noise above which they share it
REFINE_SLICES = 4
REFINE_SIDE = 128  # pixels around the middle of the tissue
ROUNDS = 3
MODEST = 0.97  # of what the rounds end at: on simulated noise they end 1 to 4 % high
PROBE_STEP = 0.3  # of sigma: well above the rounding of bfloat16, small enough for a derivative
TRUSTED = 1.12  # first estimate over the refined one, up to which it is taken for noise alone
ENOUGH = 0.5  # of the largest slice's tissue, below which a slice does not speak for itself
TOLERANCE = 0.15  # of a slice's level: smaller deviations are anatomy and chance


@dataclass(frozen=True)
class Measured:
    """`levels` (K,) or (K, J, I) float32; `sigma` their median; `signal` the tissue median; all in the scan's unit."""

    sigma: float
    signal: float
    levels: np.ndarray
    magnitude: bool
    spectrum: Spectrum
    independent_slices: bool


def measure(volume: np.ndarray, given: np.ndarray | None, kind: str, passes: SlicePass | None) -> Measured:
    """Measure (K, J, I). `given`: a level that the caller knows; `kind`: "auto", "gaussian" or "rician"; `passes`: the
    model, if there is one.
    """
    part = volume[_chosen(len(volume))]
    mask = noise.foreground(part)
    signal = noise.signal_level(part, mask)
    spectrum, estimate, independent, relative = white_spectrum(), 0.0, True, np.ones(len(volume))
    if mask.any():
        spectrum = noise.estimate_spectrum(part, mask)
        passed = noise.HighPassed(part, mask, spectrum)
        estimate = passed.sigma(noise.thickest(mask))
        independent = passed.slice_correlation(mask) < INDEPENDENT
        if len(part) == len(volume):
            relative = _relative_levels(passed.slice_sigmas(estimate), mask)
    sigma = estimate if given is None else float(np.median(given))
    if passes is not None and (passes.denoiser.contrasts > 0 or given is not None or estimate == 0):
        passes = None
    if passes is not None:
        sigma = refine(part, mask, estimate, spectrum, False, passes)
    magnitude = kind == "rician" or (kind == "auto" and noise.is_magnitude(part, mask, sigma))
    if passes is not None and magnitude:
        sigma = refine(part, mask, sigma / MODEST, spectrum, True, passes)
    if given is not None:
        levels = np.broadcast_to(given, (len(volume),)) if given.ndim == 0 else given
    else:
        # Where fine anatomy pushed the first estimate up, it would do so differently in every slice.
        levels = sigma * (relative if estimate < TRUSTED * sigma else np.ones(len(volume)))
    return Measured(sigma, signal, np.ascontiguousarray(levels, dtype=np.float32), magnitude, spectrum, independent)


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
    part: np.ndarray, mask: np.ndarray, start: float, spectrum: Spectrum, magnitude: bool, passes: SlicePass
) -> float:
    """The level at which the model's residual has the variance that it should have; `start` if there is too little
    tissue.
    """
    order = np.argsort(-mask.sum(axis=(1, 2)), kind="stable")
    rows = np.sort(order[:REFINE_SLICES])
    window = tuple(_around(np.asarray(mask.any(axis=(0, 2 - axis)))) for axis in range(2))
    inside = to_tensor(mask[rows][:, window[0], window[1]].astype(np.float32))[:, None]
    if inside.sum() < 2000:
        return start
    x = to_tensor(part[rows][:, window[0], window[1]])[:, None]
    generator = torch.Generator().manual_seed(0)
    power = to_tensor(spectrum.power(*x.shape[-2:]))
    white = torch.randn(len(rows), *power.shape, generator=generator)
    z = torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real[:, None]
    mean_square = to_tensor(np.square(part[rows]).mean(axis=(1, 2)))
    sigma = start
    for _ in range(ROUNDS):
        ratio = _excess(x, z, inside, mean_square, sigma, magnitude, passes)
        sigma *= float(np.clip(np.sqrt(ratio), 0.5, 1.5))
        if abs(ratio - 1) < 0.02:
            break
    return MODEST * sigma


def _around(seen: np.ndarray) -> slice:
    """At most REFINE_SIDE pixels about the middle of where `seen` is true."""
    places = np.flatnonzero(seen)
    first = int(np.clip((places[0] + places[-1]) // 2 - REFINE_SIDE // 2, 0, max(len(seen) - REFINE_SIDE, 0)))
    return slice(first, min(first + REFINE_SIDE, len(seen)))


def _excess(
    x: Tensor, z: Tensor, inside: Tensor, mean_square: Tensor, sigma: float, magnitude: bool, passes: SlicePass
) -> float:
    """Measured over expected variance of the residual at an assumed sigma, in the foreground: above 1, the noise is
    stronger.
    """
    u = to_tensor(rician.stabilise(to_array(x.abs() / sigma))) if magnitude else x / sigma
    sigma_data = (mean_square / sigma**2 - (2 if magnitude else 1)).clamp(min=0).sqrt()
    level = torch.ones(len(u))
    plus = passes.run(u + PROBE_STEP * z, level, None, sigma_data)
    minus = passes.run(u - PROBE_STEP * z, level, None, sigma_data)
    total = inside.sum()
    residual = ((u - passes.run(u, level, None, sigma_data)).square() * inside).sum() / total
    divergence = (z * (plus - minus) * inside).sum() / (2 * PROBE_STEP * total)
    return float(residual / (1 - divergence).clamp(min=0.05))
