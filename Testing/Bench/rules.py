"""The particular rules of PythonQt and Qt 5.15, in one place: what is hidden, forbidden or renamed."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial

from PySide6 import QtCore, QtWidgets

from . import faults

_ONLY_QT6 = {"checkStateChanged", "colorScheme"}
_RENAMED = {"exec_": "exec"}
_MODAL_STATICS = {
    "QMessageBox": {"question", "information", "warning", "critical", "about", "aboutQt"},
    "QInputDialog": {"getText", "getInt", "getDouble", "getItem", "getMultiLineText"},
}
_NOT_PYTHONQT = {"staticMetaObject", "emit", "tr"}

# Set by a test: receives the wrapped dialog (or the arguments of a static one) and returns the answer.
modal_answer: Callable | None = None


def native_name(name: str) -> str:
    return _RENAMED.get(name, name)


def property_name(name: str) -> str:
    """PythonQt lets ``name`` stand for ``objectName``."""
    return "objectName" if name == "name" else name


def is_hidden_property(native_class: type, name: str) -> bool:
    """QTimer.singleShot the property would hide singleShot the function, so PythonQt leaves it out."""
    return name == "singleShot" and issubclass(native_class, QtCore.QTimer)


def is_hidden_signal(name: str) -> bool:
    return name in _ONLY_QT6


def check_attribute(native_class: type, name: str) -> None:
    if name in _ONLY_QT6 or name in _NOT_PYTHONQT:
        raise AttributeError(f"{native_class.__name__}.{name} does not exist in PythonQt on Qt 5.15")


def check_class_attribute(native_class: type, name: str) -> None:
    if name.startswith("_"):
        raise AttributeError(name)
    check_attribute(native_class, name)
    if native_class is QtWidgets.QFileDialog and name.startswith(("get", "save")):
        raise AttributeError(f"QFileDialog.{name} is not portable; use ctkPathLineEdit or ctkDirectoryButton")


def check_constructor(native_class: type, arguments: tuple) -> None:
    if native_class.__name__ == "QImage" and arguments and isinstance(arguments[0], bytes | bytearray | memoryview):
        raise ValueError("QImage cannot be made from Python bytes in PythonQt; use QPixmap.loadFromData(png_bytes)")


def check_argument(value: object) -> None:
    """PythonQt converts neither numpy scalars nor Python functions."""
    if type(value).__module__ == "numpy" and not isinstance(value, float | int | str | bytes):
        raise ValueError(f"{value!r} is a numpy value, which PythonQt does not convert; use int(), float() or bool()")


def prepare_call(owner: type, name: str, arguments: tuple) -> tuple:
    """Python functions go only to QTimer.singleShot (its slot follows the slot rules) and to stand-ins."""
    if not (owner.__module__ or "").startswith("PySide6"):
        return arguments
    method = name.rpartition(".")[2]
    functions = [value for value in arguments if isinstance(value, types.FunctionType | types.MethodType | partial)]
    if functions and method == "singleShot":
        from .slots import make_receiver

        return (
            *arguments[:-1],
            _without_arguments(make_receiver(functions[-1], "QTimer.singleShot", lambda value: value)),
        )
    if functions:
        raise ValueError(f"{name} does not take a Python function in PythonQt; connect its signal instead")
    return arguments


def _without_arguments(receiver: Callable) -> Callable:
    """PySide6 looks at the number of parameters to find the overload."""
    return lambda: receiver()


def answer_modal(name: str, native: object, arguments: tuple) -> object:
    """The answer to a modal dialog, which would block a test for ever; None if the call is none.

    Raises RuntimeError, and records it, when the test has not said what to answer.
    """
    owner, _, method = name.rpartition(".")
    static = native is None and method in _MODAL_STATICS.get(owner, ())
    opened = native_name(method) == "exec" and isinstance(native, QtWidgets.QDialog | QtWidgets.QMenu)
    if not static and not opened:
        return None
    if modal_answer is None:
        text = f"{name} opens a modal dialog without bench.answer_dialogs: {_text_of(native) or arguments}"
        faults.record(faults.DIALOG, text)
        raise RuntimeError(text)
    answer = modal_answer(native if opened else arguments)
    return 0 if answer is None else answer


def _text_of(native: object) -> str:
    return f"{native.windowTitle()}: {native.text()}" if isinstance(native, QtWidgets.QMessageBox) else ""
