"""What the worker does for a training: look at scans, tell the time it takes, train, report.

Everything heavy is imported inside the jobs: the worker answers before that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from C2SCore import events
from C2SCore.errors import Cancelled, UserError
from C2SCore.jobtools import peak_memory, use_device

if TYPE_CHECKING:
    import numpy as np

    from C2SCore.patches import Case
    from C2SCore.worker import Context, Handler

WARM_UP, TIMED = 2, 2.5  # steps that are not timed, and seconds that are
CONVERTED = "converted-"  # and the process id: folder inside the training's own, for scans that are no arrays yet


def inspect(job: events.InspectJob, context: Context) -> events.Done:
    """Read scan after scan and say what each is.

    A scan that cannot be used is reported with the reason, and does not stop.
    """
    from C2SCore import inspecting

    context.progress("Looking for scans")
    paths = list(inspecting.expand(job.paths))
    for number, path in enumerate(paths):
        context.check()
        context.progress("Reading scans", number, len(paths))
        picture = Path(job.thumbnails) / f"{job.job}-{number}.png" if job.thumbnails else None
        try:
            facts = inspecting.look(path, picture)
        except (OSError, RuntimeError, ValueError) as error:
            context.send(events.Inspected(job.job, path, Path(path).name, problem=str(error)))
            continue
        problem = "" if facts.sigma > 0 else "It shows no noise, so nothing can be learnt from it."
        context.send(
            events.Inspected(
                job.job,
                path,
                facts.name,
                facts.shape,
                facts.frames,
                facts.sigma,
                facts.snr,
                str(picture or ""),
                problem,
                facts.flags,
            )
        )
    context.progress("Reading scans", len(paths), len(paths))
    return events.Done(job.job, numbers={"scans": len(paths)})


def train(job: events.TrainJob, context: Context) -> events.Done:
    """Train, with scans as memory maps: what does not fit into memory stays on the disk."""
    context.progress("Loading PyTorch")
    device = use_device(job.device, context)
    from C2SCore import config, model, runfolder, training

    initial = model.load(job.initial, device) if job.initial else None
    base = config.preset(job.preset) if job.preset else config.TrainConfig()
    if initial is not None:  # a model can only go on reading what it has read
        base = base.replace(neighbours=initial.denoiser.neighbours)
    recipe = config.TrainConfig.from_dict({**base.to_dict(), **job.config})
    out = Path(job.out)

    def emit(message: events.Message) -> None:
        if isinstance(message, events.Progress):
            message = dataclasses.replace(message, memory=peak_memory(device))
        if isinstance(message, (events.Progress, events.Curve, events.Preview, events.Log)):
            context.send(dataclasses.replace(message, job=job.job))

    with runfolder.RunFolder(out, job.resume) as folder:  # a folder in use is found before its scans are read
        for left in folder.path.glob(f"{CONVERTED}*"):  # by a training that was killed
            shutil.rmtree(left, ignore_errors=True)
    with Converted(folder.path, job.cases, context) as cases:
        path = training.train(
            cases,
            recipe,
            out,
            resume=job.resume,
            initial=initial,
            device=device,
            emit=emit,
            cancelled=context.cancelled,
            paused=context.paused,
            card={key: tuple(value) if isinstance(value, list) else value for key, value in job.card.items()},
        )
    return events.Done(job.job, {"model": str(path)})


def estimate(job: events.EstimateJob, context: Context) -> events.Done:
    """Time the steps of a training on made-up data: their values do not matter, their sizes do."""
    context.progress("Loading PyTorch")
    device = use_device(job.device, context)
    import numpy as np

    from C2SCore import config, training
    from C2SCore.patches import Case

    recipe = config.TrainConfig.from_dict(job.config)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:160j, -1:1:160j]
    made = (1.0 * (x**2 + y**2 < 0.8) + 0.1 * rng.standard_normal((3, 160, 160))).astype(np.float32)
    steps: list[tuple[int, float]] = []

    def cancelled() -> bool:
        """Asked before each step."""
        steps.append((len(steps), time.monotonic()))
        return context.cancelled() or (len(steps) > WARM_UP + 1 and steps[-1][1] - steps[WARM_UP][1] > TIMED)

    context.progress("Timing some steps")
    never = recipe.replace(steps=10**9, minutes=0.0, validate_every=10**9)
    with tempfile.TemporaryDirectory(prefix="C2S-estimate-") as folder:
        try:
            training.train(
                [Case("made up", made, [made] * job.contrasts)],
                never,
                Path(folder) / "none.safetensors",
                device=device,
                cancelled=cancelled,
            )
        except Cancelled:
            context.check()
    (first, began), (last, ended) = steps[min(WARM_UP, len(steps) - 2)], steps[-1]
    each = (ended - began) / (last - first)
    whole = min(each * recipe.steps, 60 * recipe.minutes or np.inf)
    return events.Done(job.job, numbers={"seconds_per_step": each, "seconds": whole, "device": device})


def report(job: events.ReportJob, context: Context) -> events.Done:
    """Denoise held-back slices and write down what the training has come to."""
    context.progress("Loading PyTorch")
    device = use_device(job.device, context)
    from C2SCore import trainreport

    with Converted(Path(job.out).parent, job.cases, context) as cases:
        numbers = trainreport.write(
            Path(job.out), Path(job.model), cases, list(job.history), job.compare, device, context
        )
    return events.Done(job.job, {"report": job.out}, numbers)


class Converted:
    """Context: the cases of a job, as memory maps; scans that are no `.npy` yet are converted in a folder in `folder`.

    At the end the maps are let go of and the converted files go.
    """

    def __init__(self, folder: Path, facts: tuple[dict[str, Any], ...], context: Context) -> None:
        self._folder, self._facts, self._context = folder / f"{CONVERTED}{os.getpid()}", facts, context
        self._cases: list[Case] = []

    def __enter__(self) -> list[Case]:
        try:
            for number, facts in enumerate(self._facts):
                self._context.check()
                self._context.progress("Reading scans", number, len(self._facts))
                self._cases.append(self._case(facts, number))
        except BaseException:
            self.__exit__()
            raise
        return self._cases

    def __exit__(self, *error: object) -> None:
        for case in self._cases:  # Windows does not delete a file that is mapped
            case.target, case.auxiliary = None, ()  # type: ignore[assignment]
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # it stays if anything else is in it
            self._folder.parent.rmdir()

    def _case(self, facts: dict[str, Any], number: int) -> Case:
        """One case, the other contrasts on the target's grid."""
        from C2SCore import files, scan
        from C2SCore.patches import Case

        target, others = str(facts["target"]), [str(path) for path in facts.get("auxiliary", ())]
        if target.endswith(".npy"):
            arrays = [_mapped(path) for path in (target, *others)]
        else:
            frames = files.read(target)
            first = frames[int(facts.get("frame", 0))]
            arrays = [self._convert(first.voxels, f"{number}-target")]
            for n, path in enumerate(others):
                other = files.read_one(path)
                if not scan.same_grid(other, first):
                    other = scan.resample_to(other, first)
                arrays.append(self._convert(other.voxels, f"{number}-auxiliary{n}"))
        name = str(facts.get("name") or Path(target).stem)
        return Case(name, arrays[0], arrays[1:], facts.get("sigma"), target, facts.get("group"))

    def _convert(self, voxels: np.ndarray, name: str) -> np.ndarray:
        import numpy as np

        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.npy"
        np.save(path, voxels)
        return _mapped(str(path))


def _mapped(path: str) -> np.ndarray:
    import numpy as np

    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); it must be a .npy array. Start a new training.") from error


HANDLERS: dict[type, Handler] = {
    events.InspectJob: inspect,
    events.TrainJob: train,
    events.EstimateJob: estimate,
    events.ReportJob: report,
}
