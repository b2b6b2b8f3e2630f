"""The worker as a real process.

Its pipes, its orders, its end. The jobs here are small stand-ins; the pipe is what ships.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time

import pytest

from C2SCore import errors, events, worker

SCRIPT = r"""
import os, sys, time
from C2SCore import errors, events, worker

def steps(job, ctx):
    "One step each 10 ms; the source says how many."
    for i in range(int(job.source)):
        while ctx.paused():
            time.sleep(0.01)
        ctx.check()
        ctx.progress("Counting", i, int(job.source))
        time.sleep(0.01)
    ctx.progress("Counting", int(job.source), int(job.source))
    return events.Done(job.job, numbers={"pid": os.getpid()})

def pieces(job, ctx):
    "Reports after each piece, as the denoising does."
    ctx.progress("First", 1, 1)
    for i in range(4):
        time.sleep(0.25)
        ctx.progress("Second", i + 1, 4)
    return events.Done(job.job)

def noisy(job, ctx):
    print("from Python")
    os.system("echo from a child")
    os.write(1, b"from C\n")
    return events.Done(job.job)

def stubborn(job, ctx):
    time.sleep(60)

def faulty(job, ctx):
    raise {"user": errors.UserError("The value is 3; it must be 2. Change it."), "bug": KeyError("x"),
           "memory": MemoryError(), "exit": SystemExit(4)}[job.model]

sys.exit(worker.serve({events.NoiseJob: steps, events.CheckJob: noisy, events.InspectJob: stubborn, events.DenoiseJob:
faulty, events.EvidenceJob: pieces}))
"""


class Caller:
    """Starts a worker and collects what it says."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        self.errors: list[bytes] = []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def send(self, *messages: events.Message) -> None:
        for message in messages:
            self.process.stdin.write(events.encode(message).encode() + b"\n")
        self.process.stdin.flush()

    def next(self, timeout: float = 30.0) -> events.Message:
        line = self.lines.get(timeout=timeout)
        assert line is not None, b"".join(self.errors).decode()
        return events.decode(line)

    def until(self, kind, timeout: float = 30.0) -> list:
        """All messages up to the first of this kind."""
        got = [self.next(timeout)]
        while not isinstance(got[-1], kind):
            got.append(self.next(timeout))
        return got


@pytest.fixture
def caller():
    made = Caller("-c", SCRIPT)
    yield made
    made.process.stdin.close()
    made.process.kill()
    made.process.wait()


def test_says_first_who_it_is(caller):
    started = caller.next()
    assert isinstance(started, events.Started)
    assert started.pid == caller.process.pid and started.protocol == events.PROTOCOL
    assert set(started.versions) == {"C2S", "Python"}


def test_does_jobs_one_after_another_and_stays(caller):
    caller.send(events.NoiseJob("a", "3"), events.NoiseJob("b", "2"))
    got = caller.until(events.Done)
    assert {getattr(m, "job", "a") for m in got} == {"a"}
    assert caller.until(events.Done)[-1].job == "b"
    assert caller.process.poll() is None


def test_a_name_may_be_used_again(caller):
    """While the first job of that name waits, and at the moment when it has ended."""
    caller.send(events.NoiseJob("a", "1"), events.NoiseJob("a", "1"))
    for _ in range(30):
        caller.until(events.Done)
        caller.send(events.NoiseJob("a", "0"))
    assert caller.process.poll() is None


