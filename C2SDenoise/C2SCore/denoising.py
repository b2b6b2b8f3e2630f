"""A noisy volume in, a result out: denoised, uncertainty, numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from C2SCore.background import centre_background
from C2SCore.calibration import Measured, measure
from C2SCore.device import choose_device
from C2SCore.errors import UserError
from C2SCore.inference import SlicePass
from C2SCore.masked import cut_away, is_masked
from C2SCore.model import Model
from C2SCore.modellevels import bundled
from C2SCore.noisemap import span
from C2SCore.scan import LARGEST, check_voxels
from C2SCore.volumepass import Progress, VolumePass
from C2SCore.zeropoint import lifted, lowered, zero_point

CLEAN = 0.002  # sigma / signal below which a volume is returned as it is
LIKELY = (0.75, 1.18)  # a level that was given over the one that is measured, beyond which one of them must be wrong
SET = "was set to"
NO_NOISE = "The volume shows no noise to speak of: it is returned as it is."
NO_LEVEL = "At this noise level there is nothing to remove: the volume is returned as it is."
CLEAR_SNR = 20.0  # up to which a level that seems too low is said


@dataclass(frozen=True)
class Options:
    """What the caller wants.

    Parameters
    ----------
    sigma : "auto", a number, one per slice (K,), or a map (K, J, I), in the scan's unit.
    sigma_limit : the most that it can be, for "auto" (see `noise.frame_limit`).
    noise : "auto", "gaussian" or "rician".
    detail : 0 (all noise removed) to 1 (the source); in between the straight line of `with_detail`.
    device : see `choose_device`.
    uncertainty : whether the expected error of every voxel is worked out as well.
    isotropic : whether voxels are as thick as wide, so that slices along every axis show anatomy.
    """

    sigma: str | float | np.ndarray = "auto"
    sigma_limit: float = math.inf
    noise: str = "auto"
    detail: float = 0.0
    device: str = "auto"
    uncertainty: bool = False
    isotropic: bool = False


@dataclass(frozen=True)
class Result:
    """Volumes are (K, J, I) float32 in the scan's unit; `denoised` has the detail asked for, `estimate` none."""

    denoised: np.ndarray
    estimate: np.ndarray
    uncertainty: np.ndarray | None  # standard deviation of x_0 given x_d: second-order Tweedie
    sigma: float  # median over slices or map
    levels: np.ndarray  # sigma of every slice (K,) or voxel (K, J, I)
    noise: str  # "gaussian", "rician", or "clean": returned as it is
    numbers: dict[str, Any]
    warnings: list[str]
    device: str
    seconds: float


