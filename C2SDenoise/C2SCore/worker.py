"""The worker: jobs come in as JSON lines on standard input, messages go out as JSON lines on standard output (see
`events`).

    python -u -m C2SCore worker

It stays alive between jobs, so that torch and the model load once. Its first line is `Started` with its own process
id. A reader thread sees orders (cancel, pause) while a job runs. When its input closes it ends, also in the middle of
a job: a caller that dies leaves no orphan. Whatever a library prints goes to standard error and cannot tear the
messages.
"""

from __future__ import annotations

import errno
import os
import platform
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import C2SCore
from C2SCore import errors, events
from C2SCore.threads import share_cores

GRACE = 3.0  # seconds that a running job has to stop by itself once the input has closed
PROGRESS_INTERVAL = 0.1  # seconds between two progress messages of one stage


@dataclass
class Orders:
    """What the caller has ordered about one job; written by the reader thread, read by the job."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    paused: threading.Event = field(default_factory=threading.Event)


class Context:
    """What a running job sees of the worker: it reports through this, and asks whether it should go on."""

    def __init__(self, job: events.Job, orders: Orders, send: Callable[[events.Message], None]) -> None:
        self.job = job.job
        self.send = send
        self.device = ""
        self._orders = orders
        self._stage = ""
        self._began = self._sent = 0.0
        self._called = time.monotonic()

    def cancelled(self) -> bool:
        return self._orders.cancelled.is_set()

    def paused(self) -> bool:
        return self._orders.paused.is_set() and not self.cancelled()

    def check(self) -> None:
        """Raise `Cancelled` if the job was given up: for between two pieces of work."""
        if self.cancelled():
            raise errors.Cancelled

    def progress(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Report.

        Dropped when the last report of the same stage is less than `PROGRESS_INTERVAL` old, but for first and last.
        """
        now = time.monotonic()
        if stage != self._stage:
            # A stage whose first report comes after its first piece began when the stage before it ended.
            self._stage, self._began, self._sent = stage, self._called if done else now, 0.0
        self._called = now
        if now - self._sent < PROGRESS_INTERVAL and not (total and done >= total):
            return
        self._sent = now
        left = (now - self._began) / done * (total - done) if 0 < done <= total else None
        self.send(events.Progress(self.job, stage, int(done), int(total), left, self.device))


Handler = Callable[[Any, Context], events.Done]


class Worker:
    """Runs jobs one after another; `handlers` says which function does which kind of job."""

    def __init__(self, source: BinaryIO, sink: BinaryIO, handlers: Mapping[type, Handler]) -> None:
        self._source, self._sink, self._handlers = source, sink, handlers
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[events.Job, Orders] | None] = queue.SimpleQueue()
        self._orders: dict[str, Orders] = {}  # of the jobs that have not ended
        self._ended = threading.Event()

    def run(self) -> int:
        """Work until the input closes."""
        self.send(
            events.Started(os.getpid(), versions={"C2S": C2SCore.__version__, "Python": platform.python_version()})
        )
        threading.Thread(target=self._read, name="orders", daemon=True).start()
        while (given := self._jobs.get()) is not None:
            job, orders = given
            ending = self._perform(job, orders)
            # Before the ending is told: a caller that hears it may use the name again at once.
            if self._orders.get(job.job) is orders:
                del self._orders[job.job]
            self.send(ending)
        self._ended.set()
        return 0

    def send(self, message: events.Message) -> None:
        """Write one line, whole; a caller that has gone away ends the worker."""
        data = events.encode(message).encode("ascii") + b"\n"
        try:
            with self._lock:
                self._sink.write(data)
                self._sink.flush()
        except (OSError, ValueError):
            os._exit(0)

    def _perform(self, job: events.Job, orders: Orders) -> events.Message:
        """Do one job; its last message is returned, whatever happens."""
        if orders.cancelled.is_set():
            return events.Cancelled(job.job)
        handler = self._handlers.get(type(job))
        if handler is None:
            return events.Failed(
                job.job, f"This worker does no {type(job).__name__}.", "Restart the program after its update."
            )
        try:
            return handler(job, Context(job, orders, self.send))
        except errors.Cancelled:
            return events.Cancelled(job.job)
        except (Exception, SystemExit) as error:
            message, advice = explain(error)
            return events.Failed(job.job, message, advice, traceback.format_exc())

    def _read(self) -> None:
        """Reader thread: queue jobs, obey orders at once; at the end of the input stop everything."""
        try:
            for line in self._source:
                self._obey(events.decode(line))
        except OSError:
            pass  # the pipe broke: the same as its end
        for orders in list(self._orders.values()):
            orders.cancelled.set()
        self._jobs.put(None)
        self._ended.wait(GRACE)
        os._exit(0)

    def _obey(self, message: events.Message) -> None:
        if isinstance(message, events.JOBS):
            orders = self._orders[message.job] = Orders()
            self._jobs.put((message, orders))
        elif isinstance(message, (events.CancelJob, events.PauseJob)):
            given = self._orders.get(message.job)  # asked once: the job may end at any time
            if given is None:
                return
            if isinstance(message, events.CancelJob):
                given.cancelled.set()
            else:
                given.paused.set() if message.paused else given.paused.clear()
        elif isinstance(message, events.Log) and message.text.strip():
            self.send(events.Log(f"This line is no job and is left out: {message.text[:200]}"))


def explain(error: BaseException) -> tuple[str, str]:
    """What happened and what to do about it, for a person."""
    text = str(error) or type(error).__name__
    if isinstance(error, errors.UserError):
        return text, ""
    if isinstance(error, ModuleNotFoundError):
        return (
            f"The Python package {error.name} is missing.",
            "Install it; inside 3D Slicer the module offers to do so at Apply.",
        )
    if errors.out_of_memory(error):
        advice = "Close other programs, choose the processor (CPU) as device, or crop the volume, and apply again."
        return f"The memory did not suffice: {text.splitlines()[0]}", advice
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: {text}",
            "Free some space, or choose another folder for temporary files, and start again.",
        )
    if isinstance(error, FileNotFoundError):
        return f"The file {error.filename} does not exist.", "Check that it was not moved or deleted, and start again."
    if isinstance(error, PermissionError):
        return (
            f"The file {error.filename} may not be read or written.",
            "Choose another folder, or change its permissions.",
        )
    return (
        f"{type(error).__name__}: {text}",
        "The log has the details. If it happens again, please report it with the log.",
    )


def take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input and output for the messages alone; from now on `print` writes to standard error, also from
    C code.

    Standard input is replaced too: on Windows, a thread that waits at an inherited pipe blocks the loading of
    libraries that look at the standard handles.
    """
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(source, "rb"), os.fdopen(sink, "wb")


def serve(handlers: Mapping[type, Handler]) -> int:
    """Be a worker on this process's standard input and output until the input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a shared terminal is for the caller, whose end we will see
    source, sink = take_over_pipes()
    return Worker(source, sink, handlers).run()


def main() -> int:
    """Be the worker that Slicer starts; returns the exit code."""
    share_cores()
    from C2SCore import jobs

    return serve(jobs.HANDLERS)


if __name__ == "__main__":
    sys.exit(main())
