"""Looking at scans in the background: those of a folder, and volumes of the scene. A worker of its own does it.

What it measures is kept until Slicer ends, so that a training of the same scans need not measure them again.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import slicer

from C2SCore import events
from C2SCore.errors import UserError
from C2SSlicer import handover, job, sequences
from C2SSlicer.pieces import Pieces
from C2STrainSlicer import scans
from C2STrainSlicer.scans import Row

WORKER = "inspect"


def measured() -> Path:
    """The file of this session that keeps what was measured; it may not be there yet."""
    return Path(handover.temporary_folder()) / f"C2SMeasured-{os.getpid()}.jsonl"


def _forget(path: Path) -> None:
    with contextlib.suppress(OSError):  # the worker may still hold it
        path.unlink()


class Inspection:
    """`on_row` gets each row as it is found, `on_end` a line about the end (empty: all well)."""

    def __init__(
        self, on_row: Callable[[Row], None], on_progress: Callable[[int, int], None], on_end: Callable[[str], None]
    ):
        self._on_row, self._on_progress, self._on_end = on_row, on_progress, on_end
        self._worker = job.shared(WORKER)
        self._folder: tempfile.TemporaryDirectory | None = None
        self._tasks: list[job.Task] = []
        self._reading: job.Task | None = None  # that of a folder
        self._waiting = 0
        # Volumes that wait for their turn, or are being read; the mark tells a turn that was given up from a new one.
        self._queued: dict[str, object] = {}
        self._saving: dict[str, Pieces] = {}  # those that are being written for the worker

    @property
    def busy(self) -> bool:
        return self._waiting > 0

    @property
    def reading(self) -> bool:
        """Whether a folder is being read."""
        return self._reading is not None and not self._reading.finished

    def folder(self, path: str) -> None:
        """All scans in a folder and below."""
        if not Path(path).is_dir():
            raise UserError(f"{path or 'Nothing'} is not a folder; scans are looked for in a folder. Choose one.")
        self._reading = self._submit(path, lambda found: scans.row_of(found, path))

    def stop_folder(self) -> None:
        """Give up the folder that is being read; volumes that wait are still looked at."""
        if self._reading is not None:
            self._reading.cancel()

    def nodes(self, identifiers: Sequence[str]) -> None:
        """Volumes of the scene, each written to a temporary file first, one at each turn of the event loop."""
        for identifier in [i for i in identifiers if i not in self._queued]:
            mark = self._queued[identifier] = object()
            self._waiting += 1
            self._worker.defer(lambda identifier=identifier, mark=mark: self._node(identifier, mark))

    def _node(self, identifier: str, mark: object) -> None:
        node = slicer.mrmlScene.GetNodeByID(identifier)
        if node is None or self._queued.get(identifier) is not mark:
            self._given_up(identifier, mark)
            return
        name, path = node.GetName(), Path(self._place()) / f"{identifier}.npy"
        series = sequences.number_of_frames(node) > 1

        def row(found: events.Inspected) -> Row:
            self._leave(identifier, mark)
            with contextlib.suppress(OSError):  # on Windows another program may hold it; it goes with its folder
                path.unlink()
            row = scans.row_of(found, node=identifier, name=name)
            return replace(row, flags=(*row.flags, "frame")) if series else row

        def saved() -> None:
            del self._saving[identifier]
            self._waiting -= 1
            self._submit(str(path), row, identifier, mark)

        def failed(error: Exception) -> None:
            del self._saving[identifier]
            self._on_row(Row(name, node=identifier, problem=str(error), included=False))
            self._given_up(identifier, mark)

        self._saving[identifier] = Pieces(self._worker, handover.save(node, path), saved, failed)

    def _leave(self, identifier: str, mark: object) -> None:
        """Its turn has ended, unless it is another's by now."""
        if self._queued.get(identifier) is mark:
            self._queued.pop(identifier, None)

    def _given_up(self, identifier: str, mark: object) -> None:
        self._waiting -= 1
        self._leave(identifier, mark)
        if not self.busy:
            self._on_end("")

    def _submit(
        self, path: str, make: Callable[[events.Inspected], Row], identifier: str = "", mark: object = None
    ) -> job.Task:
        """`identifier`: of a volume; without, it is a folder."""

        def received(message: events.Message) -> None:
            if isinstance(message, events.Inspected):
                self._on_row(make(message))
            elif isinstance(message, events.Progress) and message.total > 1:
                self._on_progress(message.done, message.total)

        def ended(ending: events.Message) -> None:
            self._waiting -= 1
            self._leave(identifier, mark)
            text = f"{ending.message} {ending.advice}".strip() if isinstance(ending, events.Failed) else ""
            if text or not self.busy or not identifier:
                self._on_end(text)

        self._waiting += 1
        order = events.InspectJob(job.new_id(), (path,), self._place(), str(measured()))
        self._tasks = [task for task in self._tasks if not task.finished]
        self._tasks.append(self._worker.submit(order, received, ended))
        return self._tasks[-1]

    def _place(self) -> str:
        """A folder for thumbnails and volumes."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(
                prefix="C2SScans-",
                dir=handover.temporary_folder(),
                ignore_cleanup_errors=True,  # on Windows a worker that is just ending still holds its file
            )
            atexit.register(_forget, measured())
        return self._folder.name

    def stop(self) -> None:
        """Give up what is being read and what waits."""
        self._queued.clear()
        while self._saving:
            identifier, pieces = self._saving.popitem()
            pieces.cancel()
            self._given_up(identifier, None)
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    def close(self) -> None:
        """The module goes: nothing runs on, nothing stays on the disk."""
        self.stop()
        job.close(WORKER)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
