"""Stand-ins for slice, plot and 3-D view widgets. Slices are rendered by Slicer's own slice logic, without OpenGL."""

from __future__ import annotations

import numpy as np
import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from vtk.util.numpy_support import vtk_to_numpy

CHART_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")


def slice_image(logic: object) -> np.ndarray:
    """What a slice view shows: (height, width, 4) uint8 RGBA, row 0 at the top; black where there is no volume."""
    width, height = logic.GetSliceNode().GetDimensions()[:2]
    picture = np.zeros((height, width, 4), np.uint8)
    picture[..., 3] = 255
    connection = logic.GetImageDataConnection()
    if connection is None:
        return picture
    connection.GetProducer().Update()
    image = connection.GetProducer().GetOutputDataObject(0)
    columns, rows, _ = image.GetDimensions()
    colors = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1]
    if colors.shape[2] == 4:
        alpha = colors[..., 3:].astype(np.float32) / 255
        colors = (colors[..., :3] * alpha).astype(np.uint8)
    picture[:rows, :columns, :3] = colors[:height, :width, :3]
    return picture


def to_qimage(picture: np.ndarray) -> QtGui.QImage:
    """A QImage that owns its pixels."""
    height, width = picture.shape[:2]
    data = np.ascontiguousarray(picture)
    return QtGui.QImage(data.data, width, height, 4 * width, QtGui.QImage.Format.Format_RGBA8888).copy()


class _View(QtWidgets.QWidget):
    """The area of a view widget that shows the picture."""

    def __init__(self, parent: QtWidgets.QWidget):
        super().__init__(parent)
        self.setMinimumSize(60, 60)

    def scheduleRender(self) -> None:
        self.update()

    def forceRender(self) -> None:
        self.repaint()

    def mrmlScene(self) -> object:
        return slicer.mrmlScene


class qMRMLSliceView(_View):
    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor(0, 0, 0))
        painter.drawImage(0, 0, to_qimage(slice_image(self.parent().sliceLogic())))


class qMRMLPlotView(_View):
    """Lines of the chart's series; axes and legends are left out."""

    def mrmlPlotViewNode(self) -> object:
        return self.parent().mrmlPlotViewNode()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor(255, 255, 255))
        curves = _curves(self.parent().mrmlPlotViewNode().GetPlotChartNode())
        if not curves:
            return
        points = np.concatenate([np.stack(curve) for curve in curves], axis=1)
        low, extent = points.min(1), np.maximum(np.ptp(points, axis=1), 1e-12)
        for index, (x, y) in enumerate(curves):
            painter.setPen(QtGui.QPen(QtGui.QColor(CHART_COLORS[index % len(CHART_COLORS)]), 2))
            columns = 8 + (x - low[0]) / extent[0] * (self.width() - 16)
            rows = self.height() - 8 - (y - low[1]) / extent[1] * (self.height() - 16)
            painter.drawPolyline([QtCore.QPointF(a, b) for a, b in zip(columns, rows, strict=True)])


def _curves(chart: object) -> list[tuple[np.ndarray, np.ndarray]]:
    """(x, y) of each series of a chart node, float64."""
    found = []
    for index in range(chart.GetNumberOfPlotSeriesNodes() if chart is not None else 0):
        series = chart.GetNthPlotSeriesNode(index)
        table = series.GetTableNode().GetTable() if series and series.GetTableNode() else None
        y = table.GetColumnByName(series.GetYColumnName()) if table and series.GetYColumnName() else None
        if y is None or y.GetNumberOfTuples() == 0:
            continue
        x = table.GetColumnByName(series.GetXColumnName()) if series.GetXColumnName() else None
        values = vtk_to_numpy(y).astype(float)
        found.append((vtk_to_numpy(x).astype(float) if x is not None else np.arange(len(values), dtype=float), values))
    return found


class _ViewWidget(QtWidgets.QWidget):
    """A view with a label on top."""

    view_class: type = _View

    def __init__(self, node: object, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._node = node
        self._label = QtWidgets.QLabel(self)
        self._view = self.view_class(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._label)
        layout.addWidget(self._view, 1)

    def update_label(self) -> None:
        """Name and color of the view as its node has them."""
        red, green, blue = (round(255 * value) for value in self._node.GetLayoutColor())
        self._label.setText(f" {self._node.GetLayoutLabel() or self._node.GetLayoutName()}")
        self._label.setStyleSheet(f"background: rgb({red}, {green}, {blue})")

    def mrmlScene(self) -> object:
        return self._node.GetScene()


class qMRMLSliceWidget(_ViewWidget):
    """A slice view with its logic; the logic is shared with the application's list of slice logics."""

    view_class = qMRMLSliceView

    def __init__(self, node: object, logic: object, parent: QtWidgets.QWidget | None = None):
        super().__init__(node, parent)
        self._logic = logic

    def sliceLogic(self) -> object:
        return self._logic

    def sliceView(self) -> QtWidgets.QWidget:
        return self._view

    def mrmlSliceNode(self) -> object:
        return self._node

    def mrmlSliceCompositeNode(self) -> object:
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        super().resizeEvent(event)
        self.layout().activate()
        self._logic.ResizeSliceNode(max(self._view.width(), 1), max(self._view.height(), 1))


class qMRMLPlotWidget(_ViewWidget):
    view_class = qMRMLPlotView

    def plotView(self) -> QtWidgets.QWidget:
        return self._view

    def mrmlPlotViewNode(self) -> object:
        return self._node


class qMRMLThreeDWidget(_ViewWidget):
    """Black: nothing is rendered in three dimensions."""

    def threeDView(self) -> QtWidgets.QWidget:
        return self._view

    def mrmlViewNode(self) -> object:
        return self._node


class qMRMLTableWidget(_ViewWidget):
    """Empty: tables are not shown."""

    def mrmlTableViewNode(self) -> object:
        return self._node


WIDGETS = {cls.__name__: cls for cls in (qMRMLSliceWidget, qMRMLPlotWidget, qMRMLThreeDWidget, qMRMLTableWidget)}
