"""Stand-in for slicer.parameterNodeWrapper: typed attributes over a vtkMRMLScriptedModuleNode, tied to widgets.

Stricter than Slicer in one point: two widgets with the same SlicerParameterName are an error.
"""

from __future__ import annotations

import typing
from typing import Any

import slicer.util
import vtk

from . import parameter_types
from .parameter_storage import make_storage
from .parameter_types import (  # part of the interface
    Choice,
    Decimals,
    Default,
    FloatRange,
    Maximum,
    Minimum,
    RangeBounds,
    SingleStep,
    WithinRange,
)
from .parameter_widgets import Connector, make_connector

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "FloatRange",
    "Maximum",
    "Minimum",
    "RangeBounds",
    "SingleStep",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

PROPERTY = "SlicerParameterName"


class _ParameterNode:
    """What every decorated class gets. Tags of connectGui begin at 0, which is false: never test them for truth."""

    def __init__(self, parameterNode: Any):
        self.parameterNode = parameterNode
        self._guis: dict[int, dict[str, Connector]] = {}
        self._next_tag = 0
        self._showing = False
        for name, storage in self._storages.items():
            if not storage.has(parameterNode, name):
                storage.write(parameterNode, name, self._defaults[name])

    def _storage(self, name: str) -> Any:
        if name not in self._storages:
            raise ValueError(f"{type(self).__name__} has no parameter {name!r}, only {', '.join(self._storages)}")
        return self._storages[name]

    def getValue(self, name: str) -> Any:
        return self._storage(name).read(self.parameterNode, name)

    def setValue(self, name: str, value: Any) -> None:
        self._storage(name).write(self.parameterNode, name, value)

    def default(self, name: str) -> Default:
        self._storage(name)
        return Default(self._defaults[name])

    @classmethod
    def dataType(cls, name: str) -> Any:
        return cls._types[name]

    def connectGui(self, gui: Any) -> int:
        """Tie the widgets of ``gui`` (made by childWidgetVariables, or a widget) that carry a SlicerParameterName."""
        is_widget = getattr(gui, "isWidgetType", None)
        widgets = gui.findChildren() if is_widget else gui.__dict__.values()
        mapping: dict[str, Any] = {}
        for widget in widgets:
            name = widget.property(PROPERTY)
            if name:
                if name in mapping:
                    raise ValueError(f"both {mapping[name].name} and {widget.name} carry {PROPERTY} {name!r}")
                mapping[name] = widget
        return self.connectParametersToGui(mapping)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        for name in mapping:
            self._storage(name)
        connectors = {name: make_connector(widget, self._types[name]) for name, widget in mapping.items()}
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(self._taker(name, connector))
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, self._show)
        return tag

    def disconnectGui(self, tag: int) -> None:
        """As in Slicer 5.10, the observer of `connectGui` stays."""
        for connector in self._guis.pop(tag, {}).values():
            connector.disconnect()

    def _taker(self, name: str, connector: Connector) -> Any:
        def take() -> None:
            if not self._showing:
                with slicer.util.NodeModify(self.parameterNode):
                    self.setValue(name, connector.read())

        return take

    def _show(self, caller: Any = None, event: str = "") -> None:
        if self._showing:
            return
        self._showing = True
        try:
            for connectors in self._guis.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._showing = False

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, modified: int) -> int:
        return self.parameterNode.EndModify(modified)

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _parameter(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator: annotated members become parameters."""
    if classtype is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(classtype, include_extras=True)
    reserved = [name for name in hints if hasattr(_ParameterNode, name)]
    if reserved:
        raise ValueError(f"{reserved[0]!r} cannot be the name of a parameter")
    storages = {name: make_storage(kind) for name, kind in hints.items()}
    defaults = {name: _default_of(classtype, name, kind, storages[name]) for name, kind in hints.items()}
    members = {
        name: value
        for name, value in vars(classtype).items()
        if name not in hints and name not in ("__dict__", "__weakref__")
    }
    members |= {name: _parameter(name) for name in hints}
    members |= {"_storages": storages, "_defaults": defaults, "_types": hints, "allParameters": hints}
    return type(classtype.__name__, (_ParameterNode,), members)


def _default_of(classtype: type, name: str, kind: Any, storage: Any) -> Any:
    if hasattr(classtype, name):
        return getattr(classtype, name)
    annotated = parameter_types.first(parameter_types.split(kind)[1], Default)
    return annotated.value if annotated is not None else storage.default


def isParameterNodeWrapper(value: Any) -> bool:
    return hasattr(value, "_storages")
