"""What every step of a training needs, made by threads ahead of its use."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

from C2SCore.threads import cores

T = TypeVar("T")
MOST_THREADS = 2  # on an H100 one sufficed; with three, which take Python's lock from it, training was a sixth slower
AHEAD = 2  # steps for each thread


def threads_for(kind: str) -> int:
    """For a GPU two threads draw, where there is a core for the second; for a processor that computes itself, one."""
    return 1 if kind == "cpu" else max(1, min(MOST_THREADS, cores() - 1))


class Feeder(Generic[T]):
    """Context that hands out `make(step)`, for steps that follow one another.

    `make` is called in `threads` threads at once and must depend on nothing but the step.
    """

    def __init__(self, make: Callable[[int], T], threads: int) -> None:
        self._make, self._ahead = make, AHEAD * threads
        self._pool = ThreadPoolExecutor(threads, "feed")
        self._coming: dict[int, Future[T]] = {}

    def __enter__(self) -> Feeder[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is being made is waited for: it may read files that are removed next.
        self._pool.shutdown(wait=True, cancel_futures=True)

    def get(self, step: int) -> T:
        """What was made for this step; raises what `make` raised."""
        for n in range(step, step + self._ahead):
            if n not in self._coming:
                self._coming[n] = self._pool.submit(self._make, n)
        return self._coming.pop(step).result()
