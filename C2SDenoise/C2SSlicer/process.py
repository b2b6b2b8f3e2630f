"""The worker's process as the operating system sees it: start, end of input, kill, and what an exit code means.

Inside Slicer `sys.executable` is a launcher: it starts the interpreter, hands its pipes on, waits, and gives its exit
code back. It passes no kill on, and where the interpreter was killed or crashed it says so in a line and exits with 1.
So a kill goes to all that was started, and that line stands for the exit code.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from C2SCore import events

KILLED = (-9, 137)  # exit codes of a process that another has killed: it had no time for a last word
LAUNCHER_CRASH = "exit abnormally"  # in the line of Slicer's launcher about an interpreter that crashed or was killed


class Process(subprocess.Popen):
    """The process with three pipes, the core on its path, UTF-8 everywhere, and no console window on Windows.

    A thread writes its input: a pipe of Windows holds 4 KB, a job is longer, and a process that has just been started
    reads it only after seconds.
    """

    def __init__(self, command: list[str]) -> None:
        folder = str(Path(events.__file__).resolve().parent.parent)
        environment = dict(os.environ, PYTHONUTF8="1", PYTHONIOENCODING="utf-8")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))
        super().__init__(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,  # the present folder may hold a file named like a library, which would be imported instead
            env=environment,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            start_new_session=True,  # a group of its own, which can be killed as a whole; nothing on Windows
        )
        # Without Python's buffer, whose lock a thread that still waits at the end of Python would not give back.
        self._pipe, self.stdin = self.stdin.detach(), None
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._writing = threading.Lock()
        threading.Thread(target=self._write, daemon=True).start()

    def give(self, line: bytes) -> None:
        """Write a line to its input, after those before it; one that has died takes it and says nothing."""
        self._lines.put(line)

    def end_input(self) -> None:
        """A worker ends when its input does. At once, unless a line is being written: then after that line."""
        self._lines.put(b"")
        if self._writing.acquire(blocking=False):
            self._pipe.close()
            self._writing.release()

    def ended(self, wait: float) -> bool:
        """Whether it has ended; stays for so many seconds until it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(wait)
        return self.returncode is not None

    def _write(self) -> None:
        """Thread: until the input is ended, or nobody reads it any more."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it was closed meanwhile
            while line := self._lines.get():
                with self._writing:
                    rest = memoryview(line)
                    while rest:
                        rest = rest[self._pipe.write(rest) :]
        self._pipe.close()


def kill(process: Process, announced: int | None) -> None:
    """Kill what was started: launcher and interpreter. `announced`: the interpreter's own process id, if it said so."""
    if process.poll() is not None:
        return
    if sys.platform == "win32":
        # The interpreter first: once its launcher is gone, it is nobody's child and not found any more.
        for pid in dict.fromkeys(filter(None, (announced, process.pid))):
            command = ["taskkill", "/PID", str(pid), "/T", "/F"]
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, creationflags=0x08000000)
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # the latter on macOS, of one that has ended just now
            pass


def describe_exit(code: int, last: Sequence[str] = ()) -> str:
    """An exit code in words; `last`: the last lines that were said, the launcher's among them."""
    if code < 0:
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    if said_by_launcher(code, last):
        return "it crashed or was killed"
    return f"exit code {code}" if code < 2**31 else f"exit code {code:#x}"


def advice_for_exit(code: int, last: Sequence[str] = ()) -> str:
    """What to do about it: a kill from outside is nearly always the system short of memory."""
    if code in KILLED:
        return "The memory probably did not suffice: close other programs or crop the volume, then apply again."
    if said_by_launcher(code, last):
        return "Perhaps the memory did not suffice: close other programs or crop the volume, then apply again."
    return "Apply again; if it stops again, the log says more, and the installation can be repaired under Model."


def said_by_launcher(code: int, last: Sequence[str]) -> bool:
    return code == 1 and any(LAUNCHER_CRASH in line for line in last)
