"""How processes end in order: when they are told to, and together with the one that started them."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import NoReturn

TERMINATED = 128 + 15  # exit code after SIGTERM, as shells give it
GRACE = 5.0  # seconds that a process has to clear up


@contextmanager
def terminated_in_order() -> Iterator[None]:
    """SIGTERM raises `SystemExit` here, so that partial files and child processes go; not outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def follow_parent() -> None:
    """In a process of a pool: Ctrl-C is the parent's business, SIGTERM ends in order, and no parent means no child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def end_all(processes: Sequence[BaseProcess]) -> None:
    """Ends child processes: in order where they can within `GRACE`, else by force."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(TERMINATED)


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
