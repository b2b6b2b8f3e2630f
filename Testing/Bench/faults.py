"""What PythonQt and VTK swallow: kept here, so that a test can fail on it.

A wrong signal signature returns False, an exception in a slot or observer is printed and forgotten. In the application
nobody sees either; the bench imitates that, and writes each one down.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass

CONNECT = "connect"  # a connection that was never made
SLOT = "slot"  # an exception in a slot
OBSERVER = "observer"  # an exception in a VTK observer or in an overridden Qt event
DIALOG = "dialog"  # a modal dialog that nobody could answer
WARNING = "warning"  # an observer that is removed twice or added twice


@dataclass(frozen=True)
class Fault:
    kind: str
    text: str


_recorded: list[Fault] = []


def record(kind: str, text: str) -> None:
    _recorded.append(Fault(kind, text))


def record_exception(kind: str, where: str, error: BaseException) -> None:
    """Print the traceback, as the application's console would show it, and keep it."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    print(f"{where}\n{text}", file=sys.stderr)
    record(kind, f"{where}: {text.strip()}")


def take() -> list[Fault]:
    """All faults since the last call; the record is empty afterwards."""
    taken, _recorded[:] = list(_recorded), []
    return taken


def watch_warnings() -> Callable[[], None]:
    """Record what slicer.util's observer mixin only warns of; returns the function that ends it."""
    warn = warnings.warn

    def noted(message: object, *arguments: object, **options: object) -> None:
        if str(message) in ("does not have observer", "already has observer"):
            record(WARNING, "".join(traceback.format_stack(limit=6)[:-1]) + str(message))
        warn(message, *arguments, **options)

    warnings.warn = noted

    def end() -> None:
        warnings.warn = warn

    return end


def exception_hook(error_type: type, error: BaseException, trace: object) -> None:
    """For sys.excepthook: where VTK and Shiboken deliver exceptions of observers and virtual methods."""
    record_exception(OBSERVER, "exception in an observer or event handler", error)
