"""What the worker does for each kind of job.

Everything heavy is imported inside the jobs: the worker answers before that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from C2SCore import events, trainjobs
from C2SCore.errors import UserError
from C2SCore.jobtools import use_device
from C2SCore.writing import atomic

if TYPE_CHECKING:
    import numpy as np

    from C2SCore.model import Model
    from C2SCore.worker import Context, Handler


def denoise(job: events.DenoiseJob, context: Context) -> events.Done:
    """Denoise one volume, and measure what was removed."""
    context.progress("Reading the volume")
    source = _load(job.source, job.slices)
    if job.series and source.min() == source.max():
        return _untouched(job, source)
    auxiliary = [_load(path, job.slices) for path in job.auxiliary]
    sigma: Any = _load(job.sigma, job.slices) if isinstance(job.sigma, str) and job.sigma != "auto" else job.sigma
    context.check()
    context.progress("Loading the model")
    device = use_device(job.device, context)
    from C2SCore import denoising, noise, quality
    from C2SCore.modelcache import load_kept

    model = load_kept(job.model, device)
    context.check()

    options = denoising.Options(
        sigma=sigma,
        sigma_limit=noise.frame_limit(source, [_load(path, job.slices) for path in job.beside]),
        noise=job.noise,
        device=context.device,
        uncertainty=bool(job.uncertainty),
        isotropic=job.isotropic,
    )
    with _obeying(model, context), _obeying(load_kept("default", device), context):  # the latter measures
        result = denoising.denoise(source, model, options, auxiliary, context.progress, context.cancelled)
    context.progress("Measuring what was removed")
    numbers = dict(result.numbers, noise=result.noise, seconds=result.seconds, device=result.device)
    level = result.levels if result.levels.ndim == 3 else result.sigma
    numbers.update(quality.residual_checks(source, result.estimate, level, job.detail))
    context.check()
    paths = {"output": job.output}
    _save(job.output, result.estimate, job.slices)
    if job.uncertainty and result.uncertainty is not None:
        _save(job.uncertainty, result.uncertainty, job.slices)
        paths["uncertainty"] = job.uncertainty
    if job.levels and result.levels.ndim == 3:
        _save(job.levels, result.levels, job.slices)
        paths["levels"] = job.levels
    return events.Done(job.job, paths, numbers, tuple(result.warnings))


def _untouched(job: events.DenoiseJob, source: np.ndarray) -> events.Done:
    """A constant frame, as where an acquisition broke off."""
    from C2SCore import quality

    _save(job.output, source, job.slices)
    paths = {"output": job.output}
    if job.uncertainty:
        _save(job.uncertainty, 0 * source, job.slices)
        paths["uncertainty"] = job.uncertainty
    warning = "A frame of the series is constant: it is returned as it is."
    return events.Done(job.job, paths, quality.nothing_removed(source), (warning,))


def measure_noise(job: events.NoiseJob, context: Context) -> events.Done:
    """Noise, signal and their ratio, as denoising with the default model would find them.

    Without PyTorch, or without a default model, from the volume alone: `refined` says which.
    """
    context.progress("Measuring the noise")
    from C2SCore.scan import check_voxels

    volume = _load(job.source, job.slices)
    check_voxels(volume, "The volume")
    try:
        device = use_device("auto", context)
        from C2SCore.modelcache import load_kept

        model = load_kept("default", device)
    except (ModuleNotFoundError, UserError):
        from C2SCore import noise
        from C2SCore.tissue import foreground, signal_level

        mask = foreground(volume)
        return _noise_found(job, noise.estimate_sigma(volume, mask), signal_level(volume, mask), False)
    from C2SCore import calibration
    from C2SCore.device import choose_device
    from C2SCore.inference import SlicePass

    with _obeying(model, context):
        found = calibration.measure(volume, None, "auto", SlicePass(model.denoiser, choose_device(context.device)))
    return _noise_found(job, found.sigma, found.signal, True)


def _noise_found(job: events.NoiseJob, sigma: float, signal: float, refined: bool) -> events.Done:
    snr = signal / sigma if sigma > 0 else None
    return events.Done(job.job, numbers={"sigma": sigma, "signal": signal, "snr": snr, "refined": refined})


def measure_evidence(job: events.EvidenceJob, context: Context) -> events.Done:
    """What a result is worth, by itself and against a reference."""
    context.progress("Measuring what was removed")
    from C2SCore import quality
    from C2SCore.tissue import foreground

    source, denoised = _load(job.source, job.slices), _load(job.denoised, job.slices)
    sigma: Any = _load(job.sigma, job.slices) if isinstance(job.sigma, str) else job.sigma
    kept = min(max(job.detail, 0.0), 1.0)
    # The checks are of the estimate without any detail: it is found again on the line, of which the source is one end.
    estimate = source + (denoised - source) / (1 - kept) if kept < 1 else denoised
    numbers = dict(quality.residual_checks(source, estimate, sigma, kept))
    context.check()
    if job.reference:
        context.progress("Comparing with the reference")
        reference = _load(job.reference, job.slices)
        mask = foreground(reference)
        for name, image in (("before", source), ("after", denoised)):
            numbers["psnr_" + name] = quality.psnr(reference, image, mask)
            numbers["ssim_" + name] = quality.ssim(reference, image, mask)
    return events.Done(job.job, numbers=numbers)


def check(job: events.CheckJob, context: Context) -> events.Done:
    """Device and versions; after this, torch is loaded."""
    context.progress("Loading PyTorch")
    device = use_device(job.device, context)
    import numpy
    import torch

    numbers = {
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
    if device.startswith("cuda"):
        numbers["name"] = torch.cuda.get_device_name(device)
    return events.Done(job.job, numbers=numbers)


@contextlib.contextmanager
def _obeying(model: Model, context: Context) -> Iterator[None]:
    """Meanwhile every pass through the network first asks whether the job was given up: raises `Cancelled` if so."""
    hook = model.denoiser.register_forward_pre_hook(lambda module, inputs: context.check())
    try:
        yield
    finally:
        hook.remove()


def _load(path: str | Path, slices: int) -> np.ndarray:
    """A `.npy` volume as float32, its slices first."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); it must be a .npy array. Apply again.") from error
    if array.ndim != 3:
        raise UserError(f"{path} has the shape {array.shape}; a volume (K, J, I) is needed. Apply again.")
    return np.ascontiguousarray(np.moveaxis(array, slices, 0), dtype=np.float32)


def _save(path: str, array: np.ndarray, slices: int) -> None:
    """The inverse of `_load`; a file is written whole or not at all."""
    import numpy as np

    with atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(np.moveaxis(array, 0, slices)))


HANDLERS: dict[type, Handler] = {
    events.DenoiseJob: denoise,
    events.NoiseJob: measure_noise,
    events.EvidenceJob: measure_evidence,
    events.CheckJob: check,
    **trainjobs.HANDLERS,
}
