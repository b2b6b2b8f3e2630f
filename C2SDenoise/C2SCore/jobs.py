"""What the worker does for each kind of job.

Everything heavy is imported inside the jobs: the worker answers before that.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from C2SCore import events, trainjobs
from C2SCore.errors import UserError
from C2SCore.jobtools import use_device

if TYPE_CHECKING:
    import numpy as np

    from C2SCore.model import Model
    from C2SCore.worker import Context, Handler


@dataclass
class _Cache:
    """The model of the last job, kept for the next: loading it costs more than denoising a slice."""

    key: tuple[Any, ...] = ()
    model: Model | None = None


_cache = _Cache()


def denoise(job: events.DenoiseJob, context: Context) -> events.Done:
    """Denoise one volume, and measure what was removed."""
    context.progress("Reading the volume")
    source = _load(job.source)
    auxiliary = [_load(path) for path in job.auxiliary]
    sigma: Any = _load(job.sigma) if isinstance(job.sigma, str) and job.sigma != "auto" else job.sigma
    context.check()
    context.progress("Loading the model")
    model = _model(job.model, use_device(job.device, context))
    context.check()

    import numpy as np

    from C2SCore import denoising, quality

    options = denoising.Options(sigma=sigma, noise=job.noise, device=context.device, uncertainty=bool(job.uncertainty))
    result = denoising.denoise(source, model, options, auxiliary, context.progress, context.cancelled)
    context.progress("Measuring what was removed")
    numbers = dict(result.numbers, noise=result.noise, seconds=result.seconds, device=result.device)
    numbers.update(
        quality.residual_checks(source, result.estimate, sigma if isinstance(sigma, np.ndarray) else result.sigma)
    )
    context.check()
    paths = {"output": job.output}
    _save(job.output, result.estimate)
    if job.uncertainty and result.uncertainty is not None:
        _save(job.uncertainty, result.uncertainty)
        paths["uncertainty"] = job.uncertainty
    return events.Done(job.job, paths, numbers, tuple(result.warnings))


def measure_noise(job: events.NoiseJob, context: Context) -> events.Done:
    """Noise, signal and their ratio, as denoising would estimate them."""
    context.progress("Measuring the noise")
    from C2SCore import noise

    volume = _load(job.source)
    mask = noise.foreground(volume)
    sigma, signal = noise.estimate_sigma(volume, mask), noise.signal_level(volume, mask)
    return events.Done(
        job.job, numbers={"sigma": sigma, "signal": signal, "snr": signal / sigma if sigma > 0 else None}
    )


def measure_evidence(job: events.EvidenceJob, context: Context) -> events.Done:
    """What a result is worth, by itself and against a reference."""
    context.progress("Measuring what was removed")
    from C2SCore import noise, quality

    source, denoised = _load(job.source), _load(job.denoised)
    numbers = dict(quality.residual_checks(source, denoised, job.sigma))
    context.check()
    if job.reference:
        context.progress("Comparing with the reference")
        reference = _load(job.reference)
        mask = noise.foreground(reference)
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
        numbers["name"] = torch.cuda.get_device_name(0)
    return events.Done(job.job, numbers=numbers)


def _model(name: str, device: str) -> Model:
    """The model, from the cache while its file is the same."""
    from C2SCore import model
    from C2SCore.card import find_model

    path = Path(find_model(name)).resolve()
    state = path.stat()
    key = (path, state.st_mtime_ns, state.st_size, device)
    if _cache.key != key or _cache.model is None:
        _cache.key, _cache.model = (), None  # the old one goes before the new one comes
        _cache.model = model.load(path, device)
        _cache.key = key
    return _cache.model


def _load(path: str | Path) -> np.ndarray:
    """A `.npy` volume (K, J, I) as float32."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); it must be a .npy array. Apply again.") from error
    if array.ndim != 3:
        raise UserError(f"{path} has the shape {array.shape}; a volume (K, J, I) is needed. Apply again.")
    return array.astype(np.float32, copy=False)


def _save(path: str, array: np.ndarray) -> None:
    """Write a `.npy` file whole or not at all."""
    import numpy as np

    target = Path(path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, array)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


HANDLERS: dict[type, Handler] = {
    events.DenoiseJob: denoise,
    events.NoiseJob: measure_noise,
    events.EvidenceJob: measure_evidence,
    events.CheckJob: check,
    **trainjobs.HANDLERS,
}
