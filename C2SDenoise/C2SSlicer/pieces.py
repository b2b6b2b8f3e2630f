"""Long work on Slicer's main thread, done in pieces between which the window answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from C2SSlicer.client import Worker

BUDGET = 0.015  # seconds of work at each poll of the worker


class Pieces:
    """Does `work`, a generator that yields between two pieces, at the worker's polls; then calls `then`.

    An exception of `work` or `then` goes to `failed`. One piece should take less than 10 ms.
    """

    def __init__(
        self,
        worker: Worker,
        work: Iterator[None],
        then: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._worker, self._work, self._then, self._failed = worker, work, then, failed
        self._cancelled = False
        worker.defer(self._step)

    def cancel(self) -> None:
        """Do no more of it; neither `then` nor `failed` is called."""
        self._cancelled = True
        self._work.close()

    def _step(self) -> None:
        if self._cancelled:
            return
        end = time.perf_counter() + BUDGET
        try:
            for _ in self._work:
                if time.perf_counter() > end:
                    self._worker.defer(self._step)
                    return
            self._then()
        except Exception as error:
            self._failed(error)
