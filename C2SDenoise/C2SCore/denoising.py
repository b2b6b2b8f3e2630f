"""A noisy volume in, a result out: denoised, uncertainty, numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from C2SCore import rician
from C2SCore.background import centre_background, tissue_window
from C2SCore.calibration import measure
from C2SCore.device import choose_device
from C2SCore.errors import Cancelled, UserError
from C2SCore.inference import SlicePass
from C2SCore.masked import cut_away, filled, is_masked
from C2SCore.model import Model
from C2SCore.modellevels import bundled
from C2SCore.noise import Spectrum
from C2SCore.noisemap import span
from C2SCore.tensors import to_array, to_tensor
from C2SCore.zeropoint import lifted, lowered, zero_point

CLEAN = 0.002  # sigma / signal below which a volume is returned as it is
LIKELY = (0.75, 1.18)  # a level that was given over the one that is measured, beyond which one of them must be wrong
CLEAR_SNR = 20.0  # up to which a level that seems too low is said
PROBES = 4  # pairs of passes for the uncertainty
PROBE_STEP = 0.1  # of sigma


@dataclass(frozen=True)
class Options:
    """What the caller wants.

    sigma: "auto", a number, one per slice (K,), or a map (K, J, I), in the scan's unit. noise: "auto", "gaussian" or
    "rician". sigma_limit: what is known to be too much, for "auto".
    detail: 0 (all noise removed) to 1 (the source); in between the straight line of `gdsm.detail`, detail =
    sigma_target^2 / sigma_d^2.
    """

    sigma: str | float | np.ndarray = "auto"
    sigma_limit: float = math.inf
    noise: str = "auto"
    detail: float = 0.0
    device: str = "auto"
    uncertainty: bool = False


@dataclass(frozen=True)
class Result:
    """Volumes are (K, J, I) float32 in the scan's unit; `denoised` has the detail asked for, `estimate` none."""

    denoised: np.ndarray
    estimate: np.ndarray
    uncertainty: np.ndarray | None  # standard deviation of the estimate, from second-order Tweedie
    sigma: float  # median over slices or map
    levels: np.ndarray  # sigma of every slice (K,) or voxel (K, J, I)
    noise: str  # "gaussian", "rician", or "clean": returned as it is
    numbers: dict[str, Any]
    warnings: list[str]
    device: str
    seconds: float


@dataclass
class _Job:
    """One volume on its way; levels (K,) or (K, J, I)."""

    voxels: np.ndarray
    auxiliary: list[np.ndarray]
    levels: np.ndarray
    magnitude: bool
    neighbours: int
    use_neighbours: bool
    spectrum: Spectrum
    passes: SlicePass
    warnings: list[str] = field(default_factory=list)


