"""The module ``qt``: one flat namespace over Qt's libraries, as in Slicer."""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui, QtWidgets

from .ui_loader import QUiLoader
from .wrapping import wrapper_class

# Custom signals made in Python crash in PythonQt; plain callbacks do not.
_FORBIDDEN = {"Signal", "Slot", "Property", "QtCore", "QtGui", "QtWidgets", "SIGNAL", "SLOT"}


class QtModule(types.ModuleType):
    """Looks names up when they are first asked for."""

    def __getattr__(self, name: str):
        if name.startswith("_") or name in _FORBIDDEN:
            raise AttributeError(
                f"the bench has no qt.{name}" + (", see slots and signals in its README" if name in _FORBIDDEN else "")
            )
        for library in (QtWidgets, QtGui, QtCore):
            found = getattr(library, name, None)
            if found is not None:
                value = wrapper_class(found) if isinstance(found, type) else found
                setattr(self, name, value)
                return value
        raise AttributeError(f"Qt has no {name}")


def make_qt_module() -> QtModule:
    module = QtModule("qt", "Stand-in for PythonQt's qt module")
    module.QUiLoader = wrapper_class(QUiLoader)
    return module