def test_progress_comes_at_most_ten_times_a_second_with_first_last_and_time_left(caller):
    caller.next()
    caller.send(events.NoiseJob("a", "100"))
    got = caller.until(events.Done)
    progress = [m for m in got if isinstance(m, events.Progress)]
    assert (progress[0].done, progress[-1].done) == (0, 100)
    assert progress[0].seconds_left is None and progress[-1].seconds_left == 0
    assert 0.3 < progress[len(progress) // 2].seconds_left < 5
    assert 3 <= len(progress) <= 40  # one second of work, more on a busy machine; without the limit there would be 101


def test_the_time_left_counts_the_first_piece_too(caller):
    caller.send(events.EvidenceJob("a", "", ""))
    left = [m.seconds_left for m in caller.until(events.Done) if isinstance(m, events.Progress) and m.stage == "Second"]
    assert 0.7 <= left[0] < 3 and left[-1] == 0  # three pieces of a quarter of a second; more on a busy machine


def test_cancel_acts_during_a_job_and_on_a_waiting_one(caller):
    caller.send(events.NoiseJob("a", "6000"), events.NoiseJob("b", "6000"), events.NoiseJob("c", "1"))
    caller.until(events.Progress)
    caller.send(events.CancelJob("b"))
    began = time.monotonic()
    caller.send(events.CancelJob("a"))
    assert caller.until(events.Cancelled)[-1].job == "a"
    print(f"cancel took {1000 * (time.monotonic() - began):.0f} ms")
    assert time.monotonic() - began < 1
    assert caller.next() == events.Cancelled("b")
    assert caller.until(events.Done)[-1].job == "c"


def test_pause_holds_a_job_and_resume_lets_it_go_on(caller):
    caller.send(events.NoiseJob("a", "60"))
    caller.until(events.Progress)
    caller.send(events.PauseJob("a", True))
    time.sleep(0.3)
    while not caller.lines.empty():
        assert not isinstance(caller.next(), events.Done)
    with pytest.raises(queue.Empty):
        caller.next(timeout=1.0)  # 60 steps would have taken 0.6 s
    caller.send(events.PauseJob("a", False))
    assert caller.until(events.Done)[-1].job == "a"


def test_a_paused_job_can_be_cancelled(caller):
    caller.send(events.NoiseJob("a", "6000"))
    caller.until(events.Progress)
    caller.send(events.PauseJob("a", True), events.CancelJob("a"))
    assert caller.until(events.Cancelled)[-1].job == "a"


def test_what_others_print_goes_to_standard_error(caller):
    caller.send(events.CheckJob("a"))
    caller.next()
    assert caller.next() == events.Done("a")
    caller.process.stdin.close()
    assert caller.process.wait(10) == 0
    printed = b"".join(caller.errors)
    assert b"from Python" in printed and b"from a child" in printed and b"from C" in printed


@pytest.mark.parametrize(
    ("model", "message", "advice"),
    [
        ("user", "The value is 3; it must be 2. Change it.", ""),
        ("bug", "KeyError: 'x'", "log"),
        ("memory", "The memory did not suffice", "Close other programs"),
        ("exit", "SystemExit: 4", "log"),
    ],
)
def test_a_failure_has_message_advice_and_traceback_and_the_worker_goes_on(caller, model, message, advice):
    caller.send(events.DenoiseJob("a", "", "", model), events.NoiseJob("b", "1"))
    failed = caller.until(events.Failed)[-1]
    assert failed.job == "a" and failed.message.startswith(message) and advice in failed.advice
    assert "in faulty" in failed.traceback
    assert caller.until(events.Done)[-1].job == "b"


def test_lines_that_are_no_job_do_no_harm(caller):
    caller.next()
    caller.process.stdin.write(b'hello\n\n{"type": "DenoiseJob"}\n\xff\xfe\n')
    caller.send(events.Done("x"), events.CancelJob("unknown"), events.NoiseJob("a", "1"))
    got = caller.until(events.Done)
    assert [m for m in got if isinstance(m, events.Failed)] == []
    assert len([m for m in got if isinstance(m, events.Log)]) == 3


@pytest.mark.parametrize(
    "job", [None, events.NoiseJob("a", "6000"), events.InspectJob("a", ())], ids=["idle", "busy", "stubborn"]
)
def test_ends_when_its_input_closes(caller, job):
    caller.next()
    if job:
        caller.send(job)
        time.sleep(0.2)
    began = time.monotonic()
    caller.process.stdin.close()
    assert caller.process.wait(worker.GRACE + 5) == 0
    print(f"ended {time.monotonic() - began:.2f} s after its input closed")


def test_the_worker_that_ships_starts_by_both_names_without_torch():
    for arguments in (("-m", "C2SCore", "worker"), ("-m", "C2SCore.worker")):
        began = time.monotonic()
        made = Caller(*arguments)
        started = made.next()
        print(arguments, f"first line after {time.monotonic() - began:.2f} s")
        assert isinstance(started, events.Started) and started.pid == made.process.pid
        made.process.stdin.close()
        assert made.process.wait(10) == 0


def test_explanations_name_the_file():
    try:
        open(os.path.join("nowhere", "at all.npy"))
    except OSError as error:
        assert "at all.npy" in worker.explain(error)[0]
    assert worker.explain(OSError(28, "No space left on device"))[1].startswith("Free some space")
    assert worker.explain(RuntimeError("CUDA error: out of memory\nmore"))[1].startswith("Close other programs")
    assert "h5py" in worker.explain(ModuleNotFoundError("No module named 'h5py'", name="h5py"))[0]
    assert worker.explain(errors.UserError("text")) == ("text", "")
