"""Calling Python from a Qt signal by PythonQt's rules, and connecting signals to it.

Rules (PythonQt's signal receiver): a plain function or method gets as many of the signal's arguments as it has
positional parameters, whether or not they have defaults; ``*args`` and any other callable get all of them. An exception
is printed and goes no further.
"""

from __future__ import annotations

import inspect
import types
import weakref
from collections.abc import Callable

import shiboken6
from PySide6 import QtCore

from . import faults


def accepted_arguments(function: Callable) -> int | None:
    """How many signal arguments PythonQt hands to ``function``; None: all."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if (
        not isinstance(function, types.FunctionType | types.MethodType)
        or code is None
        or code.co_flags & inspect.CO_VARARGS
    ):
        return None
    return code.co_argcount - isinstance(function, types.MethodType)


def make_receiver(function: Callable, source: str, wrap: Callable) -> Callable:
    """A callable for PySide6 that passes the signal on to ``function`` as PythonQt would."""
    if not callable(function):
        raise TypeError(f"{source} cannot be connected to {function!r}, which is not callable")
    count = accepted_arguments(function)

    def receiver(*arguments: object) -> None:
        try:
            function(*[wrap(value) for value in arguments[:count]])
        except Exception as error:
            faults.record_exception(faults.SLOT, f"exception in a slot of {source}", error)

    return receiver


class Connections:
    """Connections of one QObject, kept so that they can be undone by naming the same signal and function."""

    everyone: weakref.WeakSet[Connections] = weakref.WeakSet()

    def __init__(self, native: QtCore.QObject) -> None:
        self._owner = weakref.ref(native)
        self._made: list[tuple[str, Callable, Callable]] = []
        Connections.everyone.add(self)

    def add(self, native: QtCore.QObject, signature: str, function: Callable, receiver: Callable) -> bool:
        self._made.append((signature, function, receiver))
        return bool(QtCore.QObject.connect(native, QtCore.SIGNAL(signature), receiver))

    def remove(self, native: QtCore.QObject, signature: str, function: Callable | None) -> bool:
        """Undo those of ``function`` (None: of all functions); whether there was one."""
        found = [made for made in self._made if made[0] == signature and (function is None or made[1] == function)]
        for made in found:
            QtCore.QObject.disconnect(native, QtCore.SIGNAL(signature), made[2])
            self._made.remove(made)
        return bool(found)

    @classmethod
    def undo_all(cls) -> None:
        """At the end of a session: slots of its modules must not be called in the next, nor keep their objects alive.

        Timers and processes stay connected: Python modules stay imported, and may share one among sessions.
        """
        for connections in list(cls.everyone):
            native = connections._owner()
            if isinstance(native, QtCore.QTimer | QtCore.QProcess):
                continue
            if native is not None and shiboken6.isValid(native):
                for signature in {made[0] for made in connections._made}:
                    connections.remove(native, signature, None)
            connections._made.clear()
