"""Short jobs on files that are written for them: measurements in the background."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from C2SCore import events
from C2SSlicer import job
from C2SSlicer.handover import temporary_folder
from C2SSlicer.pieces import Pieces


class Errand:
    """One at a time: a new order makes the one before forgotten."""

    def __init__(self, worker: job.Worker) -> None:
        self._worker = worker
        self._pieces: Pieces | None = None
        self._task: job.Task | None = None
        self._folder: tempfile.TemporaryDirectory | None = None

    @property
    def busy(self) -> bool:
        return self._folder is not None

    def start(
        self,
        write: Callable[[Path], Iterator[None]],
        order: Callable[[Path], events.Job],
        on_end: Callable[[events.Message], None],
    ) -> None:
        """`write` puts files into a folder, in pieces; `order` is the job on them; `on_end` gets its ending.

        A failure to write is an ending too, `Failed`.
        """
        self.stop()
        folder = tempfile.TemporaryDirectory(prefix="C2SDenoise-", dir=temporary_folder(), ignore_cleanup_errors=True)
        place = Path(folder.name)

        def ended(ending: events.Message) -> None:
            folder.cleanup()
            if self._folder is folder:
                self._pieces = self._task = self._folder = None
                on_end(ending)

        def submit() -> None:
            self._pieces = None
            # It is short and its process is warm: never worth a kill.
            self._task = self._worker.submit(order(place), on_end=ended, grace=job.STOP_GRACE)

        self._folder = folder
        self._pieces = Pieces(
            self._worker, write(place), submit, lambda error: ended(events.Failed("", str(error) or repr(error)))
        )

    def stop(self) -> None:
        """Forget it; files go, and `on_end` is not called."""
        pieces, task, folder = self._pieces, self._task, self._folder
        self._pieces = self._task = self._folder = None
        if pieces is not None:
            pieces.cancel()
            folder.cleanup()
        if task is not None:
            task.cancel()  # its ending takes the folder away
