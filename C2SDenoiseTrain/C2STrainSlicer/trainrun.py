"""One training, seen from Slicer: volumes out to files, the worker's job, its curves and its end, the report.

It runs in a worker process of its own, so that denoising stays possible meanwhile. No node is held, for it may be
deleted. The worker writes down what is needed to go on after a crash, see `C2SCore.trainrecord`.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from C2SCore import events, runfolder
from C2SCore.errors import UserError
from C2SCore.trainrecord import Record
from C2SSlicer import handover, job, volumes
from C2SSlicer.pieces import Pieces
from C2STrainSlicer import inspection

WORKER = "train"  # name of the session's worker for trainings
NODE = "node "  # and its id: a case of the scene that is not on the disk yet
SCANS = "scans"  # folder in the training's own, for volumes of the scene
Callback = Callable[["Training"], None]

_running: list[Training] = []


def running() -> Training | None:
    """The training of this session, if one goes on."""
    return _running[0] if _running else None


class Training:
    """Carry out a `Record`; `state` is preparing, running, paused, stopping, reporting, done, stopped or failed.

    `on_change(training)` comes at every report, `on_end(training)` once. `history` holds the points of the curves,
    `preview` the path of the newest picture (source, result, removed noise).
    """

    def __init__(
        self,
        plan: Record,
        resume: bool = False,
        on_change: Callback | None = None,
        on_end: Callback | None = None,
        report: bool = True,
    ) -> None:
        if _running:
            raise UserError(
                f"{_running[0].plan.out.stem} is being trained already; one at a time. Wait for it, or stop it."
            )
        other = runfolder.owner(plan.folder)
        if other is not None:
            raise UserError(
                f"Process {other} is training {plan.out.stem!r} already; two cannot. Wait for it, or choose another "
                "name."
            )
        if resume:
            plan.check_scans()
        elif plan.out.exists() or (plan.folder / runfolder.STATE).exists():
            raise UserError(
                f"There is a model or a training {plan.out.stem!r} already. Choose another name, or resume it."
            )
        self.plan = plan
        self._watchers = [(on_change, on_end)]
        self.state, self.stage = "preparing", "Preparing"
        self.step = self.steps = self.memory = 0
        self.part = (0, 0)  # of the present stage: done, in all
        self.seconds_left: float | None = None
        self.fraction: float | None = None  # of the training itself
        self.device = ""
        self.preview, self.preview_name = "", ""
        self.history: list[dict[str, Any]] = plan.history() if resume else []
        self.failure: events.Failed | None = None
        self.numbers: dict[str, Any] = {}
        self.report = ""
        self._resume, self._task = resume, None
        self._worker = job.shared(WORKER)
        self._nodes = [
            (n, slot) for n, case in enumerate(plan.cases) for slot in _slots(case) if slot[1].startswith(NODE)
        ]
        self._kept = {text: volumes.Kept(text.removeprefix(NODE)) for _n, (_place, text) in self._nodes}
        self.wants_report = report
        _running.append(self)
        self._worker.defer(lambda: self._guarded(self._next_volume))

    @property
    def finished(self) -> bool:
        return self.state in ("done", "stopped", "failed")

    def watch(self, on_change: Callback, on_end: Callback) -> None:
        """Tell these too; first, for those of a script may fail."""
        self._watchers.insert(0, (on_change, on_end))

    def unwatch(self, on_change: Callback, on_end: Callback) -> None:
        """Tell these no more."""
        self._watchers = [watcher for watcher in self._watchers if watcher != (on_change, on_end)]

    def pause(self, paused: bool) -> None:
        """Hold the training between two steps, or let it go on."""
        if self._task is not None and self.state in ("running", "paused"):
            self._task.pause(paused)
            self.state = "paused" if paused else "running"
            self._changed()

    def stop(self) -> None:
        """End it now and keep the best so far; it can be resumed."""
        if self.state in ("preparing", "running", "paused"):
            self.state = "stopping"
            if self._task is not None:
                self._task.cancel()
            self._changed()
        elif self.state == "reporting":
            self._task.cancel()

    def wait(self, timeout: float | None = None) -> Training:
        """Block until it has ended, or `timeout` seconds have passed: for scripts."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.finished and (until is None or time.monotonic() < until):
            self._worker.poll(wait=0.05)
        return self

    # ---- volumes of the scene into files, in pieces

    def _next_volume(self) -> None:
        if self.state == "stopping":
            self._end("stopped")
            return
        if not self._nodes:
            self._submit()
            return
        number, (place, text) = self._nodes.pop(0)
        case = self.plan.cases[number]
        self.stage = f"Saving volume {number + 1} of {len(self.plan.cases)}"
        path = self.plan.folder / SCANS / f"{number}-{place}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)

        def saved() -> None:
            if place < 0:
                case["target"], case["slices"] = str(path), volumes.slice_axis(self._volume(text))
                case["isotropic"] = volumes.isotropic(self._volume(text))
            else:
                case["auxiliary"][place] = str(path)
            self._next_volume()

        Pieces(self._worker, self._voxels(text, case["reference"], path), saved, self._failed)
        self._changed()

    def _voxels(self, text: str, reference: str, path: Path) -> Iterator[None]:
        """Write a volume on the grid of another, in pieces."""
        fixed = self._volume(reference)
        if text == reference:
            yield from handover.save(fixed, path)
        else:
            yield from handover.save_array(volumes.resampled(self._volume(text), fixed), path)

    def _volume(self, text: str) -> Any:
        found = self._kept[text].get()
        if found is None:
            raise UserError(
                "A volume was removed from the scene before the training had read it. Load it again, and start again."
            )
        return found

    # ---- the jobs

    def _submit(self) -> None:
        self.state, self.stage = "running", "Starting"
        plan = self.plan
        for case in plan.cases:
            case.pop("reference", None)
        if not self._resume:
            self._bring_measured()
        order = events.TrainJob(
            job.new_id(),
            str(plan.out),
            tuple(plan.cases),
            "",
            plan.config,
            plan.card,
            "",
            self._resume,
            plan.device,
        )
        self._task = self._worker.submit(order, self._received, self._trained)
        self._changed()

    def _bring_measured(self) -> None:
        """What was measured when the scans were looked at needs not be measured again."""
        source = inspection.measured()
        if source.is_file():
            self.plan.folder.mkdir(parents=True, exist_ok=True)
            with (self.plan.folder / runfolder.MEASURED).open("ab") as file:
                file.write(source.read_bytes())

    def _received(self, message: events.Message) -> None:
        if isinstance(message, events.Progress):
            self.stage, self.part = message.stage, (message.done, message.total)
            self.seconds_left, self.device = message.seconds_left, message.device or self.device
            self.memory = message.memory or self.memory
            if message.stage in ("train", "paused"):
                self.step, self.steps, self.fraction = message.done, message.total, message.fraction
        elif isinstance(message, events.Curve):
            self.history = [p for p in self.history if p["step"] < message.step]
            self.history.append({"step": message.step, **message.values})
        elif isinstance(message, events.Preview):
            self.preview, self.preview_name = message.path, message.name
        self._changed()

    def _trained(self, ending: events.Message) -> None:
        self._guarded(lambda: self._after_training(ending))

    def _after_training(self, ending: events.Message) -> None:
        stopped = self.state == "stopping"
        if isinstance(ending, events.Failed):
            self.failure = ending
            self._end("failed")
        elif not isinstance(ending, events.Done):
            self._end("stopped")
        elif not self.wants_report:
            self._end("stopped" if stopped else "done")
        else:
            self._after = "stopped" if stopped else "done"
            self.state, self.stage = "reporting", "Writing the report"
            self._changed()
            self._start_report()

    def _start_report(self) -> None:
        plan = self.plan
        out = plan.folder / "report.html"
        order = events.ReportJob(
            job.new_id(), str(plan.out), str(out), tuple(plan.cases), tuple(self.history), device=plan.device
        )

        def ended(ending: events.Message) -> None:
            if isinstance(ending, events.Done):
                self.report, self.numbers = str(out), ending.numbers
            elif isinstance(ending, events.Failed):
                self.numbers = {
                    "sentence": f"The report could not be written: {ending.message} {ending.advice}".strip()
                }
            self._end(self._after)

        self._task = self._worker.submit(order, self._received, ended, job.CANCEL_GRACE)

    # ---- its end

    def _end(self, state: str) -> None:
        self.state = self.plan.state = state
        if self in _running:
            _running.remove(self)
        folder = self.plan.folder
        self._worker.close()  # gives the memory back, that of a graphics card too
        if state == "done":
            shutil.rmtree(folder / SCANS, ignore_errors=True)
        elif not (folder / runfolder.STATE).exists():
            self._leave_nothing()
        for _on_change, on_end in self._watchers:
            if on_end:
                on_end(self)

    def _leave_nothing(self) -> None:
        """There is nothing to resume. What was measured stays in this session, for the next attempt."""
        folder = self.plan.folder
        if not folder.is_dir() or runfolder.owner(folder) is not None:
            return  # it is another's, who came first
        with contextlib.suppress(OSError):
            shutil.copyfile(folder / runfolder.MEASURED, inspection.measured())
        shutil.rmtree(folder, ignore_errors=True)

    def _changed(self) -> None:
        for on_change, _on_end in self._watchers:
            if on_change:
                on_change(self)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Callbacks run under a timer, where an exception would vanish: it ends the training, and is shown."""
        try:
            step()
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, UserError):
            self.failure = events.Failed("", str(error))
        elif isinstance(error, OSError):
            what = f"{error.filename or self.plan.folder} could not be written ({error.strerror or error})."
            self.failure = events.Failed("", what, "Free some space, or choose another folder for the model.")
        else:
            trace = "".join(traceback.format_exception(error))
            self.failure = events.Failed("", f"{type(error).__name__}: {error}", "The log says more.", trace)
        if not self.finished:
            self._end("failed")


def _slots(case: dict[str, Any]) -> list[tuple[int, str]]:
    """(place, text) of the target (-1) and of each helper."""
    return [(-1, case["target"]), *enumerate(case.get("auxiliary", ()))]
