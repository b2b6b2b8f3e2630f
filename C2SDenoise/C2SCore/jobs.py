"""What the worker does for each kind of job.

Everything heavy is imported inside the jobs: the worker answers before that.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from C2SCore import events
from C2SCore.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from C2SCore.model import Model
    from C2SCore.patches import Case
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
    model = _model(job.model, _device(job.device, context))
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
    device = _device(job.device, context)
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


def inspect(job: events.InspectJob, context: Context) -> events.Done:
    """Read scan after scan and say what each is.

    A scan that cannot be used is reported with the reason, and does not stop.
    """
    for number, path in enumerate(job.paths):
        context.check()
        context.progress("Reading scans", number, len(job.paths))
        try:
            context.send(_inspected(job, number, path))
        except (OSError, RuntimeError, ValueError) as error:
            context.send(events.Inspected(job.job, path, Path(path).name, problem=str(error)))
    context.progress("Reading scans", len(job.paths), len(job.paths))
    return events.Done(job.job)


def train(job: events.TrainJob, context: Context) -> events.Done:
    """Train, with scans as memory maps: what does not fit into memory stays on the disk."""
    context.progress("Loading PyTorch")
    device = _device(job.device, context)
    from C2SCore import config, model, training

    initial = model.load(job.initial, device) if job.initial else None
    base = config.preset(job.preset) if job.preset else config.TrainConfig()
    if initial is not None:  # a model can only go on reading what it has read
        base = base.replace(neighbours=initial.denoiser.neighbours)
    recipe = config.TrainConfig.from_dict({**base.to_dict(), **job.config})
    with tempfile.TemporaryDirectory(prefix="C2S-train-") as folder:
        cases = []
        for number, facts in enumerate(job.cases):
            context.check()
            context.progress("Reading scans", number, len(job.cases))
            cases.append(_case(facts, Path(folder), number))
        path = training.train(
            cases,
            recipe,
            Path(job.out),
            resume=job.resume,
            initial=initial,
            device=device,
            emit=lambda message: context.send(dataclasses.replace(message, job=job.job)),  # type: ignore[call-arg]
            cancelled=context.cancelled,
            paused=context.paused,
            card={key: tuple(value) if isinstance(value, list) else value for key, value in job.card.items()},
        )
        cases.clear()  # lets go of the memory maps, which Windows would not delete
    return events.Done(job.job, {"model": str(path)})


def _case(facts: dict[str, Any], folder: Path, number: int) -> Case:
    """One training case.

    Scans that are not `.npy` yet are converted once, the other contrasts onto the target's grid.
    """
    import numpy as np

    from C2SCore import files, scan
    from C2SCore.patches import Case

    def mapped(voxels: np.ndarray, name: str) -> np.ndarray:
        path = folder / f"{number}-{name}.npy"
        np.save(path, voxels)
        return np.load(path, mmap_mode="r")

    target, others = str(facts["target"]), [str(path) for path in facts.get("auxiliary", ())]
    if target.endswith(".npy"):
        arrays = [np.load(path, mmap_mode="r", allow_pickle=False) for path in (target, *others)]
    else:
        first = files.read(target)[0]
        arrays = [mapped(first.voxels, "target")]
        for n, path in enumerate(others):
            other = files.read(path)[0]
            if not scan.same_grid(other, first):
                other = scan.resample_to(other, first)
            arrays.append(mapped(other.voxels, f"auxiliary{n}"))
    name = str(facts.get("name") or Path(target).stem)
    return Case(name, arrays[0], arrays[1:], facts.get("sigma"), target, facts.get("group"))


def _inspected(job: events.InspectJob, number: int, path: str) -> events.Inspected:
    from C2SCore import files, noise, scan

    frames = files.read(Path(path))
    first = frames[0]
    scan.check(first)
    mask = noise.foreground(first.voxels)
    sigma, signal = noise.estimate_sigma(first.voxels, mask), noise.signal_level(first.voxels, mask)
    thumbnail = ""
    if job.thumbnails:
        thumbnail = str(Path(job.thumbnails) / f"{number}.png")
        _write_thumbnail(first.voxels, Path(thumbnail))
    snr = signal / sigma if sigma > 0 else None
    return events.Inspected(job.job, path, first.name, first.voxels.shape, len(frames), sigma, snr, thumbnail)


def _write_thumbnail(voxels: np.ndarray, path: Path, size: int = 64) -> None:
    """The middle slice (J, I) as a grey PNG, its longer side `size` pixels."""
    import numpy as np
    import SimpleITK as sitk

    middle = voxels[voxels.shape[0] // 2]
    step = max(1, max(middle.shape) // size)
    small = middle[::step, ::step]
    low, high = np.quantile(small, (0.01, 0.99))
    grey = np.clip((small - low) / max(high - low, 1e-30) * 255, 0, 255).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(path))


def _device(name: str, context: Context) -> str:
    """The device to use; the threads are set once, leaving one core to Slicer's own window."""
    import torch

    from C2SCore.device import choose_device

    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores - 1))
    context.device = str(choose_device(name))
    return context.device


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
    events.InspectJob: inspect,
    events.TrainJob: train,
}
