"""One scan from file to file: read, bring the other inputs onto its grid, denoise frame by frame, measure, write.

The command line, the batch and the cluster all come through here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from C2SCore import (
    __version__,
    contrasts,
    denoising,
    dicomwriting,
    files,
    measuring,
    noise,
    picture,
    quality,
    scan,
    spacing,
)
from C2SCore.adapting import adapted
from C2SCore.card import find_model
from C2SCore.denoising import Result
from C2SCore.errors import UserError
from C2SCore.gridinputs import levels_on_grid, on_grid
from C2SCore.images import as_type, check_fits, suffix_of
from C2SCore.jobfiles import check_image_name, check_outputs
from C2SCore.model import Model
from C2SCore.modelcache import load_kept
from C2SCore.scan import Scan
from C2SCore.volumepass import Progress
from C2SCore.writing import check_writable, write_bytes, write_json


@dataclass(frozen=True)
class ScanJob:
    """What to do with one scan. Plain values only, so that it travels to another process or machine.

    Parameters
    ----------
    scan, output : where from and where to (see `files.read` and `files.write`).
    model : a name or a file.
    auxiliary : scans of the model's further contrasts, in the order of its card.
    sigma : `auto`, a number in the scan's unit, or the path of a noise map, of one frame or as many as the scan has.
    noise, detail, device : see `denoising.Options`.
    adapt : minutes of training on the scan itself beforehand; 0 for none.
    residual, uncertainty, report : further outputs; empty for none.
    picture : PNG of the middle slice: source, result, what was removed; empty for none.
    integers : write integers, rounded and clipped to the type of the source, where the source has them.
    dicom : write DICOM series derived from that of the scan; the outputs are the folders of their files.
    """

    scan: str
    output: str
    model: str = "default"
    auxiliary: tuple[str, ...] = ()
    sigma: str | float = "auto"
    noise: str = "auto"
    detail: float = 0.0
    device: str = "auto"
    adapt: float = 0.0
    residual: str = ""
    uncertainty: str = ""
    report: str = ""
    picture: str = ""
    integers: bool = False
    dicom: bool = False

    def images(self) -> list[str]:
        """The image files, or folders of DICOM files, that are written."""
        return [path for path in (self.output, self.residual, self.uncertainty) if path]

    def outputs(self) -> list[str]:
        """All files that are written."""
        return [*self.images(), *filter(None, (self.report, self.picture))]

    def inputs(self) -> list[str]:
        """The scans and the model file that are read."""
        noise_map = [self.sigma] if isinstance(self.sigma, str) and self.sigma != "auto" else []
        return [self.scan, *self.auxiliary, *noise_map, str(find_model(self.model))]


def check_job(job: ScanJob) -> None:
    """Raises `UserError` for outputs that cannot be written or that would fall on each other or on an input."""
    if not job.output:
        raise UserError("The output has no name; it must be a file or a folder. Name one.")
    if not job.dicom:
        for name in job.images():
            check_image_name(name)
    check_outputs(job.inputs(), job.outputs())
    for path in job.outputs():
        if job.dicom and path in job.images():
            dicomwriting.check_folder(Path(path))
        else:
            check_writable(path)
    if not 0 <= job.adapt < math.inf:
        raise UserError(f"The minutes of adaptation are {job.adapt:g}; they must be a number from 0. Change it.")
    for what, path, suffix in (("report", job.report, ".json"), ("picture", job.picture, ".png")):
        if path and suffix_of(path) != suffix:
            raise UserError(f"The {what} {path} must end in {suffix}. Change its name.")


def check_together(jobs: Sequence[ScanJob]) -> None:
    """Raises `UserError` where an output of one of `jobs` would fall on an input or output of any of them, or one
    contrast would be taken for all.
    """
    if len(jobs) > 1 and jobs[0].auxiliary:
        raise UserError(
            f"{jobs[0].auxiliary[0]} is a contrast of one scan, and {len(jobs)} scans were given; each has contrasts "
            "of its own. Denoise them one by one."
        )
    check_outputs(
        dict.fromkeys(path for job in jobs for path in job.inputs()), (path for job in jobs for path in job.outputs())
    )


def run(job: ScanJob, progress: Progress | None = None, cancelled: Callable[[], bool] | None = None) -> dict[str, Any]:
    """Does the job and returns its report (JSON-able); raises `UserError` before any long work if it cannot be done."""
    progress = progress or (lambda stage, done, total: None)
    check_job(job)
    progress("read", 0, 1)
    files_of_dicom = dicomwriting.check_source(*files.split_part(job.scan)) if job.dicom else []
    frames = files.read(job.scan)
    messages: list[str] = []
    constant = _constant(frames, messages)
    for frame, empty in zip(frames, constant):
        if not empty:
            scan.check(frame)
            measuring.check_no_map(frame.name, frame.voxels)
        for path in [] if job.dicom else job.images():
            check_fits(frame, path)
    axis = spacing.slice_axis(frames[0].spacing, frames[0].voxels.shape)
    helpers = [on_grid(files.read_one(path), frames[0], messages) for path in job.auxiliary]
    auxiliary = [np.moveaxis(helper.voxels, axis, 0) for helper in helpers]
    levels = levels_on_grid(job.sigma, frames, axis, messages)
    options = denoising.Options(
        noise=job.noise,
        detail=job.detail,
        device=job.device,
        uncertainty=bool(job.uncertainty),
        isotropic=spacing.isotropic(frames[0].spacing, frames[0].voxels.shape),
    )
    limits = noise.frame_limits([f.voxels for f in frames]) if job.sigma == "auto" else [math.inf] * len(frames)
    progress("read", 1, 1)
    model = load_kept(job.model)
    for frame, level, empty in zip(frames, levels, constant):  # before an adaptation, and before any frame's work
        if not empty:
            wanted = dataclasses.replace(options, sigma=level)
            denoising.check(np.moveaxis(frame.voxels, axis, 0), auxiliary, model, wanted)
    for helper in helpers:
        scan.check(helper)
    order = contrasts.in_order([Path(p).name for p in job.auxiliary], model.card.auxiliary)
    if order not in (None, sorted(order or ())):
        messages.append(
            f"By their names, the other contrasts are not in the model's order ({', '.join(model.card.auxiliary)}). "
            "Give them in that order, if the names are right."
        )
    if job.adapt:
        usable = [(f, level, limit) for f, level, limit, empty in zip(frames, levels, limits, constant) if not empty]
        model = adapted(model, usable, axis, auxiliary, options, job.adapt, progress, cancelled)
    done: list[_Frame] = []
    total = len(frames)
    while frames:  # a source is let go as soon as its result is there: memory stays near that of the scan
        frame = frames.pop(0)
        options = dataclasses.replace(options, sigma=levels.pop(0), sigma_limit=limits.pop(0))
        label = f"frame {len(done) + 1}/{total}: " if total > 1 else ""
        if constant[len(done)]:
            done.append(_untouched(frame, job))
            continue
        slices = np.moveaxis(frame.voxels, axis, 0)
        result = denoising.denoise(slices, model, options, auxiliary, _prefixed(progress, label), cancelled)
        done.append(_finished(frame, axis, result, job))
        del frame, result
    progress("write", 0, 1)
    if job.dicom:
        _write_dicom(job, done, files_of_dicom, model.card.name)
    else:
        _write(job, done)
    report = _report(job, model, done, messages)
    if job.report:
        write_json(job.report, report)
    for pixels in [f.picture for f in done if f.picture is not None][:1]:
        write_bytes(job.picture, picture.png(pixels))
    progress("write", 1, 1)
    return report


@dataclass(frozen=True)
class _Frame:
    """What is kept of a denoised frame: what is to be written, and the numbers."""

    denoised: Scan
    residual: Scan | None
    uncertainty: Scan | None
    numbers: dict[str, Any]
    warnings: list[str]
    picture: np.ndarray | None = None


def _constant(frames: Sequence[Scan], messages: list[str]) -> list[bool]:
    """Which frames of several have one value everywhere: there is nothing to do."""
    found = [len(frames) > 1 and scan.is_constant(frame) for frame in frames]
    if all(found):
        return [False] * len(frames)  # the first is refused
    if any(found):
        numbers = ", ".join(str(n) for n, empty in enumerate(found, 1) if empty)
        messages.append(f"Of {len(frames)} frames these are constant, and returned as they are: {numbers}.")
    return found


def _untouched(frame: Scan, job: ScanJob) -> _Frame:
    zeros = frame.with_voxels(np.zeros_like(frame.voxels))
    return _Frame(
        denoised=frame,
        residual=zeros if job.residual else None,
        uncertainty=zeros if job.uncertainty else None,
        numbers=_plain(quality.nothing_removed(frame.voxels)),
        warnings=[],
    )


def _finished(frame: Scan, axis: int, result: Result, job: ScanJob) -> _Frame:
    level = result.levels if result.levels.ndim == 3 else result.sigma
    checks = quality.residual_checks(np.moveaxis(frame.voxels, axis, 0), result.estimate, level, job.detail)
    denoised = np.moveaxis(result.denoised, 0, axis)
    if job.integers or job.dicom:  # so that result and residual, as they are written, give the source
        denoised = as_type(denoised, frame.dtype).astype(np.float32)
    facts = {"noise": result.noise, "device": result.device, "seconds": result.seconds}
    return _Frame(
        denoised=frame.with_voxels(denoised),
        residual=frame.with_voxels(frame.voxels - denoised) if job.residual else None,
        uncertainty=None if result.uncertainty is None else frame.with_voxels(np.moveaxis(result.uncertainty, 0, axis)),
        numbers=_plain({**result.numbers, **checks, **facts}),
        warnings=result.warnings,
        picture=picture.comparison(frame, denoised, result.sigma) if job.picture else None,
    )


def _write(job: ScanJob, done: list[_Frame]) -> None:
    dtype = done[0].denoised.dtype
    files.write([f.denoised for f in done], job.output, dtype if job.integers and dtype.kind in "iu" else None)
    for path, volumes in ((job.residual, [f.residual for f in done]), (job.uncertainty, [f.uncertainty for f in done])):
        if path:
            files.write([v for v in volumes if v is not None], path)


def _write_dicom(job: ScanJob, done: list[_Frame], sources: list[list[tuple[Path, int]]], model: str) -> None:
    level = _middle([f.numbers["sigma"] for f in done])
    how = (
        f"by C2SDenoise {__version__}, model {model}, sigma {level:.4g}, detail {job.detail:g}. For research use only."
    )
    how = how.encode("ascii", "replace").decode()  # the source's character set may know no more
    for n, (path, name, of, contrast) in enumerate(
        (
            (job.output, "denoised", "Noise removed", "FILTERED"),
            (job.residual, "removed noise", "Noise that was removed", "SUBTRACTION"),
            (job.uncertainty, "uncertainty", "Standard deviation of the image denoised", "STD_DEVIATION"),
        )
    ):
        if path:
            volumes = [(f.denoised, f.residual, f.uncertainty)[n] for f in done]
            dicomwriting.write_series(
                [v.voxels for v in volumes if v is not None],
                sources,
                Path(path),
                dicomwriting.Derived(name, 1000 * (n + 1), f"{of} {how}", contrast, alike=n == 0),
            )


def _report(job: ScanJob, model: Model, done: list[_Frame], messages: list[str]) -> dict[str, Any]:
    """Everything worth keeping; the middle over the frames of which something was removed on top, every frame below."""
    numbers = [f.numbers for f in done]
    changed = [n for n in numbers if n["verdict"] != "clean"] or numbers
    worst = max(changed, key=lambda n: n["residual_edge_correlation"])
    keys = ("sigma", "snr_before", "snr_after", "snr_gain_db", "removed")
    return {
        "version": __version__,
        "name": done[0].denoised.name,
        **dataclasses.asdict(job),
        "model": model.card.name,
        "model_file": str(find_model(job.model)),
        **{key: _middle([n[key] for n in changed]) for key in keys},
        **{key: worst[key] for key in ("noise", "verdict", "sentence", "device")},
        "warnings": list(dict.fromkeys([*messages, *(w for f in done for w in f.warnings)])),
        "seconds": round(sum(n["seconds"] for n in numbers), 3),
        "frames": numbers,
    }


def _middle(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.median(known)) if known else None


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """numpy's numbers as Python's, so that JSON takes them."""
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}


def _prefixed(progress: Progress, label: str) -> Progress:
    return lambda stage, done, total: progress(label + stage, done, total)
