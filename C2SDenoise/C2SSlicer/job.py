"""Jobs for the worker processes of this Slicer session: what the modules use.

The session has a worker by name: one for denoising, one for trainings, one for looking at scans. Each is polled by a
timer while it has work.
"""

from __future__ import annotations

import atexit
import itertools
import os

from C2SSlicer.client import CANCEL_GRACE, LOG_LINES, STOP_GRACE, Task, Worker

__all__ = [
    "CANCEL_GRACE",
    "LOG_LINES",
    "STOP_GRACE",
    "Task",
    "Worker",
    "busy",
    "close",
    "close_all",
    "new_id",
    "shared",
]

POLL_INTERVAL = 20  # milliseconds between two polls while there is work
PROGRAMS = {"train": "training", "inspect": "reading of scans"}  # what messages call a worker that does not denoise

_ids = itertools.count(1)
_WORKERS: dict[str, Worker] = {}


def new_id() -> str:
    """An identifier for a job, unique in this process and telling of it."""
    return f"{os.getpid()}-{next(_ids)}"


def shared(name: str = "denoise") -> Worker:
    """The session's worker of this name; trainings use one of their own."""
    if name not in _WORKERS:
        worker = Worker(program=PROGRAMS.get(name, "denoising program"))
        _attach_timer(worker)
        _WORKERS[name] = worker
    return _WORKERS[name]


def busy(name: str) -> bool:
    """Whether the session's worker of this name has something to do."""
    return name in _WORKERS and _WORKERS[name].busy


def close(name: str = "denoise", wait: float = 0.0) -> None:
    """End the session's worker of this name; the next job starts another. `wait`: see `Worker.close`."""
    if name in _WORKERS:
        _WORKERS[name].close(wait)


def close_all(wait: float = 0.0) -> None:
    """End all workers of the session."""
    for name in list(_WORKERS):
        close(name, wait)


def _attach_timer(worker: Worker) -> None:
    import qt

    timer = qt.QTimer()
    timer.setInterval(POLL_INTERVAL)

    def tick() -> None:  # no optional parameter, which a signal might fill
        worker.poll()

    timer.timeout.connect(tick)

    def busy(is_busy: bool) -> None:
        timer.start() if is_busy else timer.stop()

    worker.on_busy = busy


def _abandon_all() -> None:
    """Python ends: the processes too. Nobody is told, for windows, timers and scene are gone by now."""
    for worker in _WORKERS.values():
        worker.abandon()


atexit.register(_abandon_all)
