"""The worker process seen from Slicer: give it jobs, watch, cancel, wait. No Qt: somebody else calls `Worker.poll`.

One worker process serves one Slicer session and stays warm: torch and the model load once. Messages arrive through
reader threads and a queue; `Worker.poll`, called by a timer or by `Task.wait`, hands them out on the thread that
calls it, so callbacks may touch the scene. Slicer's main thread holds Python's lock while its event loop is idle, and
gives it away only when Python code runs on it: there the readers, and the thread that writes what is sent, do their
work during the polls, which is enough.

Stopping has three floors, because of the launcher in between (see `process`): a cancel line, which the job obeys
between two batches; the end of the worker's input, on which it ends; and a hard kill of all that was started.
"""

from __future__ import annotations

import collections
import queue
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable

from C2SCore import events
from C2SSlicer import process as processes

CANCEL_GRACE = 0.8  # seconds that a job has to obey a cancel line before its process is killed
STOP_GRACE = 30.0  # the same for a training, which first saves what it has
GONE = 1.0  # seconds in which a killed process goes: Windows removes no file that it still holds
LOG_LINES = 500


class Task:
    """One job that was given to a worker. `ending` is None until it has ended, then `Done`, `Failed` or `Cancelled`."""

    def __init__(
        self,
        worker: Worker,
        job: events.Job,
        on_message: Callable[[events.Message], None] | None,
        on_end: Callable[[events.Message], None] | None,
        grace: float,
    ) -> None:
        self.job = job
        self.ending: events.Message | None = None
        self._worker, self._on_message, self._on_end, self._grace = worker, on_message, on_end, grace
        self.deadline: float | None = None  # when a cancelled job's process is killed
        self.heard = self.repeated = False  # the process has spoken of it; it was given a second time

    @property
    def finished(self) -> bool:
        return self.ending is not None

    def cancel(self) -> None:
        """Ask the job to stop; if it does not within its grace, the process is killed (at one of the next polls)."""
        if not self.finished and self.deadline is None:
            self.deadline = time.monotonic() + self._grace
            self._worker.send(events.CancelJob(self.job.job))
            self._worker.drop_waiting(self)

    def pause(self, paused: bool = True) -> None:
        if not self.finished:
            self._worker.send(events.PauseJob(self.job.job, paused))

    def wait(self, timeout: float | None = None) -> events.Message | None:
        """Block until the job has ended and return its ending; None if `timeout` seconds did not suffice."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.finished and (until is None or time.monotonic() < until):
            self._worker.poll(wait=0.05)
        return self.ending

    def message(self, message: events.Message) -> None:
        self.heard = True
        self._call(self._on_message, message)

    def end(self, ending: events.Message) -> None:
        if not self.finished:
            self.ending, on_end = ending, self._on_end
            # Whoever gave them may be done with: in a circle, its volumes would stay until the next full collection.
            self._on_message = self._on_end = None
            self._call(on_end, ending)

    def _call(self, callback: Callable[[events.Message], None] | None, message: events.Message) -> None:
        """A fault in a callback must stop neither the timer nor the other tasks."""
        try:
            if callback is not None:
                callback(message)
        except Exception:
            traceback.print_exc()


class Worker:
    """A worker process that is started at the first job and again after a crash.

    Parameters
    ----------
    command : program and arguments; by default Slicer's Python running C2SCore's worker.
    on_busy : called with True when the first job comes and with False when the last has ended: starts and stops the
    timer. on_log : called with every line that is no message (prints and warnings of libraries). program : what
    messages call it.
    """

    def __init__(
        self,
        command: list[str] | None = None,
        on_busy: Callable[[bool], None] | None = None,
        on_log: Callable[[str], None] | None = None,
        program: str = "denoising program",
    ) -> None:
        self._program = program
        self._command = command
        self.on_busy, self.on_log = on_busy, on_log
        self.log: collections.deque[str] = collections.deque(maxlen=LOG_LINES)
        self._errors: collections.deque[str] = collections.deque(maxlen=LOG_LINES)  # of it, what came by standard error
        self.started: events.Started | None = None
        self._process: processes.Process | None = None
        # (process, message), (process, line of standard error), or (process, exit code) at its end
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._tasks: dict[str, Task] = {}  # unfinished ones, oldest first: the oldest is the one that runs
        self._later: collections.deque[Callable[[], None]] = collections.deque()

    @property
    def busy(self) -> bool:
        return bool(self._tasks or self._later)

    @property
    def running(self) -> bool:
        """Whether the process is there, warm."""
        return self._process is not None and self._process.poll() is None

    def submit(
        self,
        job: events.Job,
        on_message: Callable[[events.Message], None] | None = None,
        on_end: Callable[[events.Message], None] | None = None,
        grace: float | None = None,
    ) -> Task:
        """Queue a job; the callbacks get its messages and, once, its ending."""
        if grace is None:
            grace = STOP_GRACE if isinstance(job, events.TrainJob) else CANCEL_GRACE
        task = Task(self, job, on_message, on_end, grace)
        was_busy, self._tasks[job.job] = self.busy, task
        if not was_busy and self.on_busy:
            self.on_busy(True)
        self._give(task)
        return task

    def defer(self, step: Callable[[], None]) -> None:
        """Do a piece of work at the next poll: between two pieces the window can answer."""
        was_busy = self.busy
        self._later.append(step)
        if not was_busy and self.on_busy:
            self.on_busy(True)

    def send(self, message: events.Message) -> None:
        """Give one line to the process; one that has just died is noticed by `poll`, not here."""
        if self._process is not None:
            self._process.give(events.encode(message).encode("ascii") + b"\n")

    def drop_waiting(self, task: Task) -> None:
        """A job that still waits for others ends at once when it is cancelled; the worker will skip it."""
        if next(iter(self._tasks.values()), task) is not task:
            self._finish(task, events.Cancelled(task.job.job))

    def poll(self, wait: float = 0.0) -> None:
        """One deferred step, if there is one, and what has arrived.

        `wait`: seconds to stay for the first message if there is nothing to do.
        """
        if self._later:
            wait = 0.0
            try:
                self._later.popleft()()
            finally:
                if not self.busy and self.on_busy:
                    self.on_busy(False)
        while True:
            try:
                process, item = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            wait = 0.0
            if process is not self._process:
                continue  # a process that was given up
            if isinstance(item, int):
                self._died(item)
            elif isinstance(item, str):
                self._errors.append(item)
                self._note(item)
            else:
                self._received(item)
        now = time.monotonic()
        if any(task.deadline is not None and now > task.deadline for task in self._tasks.values()):
            self._give_up()

    def close(self, wait: float = 0.0) -> None:
        """End the process by closing its input; jobs that run are cancelled. A later job starts it anew.

        `wait`: seconds until the process must be gone; then it is killed.
        """
        process, started, self._process, self.started = self._process, self.started, None, None
        if process is not None:
            process.end_input()
        for task in list(self._tasks.values()):
            self._finish(task, events.Cancelled(task.job.job))
        if process is not None and wait and not process.ended(wait):
            processes.kill(process, started.pid if started else None)
            process.ended(wait)

    def abandon(self) -> None:
        """End the process by closing its input, and tell nobody."""
        if self._process is not None:
            self._process.end_input()

    def kill(self) -> None:
        """End the process at once, with all that it started; as for `close`, running jobs are cancelled."""
        process, started = self._process, self.started
        self.close()
        if process is not None:
            processes.kill(process, started.pid if started else None)

    # ---- what happens to the process

    def _ensure(self) -> None:
        if self.running:
            return
        self.started = None
        self.log.clear()
        self._errors.clear()
        self._process = processes.Process(self._line())
        log = threading.Thread(target=self._read_log, args=(self._process,), daemon=True)
        log.start()
        threading.Thread(target=self._read_messages, args=(self._process, log), daemon=True).start()

    def _line(self) -> list[str]:
        """Program and arguments. Not before it is needed: a module that Slicer opens at its start is there before
        `sys.executable` names Slicer's Python.
        """
        return self._command or [shutil.which("PythonSlicer") or sys.executable, "-u", "-m", "C2SCore.worker"]

    def _read_messages(self, process: processes.Process, log: threading.Thread) -> None:
        """Thread: messages into the queue; at the end of the output, the exit code, after the last lines of the log."""
        with process.stdout:
            for line in process.stdout:
                self._queue.put((process, events.decode(line)))
        process.end_input()
        log.join(1.0)
        self._queue.put((process, process.wait()))

    def _read_log(self, process: processes.Process) -> None:
        with process.stderr:
            for line in process.stderr:
                self._queue.put((process, line.decode("utf-8", errors="replace").rstrip("\r\n")))

    def _note(self, text: str) -> None:
        self.log.append(text)
        if self.on_log:
            self.on_log(text)

    def _received(self, message: events.Message) -> None:
        if isinstance(message, events.Started):
            self.started = message
            return
        if isinstance(message, events.Log) and message.job not in self._tasks:
            self._note(message.text)
            return
        task = self._tasks.get(getattr(message, "job", ""))
        if task is None:
            return
        if isinstance(message, events.ENDINGS):
            self._finish(task, message)
        elif task.deadline is None:  # a cancelled job has nothing more to say
            task.message(message)

    def _finish(self, task: Task, ending: events.Message) -> None:
        was_busy = self._tasks.pop(task.job.job, None) is not None
        task.end(ending)
        if was_busy and not self.busy and self.on_busy:
            self.on_busy(False)

    def _died(self, code: int) -> None:
        """The process is gone by itself: the job that ran has failed, those that waited get a new process.

        A job that the process never spoke of was given to one that was dead already: once, it counts as waiting.
        """
        never_started, self._process, self.started = self.started is None, None, None
        waiting = list(self._tasks.values())
        lost = waiting if never_started else waiting[:1]
        last = [line for line in self.log if line.strip()][-30:]
        message = f"The {self._program} stopped unexpectedly ({processes.describe_exit(code, last)})."
        # Not its messages: a note that it gave long before is no last word.
        words = [line for line in self._errors if line.strip() and processes.LAUNCHER_CRASH not in line]
        if words and code not in processes.KILLED:
            message += f" Its last line was: {words[-1]}"
        advice = processes.advice_for_exit(code, last)
        for task in lost:
            if not (never_started or task.heard or task.repeated):
                task.repeated = True
            elif task.deadline is not None:
                self._finish(task, events.Cancelled(task.job.job))
            else:
                self._finish(task, events.Failed(task.job.job, message, advice, "\n".join(last)))
        self._restart([task for task in waiting if not task.finished])

    def _give_up(self) -> None:
        """A cancelled job did not obey in time: kill the process, keep the other jobs."""
        process, started, self._process, self.started = self._process, self.started, None, None
        if process is not None:
            process.end_input()
            processes.kill(process, started.pid if started else None)
            process.ended(GONE)
        tasks = list(self._tasks.values())
        for task in tasks:
            if task.deadline is not None:
                self._finish(task, events.Cancelled(task.job.job))
        self._restart([task for task in tasks if not task.finished])

    def _restart(self, tasks: list[Task]) -> None:
        for task in tasks:
            self._give(task)

    def _give(self, task: Task) -> None:
        """Hand a task to the process, which is started if it does not run."""
        try:
            self._ensure()
            self.send(task.job)
        except OSError as error:
            advice = f"Check that {self._line()[0]} exists and may be run; reinstall the extension if not."
            message = f"The {self._program} could not be started: {error}."
            self._finish(task, events.Failed(task.job.job, message, advice))
