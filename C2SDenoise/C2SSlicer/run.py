"""One run of the denoiser on the scene: voxels out to the worker, result back into the scene.

A run holds no node, which may be deleted meanwhile; it creates nothing in the scene before all has succeeded, so that
a cancelled or failed run leaves the scene as it was. Its files live in a temporary folder that goes with it.
"""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from C2SCore import events
from C2SCore.errors import UserError
from C2SSlicer import delivery, handover, job, sequences, volumes
from C2SSlicer.handover import temporary_folder
from C2SSlicer.pieces import Pieces
from C2SSlicer.refinement import Refinement
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
        self.state = "running"
        self.stage, self.device = "Preparing", ""
        self.fraction: float | None = None
        self.seconds_left: float | None = None
        self.result: Result | None = None
        self.failure: events.Failed | None = None
        self.refinement: Refinement | None = None
        self._worker = worker or job.shared()
        self._on_progress, self._on_end = on_progress, on_end
        self._task: job.Task | None = None
        self._pieces: Pieces | None = None  # what is done in this process at present; None while the worker works
        self._cancelled = False
        self._endings: list[events.Done] = []
        self._entry = request.check()
        self.request = request = request.in_order_of(self._entry.card)
        self._model = str(self._entry.path)
        self._kept, self._source_name = volumes.Kept(request.source), node(request.source).GetName()
        self._frames = request.frames
        self._arrays: list[np.ndarray] = []  # per frame, the source's voxels
        self._shown = ""  # index value of the frame that was shown when they were read
        auxiliary = [volumes.resampled(node(other), node(request.source)) for other in request.auxiliary]
        self._folder = tempfile.TemporaryDirectory(
            prefix="C2SDenoise-", dir=temporary_folder(), ignore_cleanup_errors=True
        )
        self._auxiliary = tuple(self._path(f"auxiliary{n}") for n in range(len(auxiliary)))
        first = self._adapt if request.adapt_minutes > 0 else self._denoise
        self._in_pieces(self._write_inputs(auxiliary), first)

    @property
    def finished(self) -> bool:
        return self.state != "running"

    def cancel(self) -> None:
        """Stop within a second; the scene stays as it was."""
        if self.finished or self.result is not None:
            return
        self._cancelled, self.stage = True, "Cancelling"
        if self._pieces is not None:
            self._pieces.cancel()
            self._end("cancelled")
        else:
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
        # From a constant frame, as where an acquisition broke off, nothing can be learnt.
        usable = [n for n, array in enumerate(self._arrays) if array.min() != array.max()] or [0]
        order = events.TrainJob(
            job.new_id(),
            self._path("adapted", ".safetensors"),
            tuple(map(self._case, usable)),
            "quick",
            config,
            {"name": f"{self._entry.name}, adapted", "auxiliary": list(self._entry.card.auxiliary)},
            initial=self._model,
            device=self.request.device,
        )
        self._task = self._worker.submit(order, self._received, self._adapted, job.CANCEL_GRACE)

    def _case(self, number: int) -> dict[str, Any]:
        """A frame as a case of `TrainJob`; all frames show the same anatomy."""
        name, source = self._source_name, self._source()
        case: dict[str, Any] = {
            "name": name if len(self._frames) == 1 else f"{name} {number + 1}",
            "target": self._path(f"source{number}"),
            "auxiliary": list(self._auxiliary),
            "group": name,
            "slices": volumes.slice_axis(source),
            "isotropic": volumes.isotropic(source),
            "beside": list(self._beside(number)),
        }
        if self.request.sigma != "auto":
            case["sigma"] = float(self.request.sigma)
        return case

    def _beside(self, number: int) -> tuple[str, ...]:
        """The frames before and after one, which bound its noise where that is measured."""
        beside = (number - 1, number + 1) if self.request.sigma == "auto" else ()
        return tuple(self._path(f"source{n}") for n in beside if 0 <= n < len(self._frames))

    def _adapted(self, ending: events.Message) -> None:
        if isinstance(ending, events.Done) and not self._cancelled:
            self._model = ending.paths.get("model", self._path("adapted", ".safetensors"))
            self._in_pieces(iter(()), self._denoise)  # there, that the source is gone by now ends the run
        else:
            self._ended(ending)

    def _denoise(self) -> None:
        """The next frame; its noise is at most what those before and after it show."""
        number, request = len(self._endings), self.request
        order = events.DenoiseJob(
            job.new_id(),
            self._path(f"source{number}"),
            self._path(f"output{number}"),
            self._model,
            self._auxiliary,
            float(request.sigma) if request.sigma != "auto" else "auto",
            request.noise,
            request.device,
            self._path(f"uncertainty{number}") if request.uncertainty_output is not None else "",
            volumes.slice_axis(self._source()),
            volumes.isotropic(self._source()),
            float(request.detail),
            self._path(f"levels{number}"),
            series=len(self._frames) > 1,
            beside=self._beside(number),
        )
        self._task = self._worker.submit(order, self._received, self._frame_done)

    def _frame_done(self, ending: events.Message) -> None:
        if self._cancelled or not isinstance(ending, events.Done):
            self._ended(ending)
            return
        self._endings.append(ending)
        if len(self._endings) < len(self._frames):
            self._in_pieces(self._write_frames(), self._denoise)
        else:
            made = delivery.Delivery(self.request, self._arrays, self._endings, self._shown)
            self._in_pieces(made.prepare(), lambda: self._deliver(made))

    def _deliver(self, made: delivery.Delivery) -> None:
        """All of it at once, and the end at the next turn of the event loop: the views redraw in between."""
        self.result, self.refinement = made.deliver(self._source(), self._entry)
        self._in_pieces(iter(()), lambda: self._end("done"))

    def _in_pieces(self, work: Iterator[None], then: Callable[[], None]) -> None:
        def finished() -> None:
            self._pieces = None
            then()

        self._pieces = Pieces(self._worker, work, finished, self._broke)

    # ---- what comes back

    def _received(self, message: events.Message) -> None:
        if not isinstance(message, events.Progress):
            return
        adapting = isinstance(self._task.job, events.TrainJob)  # on all frames together
        frames, number = 1 if adapting else len(self._frames), len(self._endings)
        part = message.done / message.total if message.total > 1 else None  # one single step has no parts to show
        self.stage = message.stage if frames == 1 else f"Frame {number + 1} of {frames}: {message.stage}"
        self.fraction = part if frames == 1 else (number + (part or 0.0)) / frames
        self.seconds_left = message.seconds_left if frames == 1 and part is not None else None
        self.device = message.device or self.device
        if self._on_progress:
            self._on_progress(self)

    def _broke(self, error: Exception) -> None:
        """What is done at the polls of a timer must show its own failures."""
        if isinstance(error, UserError):
            self._ended(events.Failed("", str(error)))
            return
        details = "".join(traceback.format_exception(error))
        advice = "The log has the details. If it happens again, please report it with the log."
        self._ended(events.Failed("", f"{type(error).__name__}: {error}", advice, details))

    def _ended(self, ending: events.Message) -> None:
        if isinstance(ending, events.Failed):
            self.failure = ending
        self._end("failed" if isinstance(ending, events.Failed) else "cancelled")

    def _end(self, state: str) -> None:
        self.state, self._pieces, self._task = state, None, None
        self._arrays = []
        self._folder.cleanup()
        if self._on_end:
            self._on_end(self)

    # ---- files

    def _source(self):
        source = self._kept.get()
        if source is None or source.GetImageData() is None:
            raise UserError(
                f"{self._source_name} was removed from the scene while it was being denoised, so the result has "
                f"no place. "
                "Load it again and apply again."
            )
        return source

    def _write_inputs(self, auxiliary: list[np.ndarray]) -> Iterator[None]:
        """Other contrasts, and the first frames."""
        for path, array in zip(self._auxiliary, auxiliary, strict=True):
            yield from handover.save_array(array, path)
        yield from self._write_frames()

    def _frame(self, number: int):
        """The node of a frame, checked."""
        index, source = self._frames[number], self._source()
        frame = source if index is None else sequences.frame(source, index)
        volumes.check_scalar(frame)
        return frame

    def _write_frames(self) -> Iterator[None]:
        """The voxels of the next frame and of the one after it, for the worker and for the detail slider; to adapt a
        model, those of all frames.
        """
        total = len(self._frames)
        wanted = total if self.request.adapt_minutes > 0 else min(len(self._endings) + 2, total)
        for number in range(len(self._arrays), wanted):
            frame, self._shown = self._frame(number), sequences.shown_index(self._source())
            copy = np.empty(frame.GetImageData().GetDimensions()[::-1], np.float32)
            for _ in handover.save(frame, self._path(f"source{number}"), copy):
                yield
                self._source()  # that it is still there
            self._arrays.append(copy)

    def _path(self, name: str, suffix: str = ".npy") -> str:
        return str(Path(self._folder.name) / f"{name}{suffix}")
