"""What a Qt class has: its properties and its signals, read from Qt's own description of the class."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from PySide6 import QtCore

from . import rules

_NUMBERS = {"int": int, "uint": int, "qlonglong": int, "qulonglong": int, "double": float, "float": float}


@dataclass(frozen=True)
class SignalInfo:
    """A signal as Slicer spells it (``signature``) and as the stand-in's Qt object knows it (``native_signature``)."""

    name: str
    signature: str
    native_signature: str


def normalized(signature: str) -> str:
    return bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()


@dataclass(frozen=True)
class ClassInfo:
    properties: dict[str, QtCore.QMetaProperty]
    signals: dict[str, list[SignalInfo]] = field(default_factory=dict)

    def write(self, native: QtCore.QObject, name: str, value: object, unwrap: Callable) -> None:
        """Set a property. AttributeError if there is none, if it is read-only or if the value's type does not fit."""
        owner = type(native).__name__
        if name not in self.properties:
            if QtCore.QByteArray(name.encode()) in native.dynamicPropertyNames():
                native.setProperty(name, unwrap(value))
                return
            raise AttributeError(f"{owner} has no property {name!r}; new attributes cannot be made on Qt objects")
        meta = self.properties[name]
        if not meta.isWritable():
            raise AttributeError(f"the property {name!r} of {owner} is read-only")
        fits, native_value = _converted(meta.typeName(), unwrap(value))
        if not fits or not native.setProperty(name, native_value):
            raise AttributeError(f"the property {name!r} of {owner} is {meta.typeName()} and cannot be {value!r}")


def _converted(type_name: str, value: object) -> tuple[bool, object]:
    """(fits, value for Qt). Text takes numbers and paths, as in PythonQt; None, which it would spell, is refused."""
    if type_name == "bool":
        return isinstance(value, int | float), bool(value)
    if type_name in _NUMBERS:
        return (True, _NUMBERS[type_name](value)) if isinstance(value, int | float) else (False, None)
    if type_name == "QString":
        return isinstance(value, str | int | float | pathlib.PurePath), str(value)
    if type_name == "QStringList":
        return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value), list(value or ())
    return value is not None, value


@cache
def class_info(native_class: type) -> ClassInfo:
    """Properties and signals of a PySide6 class or a stand-in (which spells its MRML signals in ``SIGNALS``)."""
    meta = getattr(native_class, "staticMetaObject", None)
    if meta is None:
        return ClassInfo({})
    properties = {meta.property(i).name(): meta.property(i) for i in range(meta.propertyCount())}
    properties = {name: value for name, value in properties.items() if not rules.is_hidden_property(native_class, name)}
    signals: dict[str, list[SignalInfo]] = {}
    spelled = {}
    for base in native_class.__mro__:
        spelled = {**vars(base).get("SIGNALS", {}), **spelled}
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() != QtCore.QMetaMethod.MethodType.Signal:
            continue
        native_signature = bytes(method.methodSignature().data()).decode()
        name = bytes(method.name().data()).decode()
        if not rules.is_hidden_signal(name):
            for signature in spelled.get(name, [native_signature]):
                signals.setdefault(name, []).append(SignalInfo(name, normalized(signature), native_signature))
    return ClassInfo(properties, signals)
