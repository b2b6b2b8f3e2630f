"""Which widget may show which type of parameter, and how. The class of the widget must match exactly, as in Slicer."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from .parameter_types import Choice, Decimals, FloatRange, RangeBounds, SingleStep, bounds, first, optional_of, split


class Connector:
    """Ties one widget to one parameter. ``signal`` None: the widget only shows."""

    def __init__(self, widget: Any, read: Callable, write: Callable, signal: str | None):
        self.widget, self.read, self.write, self._signal = widget, read, write, signal
        self._callback: Callable | None = None

    def connect(self, callback: Callable) -> None:
        self._callback = lambda: callback()
        if self._signal:
            getattr(self.widget, self._signal).connect(self._callback)

    def disconnect(self) -> None:
        if self._signal and self.widget:
            getattr(self.widget, self._signal).disconnect(self._callback)


def make_connector(widget: Any, annotated: Any) -> Connector:
    """RuntimeError if the widget class cannot show the type, or if a slider's parameter has no bounds."""
    kind, annotations = split(annotated)
    for kinds, classes, make in _table():
        if type(widget) in classes and kinds(kind):
            return make(widget, kind, annotations)
    raise RuntimeError(f"a {type(widget).__name__} ({widget.name}) cannot show a parameter of type {annotated}")


def _table() -> list[tuple[Callable, tuple, Callable]]:
    """(accepts this type, exact widget classes, maker), in the order of preference."""
    number_widgets = (
        qt.QDoubleSpinBox,
        ctk.ctkSliderWidget,
        ctk.ctkDoubleSlider,
        ctk.ctkDoubleSpinBox,
        slicer.qMRMLSliderWidget,
        slicer.qMRMLSpinBox,
    )
    ranges = (ctk.ctkRangeWidget, ctk.ctkDoubleRangeSlider, slicer.qMRMLRangeWidget)
    combos = (qt.QComboBox, ctk.ctkComboBox)
    return [
        (_is(bool), (qt.QCheckBox, ctk.ctkCheckBox), lambda w, k, a: _attribute(w, "checked", "stateChanged")),
        (_is(bool), (qt.QPushButton, ctk.ctkCheckablePushButton), _checkable_button),
        (_is(int), (qt.QSlider, qt.QSpinBox), _integer),
        (_is(int, float), number_widgets, _real),
        (_is_enum, combos, _enum_combo),
        (_is(int, float, str, bool), combos, _choice_combo),
        (_is(str), (qt.QLineEdit,), _line),
        (_is(str), (qt.QLabel,), lambda w, k, a: _attribute(w, "text", None)),
        (_is(str), (qt.QTextEdit,), lambda w, k, a: Connector(w, w.toPlainText, w.setPlainText, "textChanged")),
        (_is_path, (ctk.ctkPathLineEdit,), lambda w, k, a: _path(w, k, "currentPath", "currentPathChanged")),
        (_is_path, (ctk.ctkDirectoryButton,), lambda w, k, a: _path(w, k, "directory", "directoryChanged")),
        (_is(FloatRange), ranges, _range),
        (_is_node, (slicer.qMRMLNodeComboBox,), _node),
    ]


def _is(*kinds: type) -> Callable:
    return lambda kind: kind in kinds


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _is_path(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, pathlib.PurePath)


def _is_node(kind: Any) -> bool:
    kind = optional_of(kind) or kind
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def _attribute(widget: Any, name: str, signal: str | None) -> Connector:
    return Connector(widget, lambda: getattr(widget, name), lambda value: setattr(widget, name, value), signal)


def _checkable_button(widget: Any, kind: Any, annotations: tuple) -> Connector:
    widget.checkable = True
    return _attribute(widget, "checked", "toggled")


def _hints(widget: Any, annotations: tuple) -> None:
    decimals, step = first(annotations, Decimals), first(annotations, SingleStep)
    if decimals is not None:
        widget.decimals = decimals.value
    if step is not None:
        widget.singleStep = step.value


def _limits(widget: Any, annotations: tuple, sliders: tuple) -> tuple[float | None, float | None]:
    low, high = bounds(annotations)
    if type(widget) in sliders and (low is None or high is None):
        raise RuntimeError(
            f"the parameter of the slider {widget.name} needs bounds, e.g. Annotated[float, WithinRange(0, 1)]"
        )
    return low, high


def _integer(widget: Any, kind: Any, annotations: tuple) -> Connector:
    _hints(widget, annotations)
    low, high = _limits(widget, annotations, (qt.QSlider,))
    widget.setRange(-(2**31) if low is None else int(low), 2**31 - 1 if high is None else int(high))
    return _attribute(widget, "value", "valueChanged")


def _real(widget: Any, kind: Any, annotations: tuple) -> Connector:
    if kind is int:
        widget.decimals = 0
    _hints(widget, annotations)
    low, high = _limits(widget, annotations, (ctk.ctkSliderWidget, slicer.qMRMLSliderWidget))
    widget.minimum = float("-inf") if low is None else low
    widget.maximum = float("inf") if high is None else high
    return Connector(
        widget, lambda: kind(widget.value), lambda value: setattr(widget, "value", kind(value)), "valueChanged"
    )


def _combo(widget: Any, entries: list[tuple[str, Any]]) -> Connector:
    widget.clear()
    for label, _ in entries:
        widget.addItem(label)
    values = [value for _, value in entries]

    def write(value: Any) -> None:
        widget.currentIndex = values.index(value)

    return Connector(widget, lambda: values[widget.currentIndex], write, "currentIndexChanged")


def _enum_combo(widget: Any, kind: Any, annotations: tuple) -> Connector:
    """Shows label(self) of the enum class where there is one, the members' names otherwise."""
    return _combo(widget, [(member.label() if hasattr(kind, "label") else member.name, member) for member in kind])


def _choice_combo(widget: Any, kind: Any, annotations: tuple) -> Connector:
    choice = first(annotations, Choice)
    if choice is None:
        raise RuntimeError(f"the parameter of the combo box {widget.name} needs a Choice annotation")
    return _combo(widget, [(str(value), value) for value in choice.choices])


def _line(widget: Any, kind: Any, annotations: tuple) -> Connector:
    def write(value: str) -> None:  # writing the same text would move the cursor
        if widget.text != value:
            widget.text = value

    return Connector(widget, lambda: widget.text, write, "textChanged")


def _path(widget: Any, kind: Any, name: str, signal: str) -> Connector:
    return Connector(
        widget, lambda: kind(getattr(widget, name)), lambda value: setattr(widget, name, str(value)), signal
    )


def _range(widget: Any, kind: Any, annotations: tuple) -> Connector:
    limits = first(annotations, RangeBounds)
    if limits is None:
        raise RuntimeError(f"the parameter of the range widget {widget.name} needs a RangeBounds annotation")
    _hints(widget, annotations)
    widget.setRange(limits.minimum, limits.maximum)
    return Connector(
        widget,
        lambda: FloatRange(widget.minimumValue, widget.maximumValue),
        lambda value: widget.setValues(value.minimum, value.maximum),
        "valuesChanged",
    )


def _node(widget: Any, kind: Any, annotations: tuple) -> Connector:
    widget.nodeTypes = [(optional_of(kind) or kind)().GetClassName()]
    return Connector(widget, widget.currentNode, widget.setCurrentNode, "currentNodeChanged")
