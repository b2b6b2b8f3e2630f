"""A guard against a fault of PySide6 6.12 (seen on Python 3.11): it takes references from None and True.

Each Python slot that is called costs one reference of None, each emit() one of True; when the last is gone, after
some ten thousand calls, the interpreter ends with "deallocating None". Since Python 3.12 these objects are immortal.
"""

from __future__ import annotations

import ctypes
import sys

ENOUGH = 1 << 40


def make_singletons_immortal() -> None:
    """Add more references to None, True and False than could ever be taken."""
    if sys.implementation.name == "cpython" and sys.version_info < (3, 12):
        for value in (None, True, False):
            ctypes.c_ssize_t.from_address(id(value)).value += ENOUGH
