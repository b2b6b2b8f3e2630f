"""Errors that a user can act on: each names the value, the rule and the fix."""

from __future__ import annotations

import errno

PAGING_FILE = 1455  # that of Windows is too small, as where several processes load PyTorch


class UserError(ValueError):
    """Bad input, found before any long work; the message says what is wrong and what to do."""


class NoScan(UserError):
    """A file that is no scan, such as a mask: among many it is passed over, and is no failure."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device and system (their types differ)."""
    if isinstance(error, OSError) and (error.errno == errno.ENOMEM or getattr(error, "winerror", 0) == PAGING_FILE):
        return True
    text = str(error).lower()
    says = ("out of memory", "can't allocate memory", "not enough memory", "invalid buffer size")  # the last: MPS
    return isinstance(error, MemoryError) or any(words in text for words in says)


class Cancelled(Exception):
    """The caller asked to stop before there was a result; the message, if there is one, says what was kept."""
