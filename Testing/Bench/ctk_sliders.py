"""Stand-ins for CTK's numeric widgets: a real-valued slider, slider with spin box, ranges."""

from __future__ import annotations

import math

from PySide6 import QtCore, QtWidgets

STEPS = 1000  # positions of the integer slider inside a real-valued one


def _forward(kind: type, name: str, inner: str) -> QtCore.Property:
    """A property that is the one of an inner widget."""
    setter = "set" + name[0].upper() + name[1:]

    def read(self: QtWidgets.QWidget) -> object:
        return getattr(getattr(self, inner), name)()

    def write(self: QtWidgets.QWidget, value: object) -> None:
        getattr(getattr(self, inner), setter)(value)

    return QtCore.Property(kind, read, write)


class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    """As QDoubleSpinBox; infinite limits become the largest doubles, as Qt cannot show infinity."""

    def setMinimum(self, value: float) -> None:
        super().setMinimum(max(value, -1e300))

    def setMaximum(self, value: float) -> None:
        super().setMaximum(min(value, 1e300))

    minimum = QtCore.Property(float, QtWidgets.QDoubleSpinBox.minimum, setMinimum)
    maximum = QtCore.Property(float, QtWidgets.QDoubleSpinBox.maximum, setMaximum)


class ctkDoubleSlider(QtWidgets.QWidget):
    """A horizontal slider over real numbers."""

    valueChanged = QtCore.Signal(float)
    sliderMoved = QtCore.Signal(float)
    sliderReleased = QtCore.Signal()

    def __init__(self, *arguments: object):
        super().__init__(*[value for value in arguments if isinstance(value, QtWidgets.QWidget)])
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, STEPS)
        layout.addWidget(self._slider)
        self._minimum, self._maximum, self._value, self._step = 0.0, 99.0, 0.0, 1.0
        self._slider.valueChanged.connect(self._moved)
        self._slider.sliderReleased.connect(self.sliderReleased)

    def _moved(self, position: int) -> None:
        self._take(self._minimum + position / STEPS * (self._maximum - self._minimum))
        self.sliderMoved.emit(self._value)

    def _take(self, value: float) -> None:
        if value != self._value:
            self._value = value
            self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:
        value = min(max(value, self._minimum), self._maximum)
        extent = self._maximum - self._minimum
        self._slider.blockSignals(True)
        self._slider.setValue(round(STEPS * (value - self._minimum) / extent) if extent else 0)
        self._slider.blockSignals(False)
        self._take(value)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._minimum, self._maximum = minimum, max(minimum, maximum)
        self.setValue(self._value)

    def setMinimum(self, minimum: float) -> None:
        self.setRange(minimum, max(minimum, self._maximum))

    def setMaximum(self, maximum: float) -> None:
        self.setRange(min(self._minimum, maximum), maximum)

    def setSingleStep(self, step: float) -> None:
        self._step = step

    value = QtCore.Property(float, lambda self: self._value, setValue)
    minimum = QtCore.Property(float, lambda self: self._minimum, setMinimum)
    maximum = QtCore.Property(float, lambda self: self._maximum, setMaximum)
    singleStep = QtCore.Property(float, lambda self: self._step, setSingleStep)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that show one real number; inner widgets are named as in CTK."""

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = ctkDoubleSlider(self)
        self._slider.setObjectName("Slider")
        self._box = ctkDoubleSpinBox(self)
        self._box.setObjectName("SpinBox")
        self._tracking, self._page_step = True, 10.0
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self._box_changed)
        self._slider.sliderMoved.connect(self._slider_moved)
        self._slider.sliderReleased.connect(self._slider_released)

    def _box_changed(self, value: float) -> None:
        self._slider.blockSignals(True)
        self._slider.setValue(value)
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def _slider_moved(self, value: float) -> None:
        self.valueIsChanging.emit(value)
        if self._tracking:
            self._box.setValue(value)

    def _slider_released(self) -> None:
        self._box.setValue(self._slider.property("value"))

    def setValue(self, value: float) -> None:
        if not math.isnan(value):
            self._box.setValue(value)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._slider.setRange(minimum, maximum)
        self._box.setRange(minimum, maximum)

    def setMinimum(self, minimum: float) -> None:
        self.setRange(minimum, max(minimum, self._box.property("maximum")))

    def setMaximum(self, maximum: float) -> None:
        self.setRange(min(self._box.property("minimum"), maximum), maximum)

    def setSingleStep(self, step: float) -> None:
        self._box.setSingleStep(step)

    def setDecimals(self, decimals: int) -> None:
        self._box.setDecimals(decimals)

    def setPrefix(self, prefix: str) -> None:
        self._box.setPrefix(prefix)

    def setSuffix(self, suffix: str) -> None:
        self._box.setSuffix(suffix)

    def setTracking(self, tracking: bool) -> None:
        self._tracking = tracking

    def setPageStep(self, step: float) -> None:
        self._page_step = step

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._box.setVisible(visible)

    value = QtCore.Property(float, lambda self: self._box.value(), setValue)
    minimum = QtCore.Property(float, lambda self: self._box.property("minimum"), setMinimum)
    maximum = QtCore.Property(float, lambda self: self._box.property("maximum"), setMaximum)
    tracking = QtCore.Property(bool, lambda self: self._tracking, setTracking)
    pageStep = QtCore.Property(float, lambda self: self._page_step, setPageStep)
    spinBoxVisible = QtCore.Property(bool, lambda self: not self._box.isHidden(), setSpinBoxVisible)
    singleStep = _forward(float, "singleStep", "_box")
    decimals = _forward(int, "decimals", "_box")
    prefix = _forward(str, "prefix", "_box")
    suffix = _forward(str, "suffix", "_box")


class ctkDoubleRangeSlider(QtWidgets.QWidget):
    """Two numbers, the smaller first, shown as two spin boxes."""

    valuesChanged = QtCore.Signal(float, float)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._low, self._high = QtWidgets.QDoubleSpinBox(self), QtWidgets.QDoubleSpinBox(self)
        self._low.setObjectName("MinimumSpinBox")
        self._high.setObjectName("MaximumSpinBox")
        for box in (self._low, self._high):
            layout.addWidget(box)
            box.valueChanged.connect(lambda value: self.valuesChanged.emit(self._low.value(), self._high.value()))

    def setValues(self, low: float, high: float) -> None:
        before = (self._low.value(), self._high.value())
        for box, value in ((self._low, min(low, high)), (self._high, max(low, high))):
            box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(False)
        if before != (self._low.value(), self._high.value()):
            self.valuesChanged.emit(self._low.value(), self._high.value())

    def setRange(self, minimum: float, maximum: float) -> None:
        self._low.setRange(minimum, maximum)
        self._high.setRange(minimum, maximum)

    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, max(value, self._high.value()))

    def setMaximumValue(self, value: float) -> None:
        self.setValues(min(self._low.value(), value), value)

    minimumValue = QtCore.Property(float, lambda self: self._low.value(), setMinimumValue)
    maximumValue = QtCore.Property(float, lambda self: self._high.value(), setMaximumValue)
    minimum = _forward(float, "minimum", "_low")
    maximum = _forward(float, "maximum", "_high")
    singleStep = _forward(float, "singleStep", "_low")


class ctkRangeWidget(ctkDoubleRangeSlider):
    """As ctkDoubleRangeSlider, with a number of decimals."""

    def setDecimals(self, decimals: int) -> None:
        self._low.setDecimals(decimals)
        self._high.setDecimals(decimals)

    decimals = QtCore.Property(int, lambda self: self._low.decimals(), setDecimals)


SLIDERS = (ctkDoubleSpinBox, ctkDoubleSlider, ctkSliderWidget, ctkDoubleRangeSlider, ctkRangeWidget)
