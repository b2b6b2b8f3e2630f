"""Jobs seen from Slicer: warm process, cancel, crash, launcher, end. No Qt and no scene are needed."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import time
import weakref

import pytest

from C2SCore import events
from C2SSlicer import job

WORKER = r"""
import os, sys, time
from C2SCore import events, worker

def check(job, ctx):
    return events.Done(job.job, numbers={"pid": os.getpid(), "path": os.environ["PYTHONPATH"]})

def denoise(job, ctx):
    if job.model == "crash":
        print("Fehler: Gerät fällt aus", flush=True)
        os.abort()
    if job.model == "noted":
        ctx.send(events.Log("Only 4 slices. Add scans."))
        time.sleep(0.2)
        os.abort()
    if job.model == "talkative":
        for number in range(500):
            print("line", number, flush=True)
        return events.Done(job.job)
    if job.model == "stubborn":
        ctx.progress("x", 0, 1)
        time.sleep(60)
    for i in range(int(job.source)):
        ctx.check()
        ctx.progress("x", i, int(job.source))
        time.sleep(0.01)
    return events.Done(job.job)

sys.exit(worker.serve({events.CheckJob: check, events.DenoiseJob: denoise}))
"""
# What Slicer's launcher does: starts the interpreter, hands its pipes on, but passes no kill on. Of a crash it gives
# no exit code, but a line.
LAUNCHER = r"""
import subprocess, sys
code = subprocess.call([sys.executable, "-u", "-c", sys.argv[1]])
if code < 0:
    print(f"error: [{sys.executable}] exit abnormally - Report the problem.", file=sys.stderr)
sys.exit(code if code >= 0 else 1)
"""
PLAIN = [sys.executable, "-u", "-c", WORKER]
LAUNCHED = [sys.executable, "-u", "-c", LAUNCHER, WORKER]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # a zombie has ended; only Linux says so
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it went just now; or a system without /proc
        return not os.path.isdir("/proc")


def gone(pid: int, seconds: float = 6.0) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def denoise(source: str = "1", model: str = "") -> events.DenoiseJob:
    return events.DenoiseJob(job.new_id(), source, "", model)


def check() -> events.CheckJob:
    return events.CheckJob(job.new_id())


@pytest.fixture(params=[PLAIN, LAUNCHED], ids=["direct", "launcher"])
def worker(request):
    made = job.Worker(request.param)
    yield made
    made.kill()


def test_one_process_serves_all_jobs(worker):
    first, second = (worker.submit(check()) for _ in range(2))
    assert first.wait(20).numbers["pid"] == second.wait(20).numbers["pid"] == worker.started.pid
    assert "C2SDenoise" in first.ending.numbers["path"]


def test_messages_and_ending_reach_the_callbacks_in_order(worker):
    heard = []
    task = worker.submit(denoise("30"), heard.append, heard.append)
    task.wait(20)
    assert [type(m) for m in heard[:-1]] == [events.Progress] * (len(heard) - 1) and len(heard) > 2
    assert heard[-1] == events.Done(task.job.job)


def test_busy_is_told_at_both_ends():
    told = []
    made = job.Worker(PLAIN, on_busy=told.append)
    tasks = [made.submit(check()) for _ in range(2)]
    assert told == [True]
    for task in tasks:
        task.wait(20)
    assert told == [True, False]
    made.kill()


def test_cancel_by_line_keeps_the_process_warm(worker):
    pid = worker.submit(check()).wait(20).numbers["pid"]
    task = worker.submit(denoise("6000"))
    while worker._queue.empty():
        time.sleep(0.01)
    began = time.monotonic()
    task.cancel()
    assert task.wait(5) == events.Cancelled(task.job.job)
    print(f"cancel took {1000 * (time.monotonic() - began):.0f} ms")
    assert time.monotonic() - began < 1
    assert worker.submit(check()).wait(20).numbers["pid"] == pid


def test_a_job_that_does_not_obey_is_killed(worker):
    """The interpreter too, at once: it would end by itself some seconds after its input."""
    pid = worker.submit(check()).wait(20).numbers["pid"]
    stuck, waiting = worker.submit(denoise(model="stubborn")), worker.submit(check())
    time.sleep(0.1)
    worker.poll()
    began = time.monotonic()
    stuck.cancel()
    assert isinstance(stuck.wait(5), events.Cancelled)
    assert time.monotonic() - began < 1
    assert gone(pid, 1.0)
    assert waiting.wait(20).numbers["pid"] != pid  # what waited is done by a new process


def test_a_killed_process_is_gone_before_that_is_told(worker):
    """Whoever hears it removes the files that it had open."""
    worker.submit(check()).wait(20)
    process, codes = worker._process, []
    stuck = worker.submit(denoise(model="stubborn"), on_end=lambda ending: codes.append(process.returncode))
    time.sleep(0.1)
    stuck.cancel()
    assert isinstance(stuck.wait(5), events.Cancelled)
    assert len(codes) == 1 and codes[0] is not None


def test_a_kill_reaches_a_process_that_has_not_announced_itself(tmp_path):
    """It hangs while it starts, under a launcher; nobody knows its process id but itself."""
    said = tmp_path / "pid"
    hang = f"import os, time, pathlib; pathlib.Path({str(said)!r}).write_text(str(os.getpid())); time.sleep(60)"
    made = job.Worker([sys.executable, "-u", "-c", LAUNCHER, hang])
    made.submit(check())
    end = time.monotonic() + 20
    while not (said.exists() and said.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    assert made.started is None
    made.kill()
    assert gone(int(said.read_text()), 1.0)


@pytest.mark.skipif(os.name == "nt", reason="needs a C function that sleeps")
def test_messages_arrive_while_the_event_loop_keeps_pythons_lock(worker):
    """Slicer's main thread keeps it while it waits for events; the reader threads get it only during the polls."""
    worker.submit(check()).wait(20)
    sleep = ctypes.PyDLL(None).usleep  # unlike time.sleep, this does not give the lock away
    task, polls, lines = worker.submit(denoise(model="talkative")), 0, []
    # The ending may overtake the last lines, which come through a pipe of their own.
    while not (task.finished and len(lines) == 500) and polls < 500:
        sleep(20_000)
        worker.poll()
        polls += 1
        lines = [line for line in worker.log if line.startswith("line")]
    print(f"500 lines and the ending within {polls} polls, 20 ms apart")
    assert isinstance(task.ending, events.Done)
    assert lines == [f"line {n}" for n in range(500)]
    assert polls < 100


