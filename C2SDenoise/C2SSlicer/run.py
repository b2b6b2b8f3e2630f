"""One run of the denoiser on the scene: voxels out to the worker, result back into the scene.

A run holds node ids, never nodes; it creates nothing in the scene before all has succeeded, so that a cancelled or
failed run leaves the scene as it was. Its files live in a temporary folder that goes with it.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import slicer

from C2SCore import events
from C2SCore.errors import UserError
from C2SSlicer import delivery, job, sequences, volumes
from C2SSlicer.request import Request, Result, node

Callback = Callable[["Run"], None]


class Run:
    """Carry out a `Request`; `state` is running, done, failed or cancelled.

    `on_progress` is called at each report, with `stage`, `fraction` (0 to 1, or None), `seconds_left` and `device` up
    to date; `on_end` once, with `result` (done) or `failure` (failed) set.
    """

    def __init__(
        self,
        request: Request,
        worker: job.Worker | None = None,
        on_progress: Callback | None = None,
        on_end: Callback | None = None,
    ) -> None:
        self.request = request
        self.state = "running"
        self.stage, self.device = "Preparing", ""
        self.fraction: float | None = None
        self.seconds_left: float | None = None
        self.result: Result | None = None
        self.failure: events.Failed | None = None
        self.refinement: delivery.Refinement | None = None
        self._worker = worker or job.shared()
        self._on_progress, self._on_end = on_progress, on_end
        self._task: job.Task | None = None
        self._cancelled = False
        self._endings: list[events.Done] = []
        self._entry = request.check()
        self._model = str(self._entry.path)
        self._source_name = node(request.source).GetName()
        self._frames = request.frames
        self._arrays: list[np.ndarray] = []  # per frame, the source's voxels
        auxiliary = [volumes.resampled(node(other), node(request.source)) for other in request.auxiliary]
        self._folder = Path(tempfile.mkdtemp(prefix="C2SDenoise-", dir=temporary_folder()))
        try:
            self._auxiliary = tuple(self._write(f"auxiliary{n}", array) for n, array in enumerate(auxiliary))
            self._adapt() if request.adapt_minutes > 0 else self._next_frame()
        except BaseException:
            self._clean()
            raise

    @property
    def finished(self) -> bool:
        return self.state != "running"

    def cancel(self) -> None:
        """Stop within a second; the scene stays as it was."""
        if not self.finished and self.result is None:
            self._cancelled, self.stage = True, "Cancelling"
            self._task.cancel()

    def wait(self, timeout: float | None = None) -> Run:
        """Block until the run has ended, or `timeout` seconds have passed: for scripts."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.finished and (until is None or time.monotonic() < until):
            self._worker.poll(wait=0.02)
        return self

    # ---- the jobs, one after another

    def _adapt(self) -> None:
        """Teach a copy of the model this scan, then go on with it."""
        # The recipe for few scans; the time is the budget, whatever number of steps fits into it.
        config = {"minutes": float(self.request.adapt_minutes), "steps": 10_000_000}
        case = {
            "name": self._source_name,
            "target": self._write_frame(self._frames[0]),
            "auxiliary": list(self._auxiliary),
        }
        if self.request.sigma != "auto":
            case["sigma"] = float(self.request.sigma)
        adapted = self._folder / "adapted.safetensors"
        order = events.TrainJob(
            job.new_id(),
            str(adapted),
            (case,),
            "quick",
            config,
            {"name": f"{self._entry.name}, adapted", "auxiliary": list(self._entry.card.auxiliary)},
            initial=self._model,
            device=self.request.device,
        )
        self._task = self._worker.submit(order, self._received, self._adapted, job.CANCEL_GRACE)

    def _adapted(self, ending: events.Message) -> None:
        if isinstance(ending, events.Done):
            self._model = ending.paths.get("model", str(self._folder / "adapted.safetensors"))
            self._guarded(self._next_frame)
        else:
            self._ended(ending)

    def _next_frame(self) -> None:
        if self._cancelled:
            self._end("cancelled")
            return
        number = len(self._endings)
        source = self._write_frame(self._frames[number])
        request = self.request
        order = events.DenoiseJob(
            job.new_id(),
            source,
            self._path(f"output{number}"),
            self._model,
            self._auxiliary,
            float(request.sigma) if request.sigma != "auto" else "auto",
            request.noise,
            request.device,
            self._path(f"uncertainty{number}") if request.uncertainty_output is not None else "",
        )
        self._task = self._worker.submit(order, self._received, self._frame_done)

    def _frame_done(self, ending: events.Message) -> None:
        if not isinstance(ending, events.Done):
            self._ended(ending)
            return
        self._endings.append(ending)
        step = self._next_frame if len(self._endings) < len(self._frames) else self._deliver
        self._worker.defer(lambda: self._guarded(step))

    def _deliver(self) -> None:
        if self._cancelled:
            self._end("cancelled")
            return
        source = self._source()
        self.result, self.refinement = delivery.deliver(self.request, source, self._entry, self._arrays, self._endings)
        self._worker.defer(lambda: self._guarded(lambda: self._end("done")))

    # ---- what comes back

    def _received(self, message: events.Message) -> None:
        if not isinstance(message, events.Progress):
            return
        frames, number = len(self._frames), len(self._endings)
        part = message.done / message.total if message.total > 1 else None  # one single step has no parts to show
        self.stage = message.stage if frames == 1 else f"Frame {number + 1} of {frames}: {message.stage}"
        self.fraction = part if frames == 1 else (number + (part or 0.0)) / frames
        self.seconds_left = message.seconds_left if frames == 1 and part is not None else None
        self.device = message.device or self.device
        if self._on_progress:
            self._on_progress(self)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Callbacks run under a timer, where an exception would vanish: it ends the run, and is shown."""
        try:
            step()
        except UserError as error:
            self._ended(events.Failed("", str(error)))
        except Exception as error:
            import traceback

            advice = "The log has the details. If it happens again, please report it with the log."
            self._ended(events.Failed("", f"{type(error).__name__}: {error}", advice, traceback.format_exc()))

    def _ended(self, ending: events.Message) -> None:
        if isinstance(ending, events.Failed):
            self.failure = ending
        self._end("failed" if isinstance(ending, events.Failed) else "cancelled")

    def _end(self, state: str) -> None:
        self.state = state
        self._clean()
        if self._on_end:
            self._on_end(self)

    # ---- files

    def _source(self):
        source = node(self.request.source)
        if source is None or source.GetImageData() is None:
            raise UserError(
                f"{self._source_name} was removed from the scene while it was being denoised, so the result has "
                f"no place. "
                "Load it again and apply again."
            )
        return source

    def _write_frame(self, index: int | None) -> str:
        source = self._source()
        array = volumes.array_of(source if index is None else sequences.frame(source, index))
        number = 0 if index is None else index
        if len(self._arrays) <= number:
            self._arrays.append(array)
        return self._write(f"source{number}", array)

    def _path(self, name: str) -> str:
        return str(self._folder / f"{name}.npy")

    def _write(self, name: str, array: np.ndarray) -> str:
        np.save(self._path(name), array)
        return self._path(name)

    def _clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def temporary_folder() -> str:
    """Slicer's folder for temporary files."""
    folder = slicer.app.temporaryPath
    Path(folder).mkdir(parents=True, exist_ok=True)
    return folder