def denoise(
    voxels: np.ndarray,
    model: Model,
    options: Options | None = None,
    auxiliary: Sequence[np.ndarray] = (),
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Result:
    """Denoise one volume (K, J, I); `auxiliary`: the contrasts on the model's card, same shape, in its order.

    The input is never changed. Raises `UserError` for input that cannot work, `Cancelled` when `cancelled()` turns
    true.
    """
    options = options or Options()
    progress = progress or (lambda stage, done, total: None)
    cancelled = cancelled or (lambda: False)
    voxels = check_volume(voxels, "The volume")
    others = [check_volume(a, "A contrast") for a in auxiliary]
    check(voxels, others, model, options)
    # A magnitude has its zero where it belongs, whatever its empty space looks like.
    if options.noise != "rician" and (zero := zero_point(voxels)):
        done = _denoise(lifted(voxels, zero), model, options, others, progress, cancelled)
        denoised, estimate = (lowered(v, zero, voxels) for v in (done.denoised, done.estimate))
        return replace(done, denoised=denoised, estimate=estimate)
    return _denoise(voxels, model, options, others, progress, cancelled)


def _denoise(
    voxels: np.ndarray,
    model: Model,
    options: Options,
    others: Sequence[np.ndarray],
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Result:
    """`denoise` for what was checked, and has its empty space at 0."""
    start = time.monotonic()
    warnings: list[str] = []
    passes = SlicePass(model.denoiser, choose_device(options.device), say=warnings.append)
    progress("measure", 0, 1)
    found, numbers = _look(voxels, model, options, passes, warnings)
    progress("measure", 1, 1)
    noise = "rician" if found.magnitude else "gaussian"
    uncertainty = None
    if found.sigma <= CLEAN * found.signal:
        # That it is out of the range that was learnt needs no saying; that a level that was given is wrong, it does.
        warnings[:] = [text for text in warnings if SET in text]
        warnings.append(NO_LEVEL if numbers["sigma_given"] else NO_NOISE)
        noise, estimate = "clean", voxels.copy()
        if options.uncertainty:
            uncertainty = np.zeros_like(voxels)
    else:
        work = VolumePass(voxels, others, found, passes)
        estimate = (work.estimate_along_each if options.isotropic else work.estimate)(progress, cancelled)
        if not np.isfinite(estimate.sum()):
            raise UserError(
                f"The model {model.card.name!r} makes NaN or infinite voxels of this scan; every voxel must be a "
                "number. Choose another model, or train it again."
            )
        if not found.magnitude:
            centre_background(voxels, estimate, found.levels)
        if options.uncertainty:
            uncertainty = work.uncertainty(estimate, progress, cancelled)
        _cut_again(voxels, estimate, uncertainty)
    denoised = estimate if options.detail == 0 else with_detail(voxels, estimate, options.detail)
    numbers["seconds"] = seconds = time.monotonic() - start
    device = passes.device.type
    return Result(denoised, estimate, uncertainty, found.sigma, found.levels, noise, numbers, warnings, device, seconds)


def _look(
    voxels: np.ndarray, model: Model, options: Options, passes: SlicePass, warnings: list[str]
) -> tuple[Measured, dict[str, Any]]:
    """What is measured of the volume; what there is to say of it goes into `warnings`."""
    given = None if isinstance(options.sigma, str) else np.asarray(options.sigma, dtype=np.float32)
    # Not the model that was chosen: it may have learnt little, and its training was told what the bundled one sees.
    observer = bundled(passes.device)
    found = measure(voxels, given, options.noise, observer)
    bounded = given is None and found.sigma > options.sigma_limit
    if bounded:
        found = found.lowered(options.sigma_limit)
    numbers: dict[str, Any] = {
        "sigma": found.sigma,
        "signal": found.signal,
        "snr": found.signal / found.sigma if found.sigma > 0 else None,
        "sigma_given": given is not None,
        "sigma_bounded": bounded,  # by the frames before and after
        "band_limited": not found.spectrum.white,
        "slices": len(voxels),
        "axes": 3 if options.isotropic else 1,  # along which slices were taken
    }
    low, high = model.card.sigma_range
    ratio = found.sigma / max(found.signal, 1e-30)
    if model.card.unlike(ratio):
        share = f"{ratio:.1%} of the signal" if ratio < 10 else "far stronger than the signal"
        warnings.append(
            f"The noise is {share}; this model learnt {low:.1%} to {high:.1%}. Check the result, or train on this scan."
        )
    if given is not None and given.ndim == 0:
        numbers["sigma_measured"] = seen = measure(voxels, None, options.noise, observer).sigma
        if danger := _danger(found, seen):
            warnings.append(
                f"The noise level {SET} {found.sigma:.3g}, but the volume itself shows about {seen:.3g}: {danger}."
            )
    if given is None and found.levels.ndim == 3:
        numbers["sigma_span"] = times = span(found.levels[len(voxels) // 2])
        warnings.append(
            f"The noise is up to {times:.1f} times stronger in some places than in others: measured as a map."
        )
    if found.empty:
        warnings.append(
            f"The empty space shows noise of {found.empty:.3g}, the tissue only {found.sigma:.3g}: it seems to have "
            "been filtered. Give a level between the two if too much noise is left."
        )
    if model.card.neighbours and not found.independent_slices:
        warnings.append(
            "Neighbouring slices share their noise (interpolated?), so each slice is denoised without them."
        )
    return found, numbers


def _danger(found: Measured, seen: float) -> str:
    """What a level that was given puts at risk, where the volume itself shows `seen`; "" for nothing."""
    # A model that learnt little misleads the one measure, fine anatomy the other; and where there is little noise, the
    # finest anatomy passes for some.
    lowest, highest = sorted((seen, found.filtered))
    if lowest > 0 and found.sigma > LIKELY[1] * highest:
        return "fine detail may be lost"
    if found.sigma < LIKELY[0] * lowest and found.signal < CLEAR_SNR * seen:
        return "noise may be left"
    return ""


def _cut_again(voxels: np.ndarray, estimate: np.ndarray, uncertainty: np.ndarray | None) -> None:
    """What was cut away from `voxels` is 0 again, in place."""
    masked = is_masked(voxels)
    for k in range(len(voxels)):
        zero = voxels[k] == 0 if masked else cut_away(voxels[k : k + 1])[0]
        for volume in (v for v in (estimate, uncertainty) if v is not None):
            volume[k][zero] = 0


def with_detail(source: np.ndarray, estimate: np.ndarray, detail: float) -> np.ndarray:
    """E[x_target | x_d] = x_d + (1 - sigma_target^2 / sigma_d^2) (E[x_0 | x_d] - x_d), from Tweedie at both levels: the
    detail line, detail = sigma_target^2 / sigma_d^2 from 0 to 1.
    """
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
    check_voxels(array, what)
    return array


def check(voxels: np.ndarray, others: Sequence[np.ndarray], model: Model, options: Options) -> None:
    """Raises `UserError` where a volume that is one (`check_volume`) cannot be denoised with these."""
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
    if sigma.max() > LARGEST:
        raise UserError(f"sigma has the value {sigma.max():g}; a noise level must be at most {LARGEST:g}. Change it.")