@pytest.mark.skipif(os.name == "nt", reason="needs a C function that sleeps")
def test_a_cancel_leaves_while_the_event_loop_keeps_pythons_lock(worker):
    """The writer gets it during the polls too: the job has time to obey."""
    sleep = ctypes.PyDLL(None).usleep
    task = worker.submit(denoise("6000"))
    while not task.heard:
        worker.poll(wait=0.01)
    task.cancel()
    polls = 0
    while not task.finished and polls < 100:
        sleep(20_000)
        worker.poll()
        polls += 1
    print(f"cancelled within {polls} polls, 20 ms apart")
    assert isinstance(task.ending, events.Cancelled) and worker.running and polls < 20


def test_a_waiting_job_is_cancelled_at_once(worker):
    running, waiting = worker.submit(denoise("200")), worker.submit(denoise("6000"))
    waiting.cancel()
    assert waiting.finished and isinstance(waiting.ending, events.Cancelled)
    assert isinstance(running.wait(20), events.Done)


LONG = "x" * 1_000_000  # more than a pipe holds


@pytest.fixture
def late():
    """A worker that reads its input a while after its start, as one that imports torch first."""
    made = job.Worker([sys.executable, "-u", "-c", f"import time; time.sleep(1.5)\n{WORKER}"])
    yield made
    made.kill()


def test_a_long_job_is_given_without_waiting(late):
    """The caller is the thread of the window."""
    began = time.monotonic()
    first, second = late.submit(denoise("3", LONG)), late.submit(denoise("6000", LONG))
    assert time.monotonic() - began < 0.5
    assert isinstance(first.wait(20), events.Done)
    while not second.heard:
        late.poll(wait=0.01)
    second.cancel()
    assert isinstance(second.wait(5), events.Cancelled) and late.running


@pytest.mark.parametrize("end", ["close", "kill", "cancel"])
def test_what_is_being_given_can_be_given_up(late, end):
    """Nothing waits, and neither process nor thread is left."""
    before = set(threading.enumerate())
    task = late.submit(denoise("6000", LONG))
    pid = late._process.pid
    time.sleep(0.2)
    began = time.monotonic()
    task.cancel() if end == "cancel" else getattr(late, end)()
    assert time.monotonic() - began < 0.2
    assert isinstance(task.wait(5), events.Cancelled)
    assert gone(pid)
    until = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < until:
        late.poll(wait=0.02)
    assert not set(threading.enumerate()) - before


def test_closing_ends_the_process_by_its_input(worker):
    pid = worker.submit(check()).wait(20).numbers["pid"]
    task = worker.submit(denoise("6000"))
    worker.close()
    assert isinstance(task.ending, events.Cancelled)
    assert gone(pid)


