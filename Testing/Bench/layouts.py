"""The layout manager: views from layout XML, over the real layout node, layout logic and slice logics."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from . import faults
from .view_widgets import qMRMLPlotWidget, qMRMLSliceWidget, qMRMLTableWidget, qMRMLThreeDWidget

_WIDGETS = {
    "vtkMRMLPlotViewNode": qMRMLPlotWidget,
    "vtkMRMLViewNode": qMRMLThreeDWidget,
    "vtkMRMLTableViewNode": qMRMLTableWidget,
}


def _set_view_property(node: object, name: str, value: str) -> None:
    """One <property> of a view in layout XML; a name that Slicer does not know is a fault."""
    if name == "orientation":
        node.SetOrientation(value)
    elif name == "viewlabel":
        node.SetLayoutLabel(value)
    elif name == "viewgroup":
        node.SetViewGroup(int(value))
    elif name == "viewcolor":
        node.SetLayoutColor(*(int(value[i : i + 2], 16) / 255 for i in (1, 3, 5)))
    else:
        faults.record(faults.OBSERVER, f"layout XML of {node.GetLayoutName()} has an unknown property {name!r}")


class qSlicerLayoutManager(QtCore.QObject):
    """``slicer.app.layoutManager()``."""

    layoutChanged = QtCore.Signal(int)

    def __init__(self, application_logic: object, scene: object):
        super().__init__()
        self._application_logic, self._scene = application_logic, scene
        self._logics = vtk.vtkCollection()
        application_logic.SetSliceLogics(self._logics)
        self._widgets: dict[object, QtWidgets.QWidget] = {}  # by node
        self._shown: list = []  # nodes of the current layout
        self._viewport = QtWidgets.QWidget()
        self._viewport.resize(1000, 700)
        QtWidgets.QVBoxLayout(self._viewport).setContentsMargins(0, 0, 0, 0)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene)
        self._link = slicer.vtkMRMLSliceLinkLogic()
        self._link.SetMRMLApplicationLogic(application_logic)
        self._link.SetMRMLScene(scene)
        self._node = self._logic.GetLayoutNode()
        self._tag = self._node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._arrange)
        self._arrangement = None
        self._node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
        self._arrange()

    def dispose(self) -> None:
        self._node.RemoveObserver(self._tag)
        self._application_logic.SetSliceLogics(None)
        self._link.SetMRMLScene(None)
        self._logic.SetMRMLScene(None)
        self._widgets, self._shown = {}, []
        self._viewport.deleteLater()

    # What Slicer's layout manager offers

    def setLayout(self, layout: int) -> None:
        if self._node.GetViewArrangement() == int(layout):
            return
        if not self._node.IsLayoutDescription(int(layout)):
            layout = self._node.SlicerLayoutConventionalView
        self._node.RemoveAllMaximizedViewNodes()
        self._node.SetViewArrangement(int(layout))

    layout = QtCore.Property(int, lambda self: self._node.GetViewArrangement(), setLayout)

    def layoutLogic(self) -> object:
        return self._logic

    def viewport(self) -> QtWidgets.QWidget:
        return self._viewport

    def mrmlScene(self) -> object:
        return self._scene

    def sliceViewNames(self) -> list[str]:
        return [node.GetLayoutName() for node in self._nodes("vtkMRMLSliceNode")]

    def sliceWidget(self, name: str) -> QtWidgets.QWidget | None:
        """Also of a view that is not in the current layout, as long as it was shown before."""
        found = [
            w for node, w in self._widgets.items() if node.IsA("vtkMRMLSliceNode") and node.GetLayoutName() == name
        ]
        return found[0] if found else None

    def mrmlSliceLogics(self) -> object:
        return self._logics

    def plotWidget(self, index: int) -> QtWidgets.QWidget | None:
        return self._nth("vtkMRMLPlotViewNode", index)

    def threeDWidget(self, index: int) -> QtWidgets.QWidget | None:
        return self._nth("vtkMRMLViewNode", index)

    def tableWidget(self, index: int) -> QtWidgets.QWidget | None:
        return self._nth("vtkMRMLTableViewNode", index)

    plotViewCount = QtCore.Property(int, lambda self: len(self._nodes("vtkMRMLPlotViewNode")))
    threeDViewCount = QtCore.Property(int, lambda self: len(self._nodes("vtkMRMLViewNode")))
    tableViewCount = QtCore.Property(int, lambda self: len(self._nodes("vtkMRMLTableViewNode")))

    def resetSliceViews(self) -> None:
        for index in range(self._logics.GetNumberOfItems()):
            self._logics.GetItemAsObject(index).FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """There is no 3-D rendering."""

    # How it is built

    def _nodes(self, class_name: str) -> list:
        return [node for node in self._shown if node.IsA(class_name)]

    def _nth(self, class_name: str, index: int) -> QtWidgets.QWidget | None:
        nodes = self._nodes(class_name)
        return self._widgets[nodes[index]] if 0 <= index < len(nodes) else None

    def _arrange(self, caller: object = None, event: str = "") -> None:
        """Show the layout that the layout node names, or the views of it that were enlarged; none if it is unknown."""
        arrangement = self._node.GetViewArrangement()
        described = self._node.IsLayoutDescription(arrangement) and self._node.GetLayoutDescription(arrangement)
        description = self._node.GetCurrentLayoutDescription()
        try:
            ElementTree.fromstring(described or "<layout/>")
        except ElementTree.ParseError as error:  # Slicer logs it and shows nothing
            faults.record(faults.OBSERVER, f"layout {arrangement} is not well-formed XML: {error}")
        for number in range(self._node.GetNumberOfMaximizedViewNodes()):
            view = self._node.GetMaximizedViewNode(number)
            if view is not None:
                description = self._logic.GetMaximizedViewLayoutDescription(view, description)
        if (arrangement, description) == self._arrangement:
            return
        self._arrangement = (arrangement, description)
        root = ElementTree.fromstring(description or "<layout/>")
        self._shown = []
        for widget in self._widgets.values():
            widget.setParent(None)
        while self._viewport.layout().count():
            old = self._viewport.layout().takeAt(0).widget()
            if old is not None:
                old.deleteLater()
        self._viewport.layout().addWidget(self._build(root))
        self.layoutChanged.emit(self._node.GetViewArrangement())

    def _build(self, element: ElementTree.Element) -> QtWidgets.QWidget:
        """A widget for a <layout> or <view> element."""
        if element.tag == "view":
            return self._view(element)
        kind = element.get("type", "horizontal")
        container = QtWidgets.QTabWidget() if kind == "tab" else QtWidgets.QWidget()
        layout = None
        if kind != "tab":
            layout = {"vertical": QtWidgets.QVBoxLayout, "grid": QtWidgets.QGridLayout}.get(
                kind, QtWidgets.QHBoxLayout
            )(container)
            layout.setContentsMargins(0, 0, 0, 0)
        for index, item in enumerate(element.findall("item")):
            widget = self._build(next(iter(item)))
            if kind == "tab":
                container.addTab(widget, item.get("name", str(index)))
            elif kind == "grid":
                layout.addWidget(widget, *(int(item.get(key, "0")) for key in ("row", "column")))
            else:
                layout.addWidget(widget, int(item.get("splitSize", "1")))
        return container

    def _view(self, element: ElementTree.Element) -> QtWidgets.QWidget:
        class_name, tag = element.get("class", ""), element.get("singletontag")
        node = self._scene.GetSingletonNode(tag, class_name) if tag else self._logic.GetViewFromElement(element)
        if node is None:  # the layout logic normally made it already
            node = self._scene.CreateNodeByClass(class_name)
            node.UnRegister(None)
            node.SetSingletonTag(tag)
            node.SetLayoutName(tag)
            node = self._scene.AddNode(node)
        new = node not in self._widgets
        if new:
            self._widgets[node] = self._make_widget(node)
        for entry in element.findall("property"):
            if new or entry.get("action") == "relayout":
                _set_view_property(node, entry.get("name", ""), (entry.text or "").strip())
        self._widgets[node].update_label()
        self._shown.append(node)
        return self._widgets[node]

    def _make_widget(self, node: object) -> QtWidgets.QWidget:
        if not node.IsA("vtkMRMLSliceNode"):
            return _WIDGETS[node.GetClassName()](node)
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._application_logic)
        logic.SetMRMLScene(self._scene)
        logic.SetSliceNode(node)
        self._logics.AddItem(logic)
        logic.ResizeSliceNode(256, 256)
        return qMRMLSliceWidget(node, logic)
