"""A file that one process holds, and that nobody holds once the process is dead, whatever its number was."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from C2SCore import runlock

HOLDS = "import sys; from pathlib import Path; from C2SCore import runlock; runlock.claim(Path(sys.argv[1]))"
HOLDS += "; print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def another(lock: Path) -> subprocess.Popen[str]:
    """A process that holds the file until it is killed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(runlock.__file__).parents[1])}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(lock)], env=environment, stdin=pipe, stdout=pipe, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_another_process_holds_it_until_it_is_killed(lock: Path) -> None:
    with another(lock) as process:
        assert runlock.holder(lock) == process.pid and runlock.claim(lock) is None
        lock_text = lock.read_bytes()  # also where the system keeps others from reading what is locked
        process.kill()
        process.wait()
    assert int(lock_text) == process.pid and runlock.holder(lock) is None
    handle = runlock.claim(lock)
    assert handle is not None and runlock.holder(lock) == os.getpid()
    runlock.release(lock, handle)
    assert not lock.exists() and runlock.holder(lock) is None


def test_the_number_of_a_living_process_holds_nothing(lock: Path) -> None:
    """What a killed training leaves in a container, where its number comes again."""
    lock.write_text(str(os.getpid()))
    assert runlock.holder(lock) is None
    handle = runlock.claim(lock)
    assert handle is not None
    runlock.release(lock, handle)


def test_a_number_from_elsewhere_does_not_free_what_is_held(lock: Path) -> None:
    """Another container or computer writes a number that is nobody's here."""
    handle = runlock.claim(lock)
    assert handle is not None
    with lock.open("r+b") as file:
        file.write(b"999999999".ljust(runlock.WIDTH))
    assert runlock.holder(lock) == 999999999 and runlock.claim(lock) is None
    runlock.release(lock, handle)


def test_without_locks_the_number_decides(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(handle: int, shared: bool) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(runlock, "_system_lock", unsupported)
    lock.write_text(str(os.getppid()))
    assert runlock.holder(lock) == os.getppid() and runlock.claim(lock) is None
    lock.write_text("999999999")
    assert runlock.holder(lock) is None
    handle = runlock.claim(lock)
    assert handle is not None and runlock.holder(lock) == os.getpid()
    runlock.release(lock, handle)


def test_a_lock_on_a_deleted_file_is_none(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last holder ends between the opening of the file and the lock."""
    if sys.platform == "win32":
        pytest.skip("an open file is not deleted")
    once, files = runlock._system_lock, [lock]

    def late(handle: int, shared: bool) -> None:
        for file in files:
            file.unlink()
        files.clear()
        once(handle, shared)

    monkeypatch.setattr(runlock, "_system_lock", late)
    handle = runlock.claim(lock)
    assert handle is not None and lock.exists() and runlock.holder(lock) == os.getpid()
    runlock.release(lock, handle)
