"""A batch that is stopped: its processes end with it, nothing half-written stays, and what was done is recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from phantom import make_scan

from C2SCore import batch, cli, files
from C2SCore.stopping import TERMINATED

# `a` is done at once; every other scan takes for ever, with its output begun.
SCRIPT = """
import sys, time
from pathlib import Path
from C2SCore import batch, cli
from C2SCore.batchrecord import DONE, Record
from C2SCore.writing import atomic

def run_one(job):
    with atomic(job.output):
        if Path(job.scan).name != "a.nrrd":
            time.sleep(600)
    return Record.of(job, DONE)

batch.run_one = run_one
if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
"""


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def running(tmp_path, model_file):
    """A batch of two processes that has done one scan and is at two others, and its output folder."""
    for n, name in enumerate("abcde"):
        files.write(make_scan(n, (1, 16, 16)), tmp_path / "in" / f"{name}.nrrd")
    (tmp_path / "script.py").write_text(SCRIPT)
    out = tmp_path / "out"
    words = ["batch", tmp_path / "in", "-o", out, "--model", model_file, "--workers", 2]
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: (out / "batch.json").is_file() and len(list(out.glob(".c2s-*"))) == 2)
        yield process, out
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_stopped_batch_leaves_no_process_and_forgets_nothing(number, running):
    process, out = running
    workers = children(process.pid)
    assert len(workers) >= 2
    if number == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does at Ctrl-C
    else:
        process.send_signal(getattr(signal, number))
    code = process.wait(60)
    wait_for(lambda: not any(map(alive, workers)), 30)
    assert [row["state"] for row in json.loads((out / "batch.json").read_text())] == ["done"] + ["waiting"] * 4
    if number != "SIGKILL":
        assert code == {"SIGINT": 1, "SIGTERM": TERMINATED}[number]
        assert sorted(p.name for p in out.iterdir()) == ["a.nrrd", "batch.csv", "batch.html", "batch.json"]
        assert "Traceback" not in process.stderr.read()


@pytest.mark.skipif(sys.platform == "win32", reason="no signal reaches a process there")
def test_sigterm_takes_partial_files_along(scan_file, model_file, tmp_path, monkeypatch):
    def write(frames, path, dtype=None):
        from C2SCore.writing import atomic

        with atomic(path):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    monkeypatch.setattr(files, "write", write)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        cli.main(["denoise", str(scan_file), "-o", str(tmp_path / "o.nrrd"), "--model", str(model_file)])
    assert end.value.code == TERMINATED
    assert list(tmp_path.iterdir()) == [scan_file]
    assert signal.getsignal(signal.SIGTERM) == before


def test_leaving_the_loop_ends_the_processes(monkeypatch):
    ended = []
    monkeypatch.setattr(batch.stopping, "end_all", ended.extend)
    with pytest.raises(KeyboardInterrupt), batch._pool(1, 1) as pool:
        pool.submit(time.sleep, 0)
        raise KeyboardInterrupt
    assert len(ended) == 1
    ended[0].terminate()
