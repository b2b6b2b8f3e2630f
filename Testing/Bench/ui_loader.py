"""Loading .ui files as Slicer does, with everything that Slicer would pass over in silence made an error.

Checked before anything is built: unknown widget classes, properties that the class does not have, names used twice,
enumerators spelled for Qt 6, connections from or to names, signals or slots that do not exist.
"""

from __future__ import annotations

import os
import tempfile
import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import ctk_widgets, mrml_widgets, view_widgets
from .class_info import class_info, normalized

STAND_INS = {**ctk_widgets.WIDGETS, **mrml_widgets.WIDGETS, **view_widgets.WIDGETS}
_SPECIAL = {"Line": QtWidgets.QFrame}  # Designer's name for a separating line


class UiError(RuntimeError):
    """A .ui file that would not work in Slicer."""


def widget_class(name: str) -> type:
    """The Qt class or stand-in called ``name``; UiError if there is none."""
    found = STAND_INS.get(name) or _SPECIAL.get(name) or getattr(QtWidgets, name, None)
    if found is None:
        raise UiError(f"the .ui file uses the widget class {name!r}, which neither Qt nor the bench has")
    return found


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a file into real Qt widgets and stand-ins."""

    def createWidget(
        self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = ""
    ) -> QtWidgets.QWidget:
        if class_name not in STAND_INS:
            return super().createWidget(class_name, parent, name)
        widget = STAND_INS[class_name](parent)
        widget.setObjectName(name)
        return widget

    def load(self, device: object, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        path = device.fileName() if hasattr(device, "fileName") else str(device)
        tree = ElementTree.parse(path)
        root = tree.getroot()
        _check_widgets(root, path)
        connections = _take_connections(root)
        enumerated = _take_stand_in_enums(root)
        with tempfile.TemporaryDirectory() as folder:
            edited = os.path.join(folder, os.path.basename(path))
            tree.write(edited, encoding="utf-8")
            widget = super().load(edited, parent)
        if widget is None:
            raise UiError(f"{path}: {self.errorString()}")
        for name, property_name, value in enumerated:
            _by_name(widget, name).setProperty(property_name, value)
        for connection in connections:
            _connect(widget, connection, path)
        return widget


def _check_widgets(root: ElementTree.Element, path: str) -> None:
    """UiError on the first widget or property that would not work."""
    names: set[str] = set()
    for element in root.iter("widget"):
        name, kind = element.get("name", ""), widget_class(element.get("class", ""))
        if name in names:
            raise UiError(f"{path}: the name {name!r} is used twice; childWidgetVariables would lose one")
        names.add(name)
        for entry in element.findall("property"):
            _check_property(name, kind, entry, path)


def _check_property(name: str, kind: type, entry: ElementTree.Element, path: str) -> None:
    property_name = entry.get("name", "")
    dynamic = entry.get("stdset") == "0"
    meta = kind.staticMetaObject
    if kind is QtWidgets.QFrame and property_name == "orientation":  # of a Line
        return
    if kind is QtWidgets.QLabel and property_name == "buddy":  # Qt's loader looks for the control when all are there
        return
    if not dynamic and meta.indexOfProperty(property_name) < 0:
        raise UiError(f"{path}: {name} ({kind.__name__}) has no property {property_name!r}")
    if property_name == "SlicerParameterName" and not dynamic:
        raise UiError(f'{path}: SlicerParameterName of {name} must be a dynamic property (stdset="0")')
    for value in [*entry.findall("enum"), *entry.findall("set")]:
        if any(key.count("::") > 1 for key in (value.text or "").split("|")):
            raise UiError(
                f"{path}: {name}.{property_name} = {value.text!r} is spelled for Qt 6; Qt 5 knows one scope only"
            )


def _take_stand_in_enums(root: ElementTree.Element) -> list[tuple[str, str, int]]:
    """Remove the enum properties of stand-ins' own enums, which QUiLoader cannot read, and return them as numbers."""
    taken = []
    for element in root.iter("widget"):
        kind = STAND_INS.get(element.get("class", ""))
        for entry in element.findall("property") if kind else []:
            value = entry.find("set") if entry.find("set") is not None else entry.find("enum")
            owner = (value.text or "").partition("::")[0] if value is not None else ""
            if owner not in STAND_INS:
                continue
            enum_types = [
                t for t in vars(STAND_INS[owner]).values() if isinstance(t, type) and hasattr(t, "__members__")
            ]
            members = {name: int(member.value) for t in enum_types for name, member in t.__members__.items()}
            keys = [key.partition("::")[2] for key in value.text.split("|")]
            unknown = [key for key in keys if key not in members]
            if unknown:
                raise UiError(f"{element.get('name')}.{entry.get('name')}: {owner} has no {unknown[0]!r}")
            taken.append((element.get("name"), entry.get("name"), sum(members[key] for key in keys)))
            element.remove(entry)
    return taken


def _take_connections(root: ElementTree.Element) -> list[dict[str, str]]:
    """The file's connections, removed from it: QUiLoader only warns about those that cannot be made."""
    connections = []
    for parent in root.findall("connections"):
        connections += [{part.tag: part.text or "" for part in entry} for entry in parent.findall("connection")]
        root.remove(parent)
    return connections


def _by_name(widget: QtWidgets.QWidget, name: str) -> QtCore.QObject | None:
    return widget if widget.objectName() == name else widget.findChild(QtCore.QObject, name)


def _connect(widget: QtWidgets.QWidget, connection: dict[str, str], path: str) -> None:
    """Make one connection; UiError if a part of it does not exist."""
    sender, receiver = (_by_name(widget, connection[part]) for part in ("sender", "receiver"))
    ends = [f"{connection[a]}.{connection[b]}" for a, b in (("sender", "signal"), ("receiver", "slot"))]
    told = f"{path}: connection {' -> '.join(ends)}"
    if sender is None or receiver is None:
        raise UiError(f"{told} names a widget that the file does not have")
    wanted = normalized(connection["signal"])
    signals = {info.signature: info for infos in class_info(type(sender)).signals.values() for info in infos}
    if wanted not in signals:
        raise UiError(f"{told}: there is no such signal")
    slot = connection["slot"].partition("(")[0]
    if not hasattr(receiver, slot):
        raise UiError(f"{told}: there is no such slot")
    count = len([kind for kind in connection["slot"].partition("(")[2].rstrip(")").split(",") if kind])
    target = getattr(receiver, slot)
    QtCore.QObject.connect(
        sender, QtCore.SIGNAL(signals[wanted].native_signature), lambda *values: target(*values[:count])
    )