def test_a_crash_fails_the_job_with_its_last_words_and_the_next_job_works(worker):
    lost, waiting = worker.submit(denoise(model="crash")), worker.submit(check())
    failed = lost.wait(20)
    assert isinstance(failed, events.Failed)
    assert "SIGABRT" in failed.message or "crashed or was killed" in failed.message
    assert "Its last line was: Fehler: Gerät fällt aus" in failed.message and "Gerät fällt aus" in failed.traceback
    assert "pply again" in failed.advice
    assert isinstance(waiting.wait(20), events.Done)
    assert isinstance(worker.submit(check()).wait(20), events.Done)


def test_killed_from_outside_blames_the_memory(worker):
    """As the system does where memory runs out; the launcher does not say how its interpreter ended."""
    pid = worker.submit(check()).wait(20).numbers["pid"]
    task = worker.submit(denoise("6000"))
    while not task.heard:
        worker.poll(wait=0.01)
    os.kill(pid, 9)
    failed = task.wait(20)
    assert "SIGKILL" in failed.message or "crashed or was killed" in failed.message
    assert "memory" in failed.advice and "exit abnormally" not in failed.message


def test_a_note_of_before_is_no_last_word(worker):
    """What the process has sent as a message is in the log; only standard error tells of an end."""
    failed = worker.submit(denoise(model="noted")).wait(20)
    assert "stopped unexpectedly" in failed.message and "last line" not in failed.message
    assert "Add scans" in failed.traceback and "Add scans" in worker.log[0]


def test_an_old_crash_is_not_told_again(worker):
    """What the process before has said is no reason for the end of this one."""
    assert isinstance(worker.submit(denoise(model="crash")).wait(20), events.Failed)
    assert isinstance(worker.submit(check()).wait(20), events.Done)
    assert not any("exit abnormally" in line or "Gerät" in line for line in worker.log)


def test_a_process_that_dies_idle_is_started_again(worker):
    pid = worker.submit(check()).wait(20).numbers["pid"]
    os.kill(pid, 9)
    assert gone(pid)
    assert worker.submit(check()).wait(20).numbers["pid"] != pid


def test_a_job_given_to_a_dying_process_is_not_lost(worker):
    """The process dies before it has read the job; nobody knows yet."""
    pid = worker.submit(check()).wait(20).numbers["pid"]
    os.kill(pid, 19)  # it stands still, so that it cannot read
    task = worker.submit(check())
    os.kill(pid, 9)
    assert task.wait(20).numbers["pid"] != pid


def test_a_program_that_cannot_start_is_a_failure_with_advice():
    task = job.Worker(["/nowhere/python"]).submit(check())
    assert "could not be started" in task.ending.message and "/nowhere/python" in task.ending.advice


def test_a_program_that_starts_and_dies_fails_all_jobs_and_does_not_loop():
    made = job.Worker([sys.executable, "-c", "raise SystemExit('no worker here')"])
    first, second = made.submit(check()), made.submit(check())
    for task in (first, second):
        assert "no worker here" in task.wait(20).message
    assert not made.running


def test_a_caller_that_dies_leaves_no_worker(tmp_path):
    """Slicer is killed while a job runs."""
    import subprocess

    script = f"""
import os, sys
from C2SSlicer import job
from C2SCore import events
made = job.Worker({PLAIN!r})
pid = made.submit(events.CheckJob("1")).wait(20).numbers["pid"]
made.submit(events.DenoiseJob("2", "6000", ""))
print(pid, flush=True)
os.kill(os.getpid(), 9)
"""
    path = os.pathsep.join(p for p in sys.path if p)
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    pid = int(said.stdout)
    began = time.monotonic()
    assert gone(pid)
    print(f"the orphan ended {time.monotonic() - began:.2f} s after its caller was killed")


def test_a_fault_in_a_callback_stops_nothing(worker, capsys):
    def fault(message):
        raise ValueError("in the callback")

    task = worker.submit(denoise("3"), fault, fault)
    assert isinstance(task.wait(20), events.Done)
    assert "in the callback" in capsys.readouterr().err


def test_the_interpreter_is_looked_for_when_it_is_needed(monkeypatch):
    """Slicer gives `sys.executable` its value after the module that it starts with was set up."""
    interpreter = sys.executable
    monkeypatch.setattr(sys, "executable", "")
    worker = job.Worker()
    monkeypatch.setattr(sys, "executable", interpreter)
    try:
        ending = worker.submit(events.CheckJob(job.new_id(), "cpu")).wait(60)
        assert isinstance(ending, events.Done)
    finally:
        worker.close(5)


def test_a_task_that_has_ended_holds_nobody():
    class Caller:
        def __init__(self, worker):
            self.task = worker.submit(check(), self.hear, self.hear)

        def hear(self, message):
            pass

    worker = job.Worker(PLAIN)
    gc.disable()
    try:
        caller = Caller(worker)
        caller.task.wait(20)
        seen = weakref.ref(caller)
        del caller
        assert seen() is None
    finally:
        gc.enable()
        worker.close(5)
