"""A file that one process holds: by a lock of the operating system, which lets go of it however the process ends.

The number in the file is for messages only: in another container, on another computer or after a restart the same
number is another process. Where the file system has no locks, the number is all there is to go by.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

HELD = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK)  # any other error: there are no locks here
PLACE = 2**20  # of the locked byte: what is locked cannot be read on Windows, so it lies behind the number
WIDTH = 20  # characters of the number, so that a shorter one leaves nothing of a longer one
TRIES, PAUSE = 5, 0.05  # s: somebody who only asks whether the file is held holds it for a moment

if sys.platform == "win32":
    import msvcrt

    def _system_lock(handle: int, shared: bool) -> None:
        os.lseek(handle, PLACE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _let_go(handle: int) -> None:
        with suppress(OSError):  # it may not be locked
            os.lseek(handle, PLACE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
        os.close(handle)

else:
    import fcntl

    def _system_lock(handle: int, shared: bool) -> None:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)

    def _let_go(handle: int) -> None:
        os.close(handle)


def claim(path: Path) -> int | None:
    """A handle that holds the file until `release`; None where another holds it."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE)
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        if _is_free(handle, shared=False) and _is_still(path, handle):
            try:
                os.lseek(handle, 0, os.SEEK_SET)
                os.write(handle, str(os.getpid()).ljust(WIDTH).encode("ascii"))
            except OSError:
                release(path, handle)
                raise
            return handle
        _let_go(handle)
    return None


def release(path: Path, handle: int) -> None:
    """Let go of the file, which goes too."""
    if sys.platform == "win32":  # it does not delete an open file, thus neither one that the next has claimed by then
        _let_go(handle)
    with suppress(OSError):
        path.unlink()
    if sys.platform != "win32":  # before anybody can claim the deleted file
        _let_go(handle)


def holder(path: Path) -> int | None:
    """The number of the process that holds the file now, which may be one of another computer; 0 if it is unknown."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _is_free(handle, shared=True) else _number(handle)
    finally:
        _let_go(handle)


def _is_free(handle: int, shared: bool) -> bool:
    """Whether nobody else held the file; then the handle does, as far as the file system has locks."""
    try:
        _system_lock(handle, shared)
    except OSError as error:
        return error.errno not in HELD and not _alive(_number(handle))
    return True


def _is_still(path: Path, handle: int) -> bool:
    """Whether the path is the open file, and not one that its last holder has deleted meanwhile."""
    try:
        return sys.platform == "win32" or os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _number(handle: int) -> int:
    os.lseek(handle, 0, os.SEEK_SET)
    text = os.read(handle, WIDTH).strip()
    return int(text) if text.isdigit() else 0


def _alive(process: int) -> bool:
    if process in (0, os.getpid()):
        return process != 0
    if sys.platform == "win32":
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, process)  # query limited information
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
