"""Signals as attributes and by signature."""

from __future__ import annotations

from collections.abc import Callable

from PySide6 import QtCore

from . import faults
from .class_info import SignalInfo, class_info, normalized
from .slots import Connections, make_receiver


class BoundSignal:
    """A signal of one object. Callable: in PythonQt calling a signal emits it."""

    wrap: Callable = staticmethod(lambda value: value)  # set by wrapping.py, which needs this module

    def __init__(self, native: QtCore.QObject, info: SignalInfo):
        self._native, self._info = native, info

    @classmethod
    def by_signature(cls, native: QtCore.QObject, signature: str) -> BoundSignal | None:
        """The signal with this signature; None, with a note in the record, if there is none."""
        wanted = normalized(signature)
        for overloads in class_info(type(native)).signals.values():
            for info in overloads:
                if info.signature == wanted:
                    return cls(native, info)
        faults.record(faults.CONNECT, f"{type(native).__name__} {native.objectName()!r} has no signal {signature!r}")
        return None

    def connect(self, function: Callable) -> bool:
        source = f"{type(self._native).__name__}.{self._info.signature}"
        receiver = make_receiver(function, source, BoundSignal.wrap)
        return self._connections().add(self._native, self._info.native_signature, function, receiver)

    def disconnect(self, function: Callable | None = None) -> bool:
        return self._connections().remove(self._native, self._info.native_signature, function)

    def emit(self, *arguments: object) -> None:
        natives = [getattr(value, "_native", getattr(value, "native", value)) for value in arguments]
        getattr(self._native, self._info.name).emit(*natives)

    __call__ = emit

    def _connections(self) -> Connections:
        if not hasattr(self._native, "_bench_connections"):
            self._native._bench_connections = Connections(self._native)
        return self._native._bench_connections