def denoise(
    voxels: np.ndarray,
    model: Model,
    options: Options | None = None,
    auxiliary: Sequence[np.ndarray] = (),
    progress: Callable[[str, int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Result:
    """Denoise one volume (K, J, I); `auxiliary`: the contrasts on the model's card, same shape, in its order.

    The input is never changed. Raises `UserError` for input that cannot work, `Cancelled` when `cancelled()` turns
    true.
    """
    start = time.monotonic()
    options = options or Options()
    progress = progress or (lambda stage, done, total: None)
    cancelled = cancelled or (lambda: False)
    voxels = check_volume(voxels, "The volume")
    others = [check_volume(a, "A contrast") for a in auxiliary]
    _check(voxels, others, model, options)
    if zero := zero_point(voxels):
        done = denoise(lifted(voxels, zero), model, options, others, progress, cancelled)
        denoised, estimate = (lowered(v, zero, voxels) for v in (done.denoised, done.estimate))
        return replace(done, denoised=denoised, estimate=estimate)
    device = choose_device(options.device)
    progress("measure", 0, 1)
    warnings: list[str] = []
    passes = SlicePass(model.denoiser, device, say=warnings.append)
    given = None if isinstance(options.sigma, str) else np.asarray(options.sigma, dtype=np.float32)
    observer = passes if not model.denoiser.contrasts else bundled(device)
    found = measure(voxels, given, options.noise, observer)
    if given is None and found.sigma > options.sigma_limit:
        warnings.append(f"Repeated frames show that the noise is at most {options.sigma_limit:.3g}: that is taken.")
        found = found.lowered(options.sigma_limit)
    progress("measure", 1, 1)
    numbers: dict[str, Any] = {
        "sigma": found.sigma,
        "signal": found.signal,
        "snr": found.signal / found.sigma if found.sigma > 0 else None,
        "sigma_given": given is not None,
        "band_limited": not found.spectrum.white,
        "slices": len(voxels),
    }
    if found.sigma <= CLEAN * found.signal:
        warnings.append("The volume shows no noise to speak of: it is returned as it is.")
        zeros = np.zeros_like(voxels) if options.uncertainty else None
        return Result(
            voxels.copy(),
            voxels.copy(),
            zeros,
            found.sigma,
            found.levels,
            "clean",
            numbers,
            warnings,
            device.type,
            time.monotonic() - start,
        )
    low, high = model.card.sigma_range
    ratio = found.sigma / max(found.signal, 1e-30)
    if high > 0 and not 0.5 * low <= ratio <= 1.2 * high:
        warnings.append(
            f"The noise is {ratio:.1%} of the signal; this model learnt {low:.1%} to {high:.1%}. "
            "Check the result, or train on this scan."
        )
    if given is not None and given.ndim == 0:
        numbers["sigma_measured"] = seen = measure(voxels, None, options.noise, observer).sigma
        # A model that learnt little misleads the one, fine anatomy the other; and where there is little noise, the
        # finest anatomy passes for some.
        lowest, highest = sorted((seen, found.filtered))
        danger = ""
        if lowest > 0 and found.sigma > LIKELY[1] * highest:
            danger = "fine detail may be lost"
        elif found.sigma < LIKELY[0] * lowest and found.signal < CLEAR_SNR * seen:
            danger = "noise may be left"
        if danger:
            warnings.append(
                f"The noise level was set to {found.sigma:.3g}, but the volume itself shows about {seen:.3g}: {danger}."
            )
    if given is None and found.levels.ndim == 3:
        numbers["sigma_span"] = times = span(found.levels[len(voxels) // 2])
        warnings.append(
            f"The noise is up to {times:.1f} times stronger in some places than in others: measured as a map."
        )
    if model.card.neighbours and not found.independent_slices:
        warnings.append("Neighbouring slices share their noise (interpolated?), so each slice is denoised by itself.")
    job = _Job(
        voxels,
        [a / (float(np.sqrt(np.mean(np.square(a, dtype=np.float64)))) or 1.0) for a in others],
        found.levels,
        found.magnitude,
        model.denoiser.neighbours,
        found.independent_slices,
        found.spectrum,
        passes,
    )
    estimate = np.empty_like(voxels)
    uncertainty = np.empty_like(voxels) if options.uncertainty else None
    count, step = len(voxels), min(passes.slices_per_pass(*voxels.shape[1:]), 64)
    for first in range(0, count, step):
        if cancelled():
            raise Cancelled
        rows = slice(first, min(first + step, count))
        estimate[rows] = _denoise_slices(job, rows)
        progress("denoise", rows.stop, count)
    if not found.magnitude:
        centre_background(voxels, estimate, found.levels)
    if uncertainty is not None:
        generator = torch.Generator().manual_seed(0)
        for first in range(0, count, step):
            if cancelled():
                raise Cancelled
            rows = slice(first, min(first + step, count))
            uncertainty[rows] = _uncertainty_of_slices(job, rows, estimate[rows], generator)
            progress("uncertainty", rows.stop, count)
    masked = is_masked(voxels)
    for k in range(count):
        zero = voxels[k] == 0 if masked else cut_away(voxels[k : k + 1])[0]
        for volume in (v for v in (estimate, uncertainty) if v is not None):
            volume[k][zero] = 0
    denoised = estimate if options.detail == 0 else with_detail(voxels, estimate, options.detail)
    noise = "rician" if found.magnitude else "gaussian"
    seconds = time.monotonic() - start
    numbers["seconds"] = seconds
    return Result(
        denoised,
        estimate,
        uncertainty,
        found.sigma,
        found.levels,
        noise,
        numbers,
        warnings,
        passes.device.type,
        seconds,
    )


def with_detail(source: np.ndarray, estimate: np.ndarray, detail: float) -> np.ndarray:
    """estimate + detail (source - estimate): the detail line, detail = sigma_target^2 / sigma_d^2 from 0 to 1."""
    return estimate + np.float32(detail) * (source - estimate)


def check_volume(array: np.ndarray, what: str) -> np.ndarray:
    """A float32 (K, J, I) array without copying one; raises `UserError` for anything else than real numbers."""
    array = np.asarray(array)
    if array.ndim != 3 or array.size == 0:
        raise UserError(
            f"{what} has shape {array.shape}; it must have slices, rows and columns. Give a 3-D "
            "volume, or a 4-D one frame by frame."
        )
    if array.dtype.kind not in "fiu":
        raise UserError(f"{what} has voxels of type {array.dtype}; they must be real numbers. Convert it.")
    array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array.min() + array.max()):
        raise UserError(
            f"{what} has NaN or infinite voxels; every voxel must be a number. Replace them, for instance by 0."
        )
    return array


def _check(voxels: np.ndarray, others: list[np.ndarray], model: Model, options: Options) -> None:
    if voxels.min() == voxels.max():
        raise UserError(
            f"Every voxel of the volume is {voxels.min():g}; there is nothing to denoise. Choose another volume."
        )
    needed = model.denoiser.contrasts
    if len(others) != needed:
        names = ", ".join(model.card.auxiliary) or "none"
        raise UserError(
            f"The model {model.card.name!r} reads {needed} other contrasts ({names}), {len(others)} "
            "are given. Give these, or choose another model."
        )
    for other in others:
        if other.shape != voxels.shape:
            raise UserError(
                f"A contrast has shape {other.shape}, the volume {voxels.shape}; they must be on one grid. Resample it."
            )
    if not 0 <= options.detail <= 1:
        raise UserError(
            f"detail is {options.detail}; it must be from 0 (all noise removed) to 1 (the source). Change it."
        )
    if options.noise not in ("auto", "gaussian", "rician"):
        raise UserError(f"noise is {options.noise!r}; it must be 'auto', 'gaussian' or 'rician'. Change it.")
    if options.noise == "rician" and voxels.min() < 0:
        raise UserError(
            "The volume has negative voxels; a magnitude image with Rician noise has none. Choose "
            "noise 'gaussian' or 'auto'."
        )
    if isinstance(options.sigma, str):
        if options.sigma != "auto":
            raise UserError(f"sigma is {options.sigma!r}; it must be 'auto', a number or a map. Change it.")
        return
    sigma = np.asarray(options.sigma, dtype=np.float64)
    if sigma.shape not in ((), voxels.shape[:1], voxels.shape):
        raise UserError(
            f"The noise map has shape {sigma.shape}, the volume {voxels.shape}; they must agree. Resample the map."
        )
    if not np.isfinite(sigma).all() or (sigma < 0).any() or (sigma.ndim > 0 and (sigma == 0).any()):
        raise UserError(
            f"sigma has the value {np.min(sigma):g}; a noise level must be a number above 0, in the "
            "scan's unit. Change it."
        )


def _planes(job: _Job, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For slices `rows`: the stack (N, C, J, I) that the network reads, levels (N,) or (N, J, I), sigma_data (N,)."""
    first, last = max(rows.start - 1, 0), min(rows.stop + 1, len(job.voxels))
    levels = job.levels[first:last]
    block = filled(job.voxels[first:last], levels, first)
    if job.magnitude:
        wide = levels if levels.ndim == 3 else levels[:, None, None]
        block = rician.stabilise(np.abs(block) / wide).astype(np.float32)
    own = slice(rows.start - first, rows.stop - first)
    stack = np.zeros(
        (own.stop - own.start, 1 + 2 * job.neighbours + len(job.auxiliary), *block.shape[1:]), dtype=np.float32
    )
    stack[:, 0] = block[own]
    for n in range(len(stack)):
        for channel, k in (
            ((1, own.start + n - 1), (2, own.start + n + 1)) if job.neighbours and job.use_neighbours else ()
        ):
            if 0 <= k < len(block):
                stack[n, channel] = block[k]
        for a, other in enumerate(job.auxiliary):
            stack[n, 1 + 2 * job.neighbours + a] = other[rows.start + n]
    source, level = job.voxels[rows], levels[own]
    power = np.square(source).mean(axis=(1, 2))
    noise = np.square(level) if level.ndim == 1 else np.square(level).mean(axis=(1, 2))
    sigma_data = np.sqrt(np.maximum(power - (2 if job.magnitude else 1) * noise, 0))
    if job.magnitude:
        return stack, np.ones(len(stack), dtype=np.float32), sigma_data / np.sqrt(noise)
    return stack, level, sigma_data


def _tensors(job: _Job, rows: slice) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    stack, level, sigma_data = _planes(job, rows)
    x = to_tensor(stack)
    sigma = to_tensor(level if level.ndim == 1 else level[:, None])
    return x[:, :1], sigma, x[:, 1:] if x.shape[1] > 1 else None, to_tensor(sigma_data)


def _denoise_slices(job: _Job, rows: slice) -> np.ndarray:
    # Empty space is flat: it gains nothing by being seen twice.
    window = tissue_window(job.voxels[rows])
    estimate = to_array(job.passes.run_turned(*_tensors(job, rows), window))[:, 0]
    return _back(job, rows, estimate)


def _back(job: _Job, rows: slice, values: np.ndarray) -> np.ndarray:
    """From the network's domain to the scan's unit."""
    if not job.magnitude:
        return values
    return (rician.restore(values) * _wide(job.levels[rows])).astype(np.float32)


def _wide(levels: np.ndarray) -> np.ndarray:
    return levels if levels.ndim == 3 else levels[:, None, None]


def _uncertainty_of_slices(job: _Job, rows: slice, estimate: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Standard deviation of x_0 given x_d, (N, J, I), in the scan's unit.

    Second-order Tweedie: Cov[x_0 | x_d] = sigma_d^2 Sigma dh/dx; the diagonal of (dh/dx) Sigma is the mean of z (dh/dx
    z) over z ~ N(0, Sigma),
    here over PROBES antithetic finite differences and a neighbourhood of 5 x 5 pixels.
    """
    x, sigma, aux, sigma_data = _tensors(job, rows)
    level = sigma.reshape(-1, 1, 1, 1) if sigma.dim() == 1 else sigma
    power = to_tensor(job.spectrum.power(*x.shape[-2:])).expand(len(x), -1, -1)
    total = torch.zeros_like(x)
    full = SlicePass(job.passes.denoiser, job.passes.device, job.passes.say, job.passes.pixels, "float32")
    for _ in range(PROBES):
        white = torch.randn(power.shape, generator=generator)
        z = torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real[:, None]
        step = PROBE_STEP * level * z
        difference = full.run(x + step, sigma, aux, sigma_data) - full.run(x - step, sigma, aux, sigma_data)
        total += z * difference / (2 * PROBE_STEP * level)
    mean = torch.nn.functional.avg_pool2d(total / PROBES, 5, stride=1, padding=2, count_include_pad=False)
    deviation = to_array((mean.clamp(min=0, max=1).sqrt() * level)[:, 0])
    if job.magnitude:
        # The slope of the inverse carries a deviation from the stabilised domain to the scan's.
        wide = _wide(job.levels[rows])
        deviation = (deviation * rician.invert_slope(rician.expected(estimate / wide)) * wide).astype(np.float32)
    return deviation
