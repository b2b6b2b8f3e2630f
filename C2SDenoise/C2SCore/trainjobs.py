"""What the worker does for a training: look at scans, tell the time it takes, train, report.

Everything heavy is imported inside the jobs: the worker answers before that.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from C2SCore import events
from C2SCore.errors import Cancelled, UserError
from C2SCore.jobtools import peak_memory, use_device

if TYPE_CHECKING:
    from C2SCore.measuring import Refine
    from C2SCore.worker import Context, Handler

WARM_UP, TIMED = 2, 2.5  # steps that are not timed, and seconds that are


def inspect(job: events.InspectJob, context: Context) -> events.Done:
    """Read scan after scan and say what each is.

    A scan that cannot be used is reported with the reason, and does not stop.
    """
    from C2SCore import inspecting, measuring

    cache = measuring.Cache(Path(job.measured)) if job.measured else None
    refine = _levels(context)
    context.progress("Looking for scans")
    left_out: list[tuple[Path, str]] = []
    paths = list(inspecting.expand(job.paths, left_out))
    for scan, reason in left_out:
        context.send(events.Log(f"Left out: {scan}: {reason}."))
    for number, path in enumerate(paths):
        context.check()
        context.progress("Reading scans", number, len(paths))
        picture = Path(job.thumbnails) / f"{job.job}-{number}.png" if job.thumbnails else None
        try:
            facts = inspecting.look(path, picture, cache, refine)
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


def _levels(context: Context) -> Refine | None:
    """How a training measures noise; None where PyTorch, or the bundled model, is not there."""
    try:
        device = use_device("auto", context)
        from C2SCore.device import choose_device
        from C2SCore.modellevels import ModelLevels

        return ModelLevels(choose_device(device))
    except (ModuleNotFoundError, UserError):
        return None


def train(job: events.TrainJob, context: Context) -> events.Done:
    """Train, with scans as memory maps: what does not fit into memory stays on the disk."""
    context.progress("Loading PyTorch")
    device = use_device(job.device, context)
    from C2SCore import config, recorded
    from C2SCore.trainrecord import Record

    base = config.preset(job.preset) if job.preset else config.TrainConfig()
    recipe = config.TrainConfig.from_dict(_over(base.to_dict(), job.config))
    if job.initial:
        recipe = recorded.starting_from(recipe, job.initial)
    record = Record(Path(job.out).absolute(), list(job.cases), recipe.to_dict(), dict(job.card), job.device)

    def emit(message: events.Message) -> None:
        if isinstance(message, events.Progress):
            message = dataclasses.replace(message, memory=peak_memory(device))
        context.send(_of(job.job, message))

    path = recorded.carry_out(record, job.resume, emit, context.cancelled, context.paused)
    return events.Done(job.job, {"model": str(path)})


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The settings of `base` with the changes; what a group does not name stays."""
    found = dict(base)
    for name, value in changes.items():
        old = found.get(name)
        found[name] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
    return found


def _of(job: str, message: events.Message) -> events.Message:
    """The message as one of a job; lines for the log stay nobody's, so that the log shows them."""
    if isinstance(message, (events.Progress, events.Curve, events.Preview)):
        return dataclasses.replace(message, job=job)
    return message


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
    with tempfile.TemporaryDirectory(prefix="C2S-estimate-", ignore_cleanup_errors=True) as folder:
        try:
            training.train(
                [Case("made up", made, [made[::-1]] * job.contrasts, 0.1)],
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
    from C2SCore import recorded, trainreport

    def emit(message: events.Message) -> None:
        context.send(_of(job.job, message))

    with recorded.Cases(Path(job.out).parent, job.cases, emit, context.cancelled) as cases:
        numbers = trainreport.write(
            Path(job.out), Path(job.model), cases, list(job.history), job.compare, device, context
        )
    return events.Done(job.job, {"report": job.out}, numbers)


HANDLERS: dict[type, Handler] = {
    events.InspectJob: inspect,
    events.TrainJob: train,
    events.EstimateJob: estimate,
    events.ReportJob: report,
}
