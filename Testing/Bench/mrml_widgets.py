"""Stand-ins for the qMRML widgets: containers with a scene, and node selectors."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets

from .ctk_sliders import ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget
from .node_model import NodeModel


def _spelled(*names: str) -> dict[str, list[str]]:
    return {name: [f"{name}(vtkMRMLNode*)"] for name in names}


class qMRMLWidget(QtWidgets.QWidget):
    """A container that tells its scene to the widgets connected to it."""

    SIGNALS = {"mrmlSceneChanged": ["mrmlSceneChanged(vtkMRMLScene*)"]}
    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, *arguments: object):
        super().__init__(*arguments)
        self._scene = None

    def setMRMLScene(self, scene: object) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> object:
        return self._scene


def _option(name: str, kind: object) -> QtCore.Property:
    """A property of a selector that is kept in its model's options."""

    def write(self: QtWidgets.QWidget, value: object) -> None:
        self._model.options[name] = list(value) if isinstance(value, tuple) else value
        self._model.changed.emit()

    return QtCore.Property(kind, lambda self: self._model.options[name], write)


def _setting(name: str, kind: object, default: object) -> QtCore.Property:
    """A property without effect on the stand-in, but with its type and default."""
    attribute = f"_setting_{name}"

    def write(self: QtWidgets.QWidget, value: object) -> None:
        setattr(self, attribute, value)

    return QtCore.Property(kind, lambda self: getattr(self, attribute, default), write)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A drop-down list of nodes."""

    SIGNALS = _spelled(
        "currentNodeChanged", "nodeAdded", "nodeAddedByUser", "nodeAboutToBeEdited", "nodeAboutToBeRemoved"
    )
    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAboutToBeEdited = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._model = NodeModel(self)
        self._none_enabled, self._none_display, self._ids, self._current = False, "None", [], ""
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._box.setMinimumContentsLength(8)
        layout.addWidget(self._box)
        self._box.currentIndexChanged.connect(self._chosen)
        self._model.changed.connect(self._refresh)
        self._model.rebuilt.connect(self._empty)

    def setMRMLScene(self, scene: object) -> None:
        if scene is not self._model.scene:
            self._model.set_scene(scene)

    def mrmlScene(self) -> object:
        return self._model.scene

    def _empty(self) -> None:
        """Take out all nodes; the current one is forgotten, which is signalled."""
        self._box.blockSignals(True)
        while self.nodeCount():
            self._box.removeItem(len(self._ids) - 1)
            self._ids.pop()
        self._box.blockSignals(False)
        self._chosen()

    def _refresh(self) -> None:
        """Fill the list anew. The current node stays; if it is gone or the list was empty, the first entry is next."""
        nodes = self._model.nodes()
        unset = not self._current and self.nodeCount() > 0 and not self._none_enabled
        self._box.blockSignals(True)
        self._box.clear()
        self._ids = []
        if self._none_enabled:
            self._box.addItem(self._none_display)
            self._ids.append("")
        for node in nodes:
            self._box.addItem(node.GetName() or "")
            self._ids.append(node.GetID())
        fallback = -1 if unset or not self._ids else 0
        self._box.setCurrentIndex(self._ids.index(self._current) if self._current in self._ids else fallback)
        self._box.blockSignals(False)
        self._chosen()

    def _chosen(self, index: int | None = None) -> None:
        index = self._box.currentIndex()
        chosen = self._ids[index] if 0 <= index < len(self._ids) else ""
        if chosen != self._current:
            self._current = chosen
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(chosen)

    def currentNode(self) -> object:
        return self._model.scene.GetNodeByID(self._current) if self._model.scene and self._current else None

    def setCurrentNode(self, node: object) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str) -> None:
        wanted = node_id or ""
        self._box.setCurrentIndex(self._ids.index(wanted) if wanted in self._ids else -1)

    def setCurrentNodeIndex(self, index: int) -> None:
        self._box.setCurrentIndex(index + self._none_enabled)

    def nodeFromIndex(self, index: int) -> object:
        return self._model.scene.GetNodeByID(self._ids[index + self._none_enabled])

    def nodeCount(self) -> int:
        return len(self._ids) - self._none_enabled

    def addNode(self, node_type: str | None = None) -> object:
        """What the menu entry "Create new …" does."""
        node = self._model.scene.AddNewNodeByClass(
            node_type or self._model.options["nodeTypes"][0], self.property("baseName")
        )
        for kind, name, value in self._model.attributes:
            if node.IsA(kind):
                node.SetAttribute(name, str(value))
        self._refresh()
        if self.property("selectNodeUponCreation"):
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def addAttribute(self, node_type: str, name: str, value: object = None) -> None:
        self._model.attributes.append((node_type, name, value))
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._model.attributes = [kept for kept in self._model.attributes if kept[:2] != (node_type, name)]
        self._refresh()

    def _set_none_enabled(self, enabled: bool) -> None:
        self._none_enabled = enabled
        self._refresh()

    def _set_none_display(self, text: str) -> None:
        self._none_display = text
        self._refresh()

    nodeTypes = _option("nodeTypes", "QStringList")
    showHidden = _option("showHidden", bool)
    showChildNodeTypes = _option("showChildNodeTypes", bool)
    hideChildNodeTypes = _option("hideChildNodeTypes", "QStringList")
    noneEnabled = QtCore.Property(bool, lambda self: self._none_enabled, _set_none_enabled)
    noneDisplay = QtCore.Property(str, lambda self: self._none_display, _set_none_display)
    currentNodeID = QtCore.Property(str, lambda self: self._current, setCurrentNodeID)
    addEnabled = _setting("addEnabled", bool, True)
    removeEnabled = _setting("removeEnabled", bool, True)
    editEnabled = _setting("editEnabled", bool, False)
    renameEnabled = _setting("renameEnabled", bool, False)
    baseName = _setting("baseName", str, "")
    selectNodeUponCreation = _setting("selectNodeUponCreation", bool, True)
    interactionNodeSingletonTag = _setting("interactionNodeSingletonTag", str, "")


class qMRMLCheckableNodeComboBox(QtWidgets.QWidget):
    """A drop-down list of nodes, each with a check box."""

    checkedNodesChanged = QtCore.Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self._model = NodeModel(self)
        self._shown: list = []
        self._checked: set[str] = set()
        self._check_new = False
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        layout.addWidget(self._box)
        self._model.changed.connect(self._refresh)
        self._model.rebuilt.connect(self._empty)

    def setMRMLScene(self, scene: object) -> None:
        if scene is not self._model.scene:
            self._model.set_scene(scene)

    def mrmlScene(self) -> object:
        return self._model.scene

    def _empty(self) -> None:
        """Take out all rows: those that come anew are not ticked, which is signalled."""
        self._shown = []
        if self._checked:
            self._checked = set()
            self.checkedNodesChanged.emit()

    def _refresh(self) -> None:
        known = {node.GetID() for node in self._shown}
        self._shown = self._model.nodes()
        ids = [node.GetID() for node in self._shown]
        added = {node_id for node_id in ids if node_id not in known} if self._check_new else set()
        checked = (self._checked & set(ids)) | added
        changed, self._checked = checked != self._checked, checked
        self._box.clear()
        for node in self._shown:
            self._box.addItem(("☑ " if node.GetID() in checked else "☐ ") + (node.GetName() or ""))
        self._box.setPlaceholderText(", ".join(node.GetName() for node in self.checkedNodes()) or "None")
        self._box.setCurrentIndex(-1)
        if changed:
            self.checkedNodesChanged.emit()

    def checkedNodes(self) -> list:
        return [node for node in self._shown if node.GetID() in self._checked]

    def uncheckedNodes(self) -> list:
        return [node for node in self._shown if node.GetID() not in self._checked]

    def checkState(self, node: object) -> QtCore.Qt.CheckState:
        checked = node is not None and node.GetID() in self._checked
        return QtCore.Qt.CheckState.Checked if checked else QtCore.Qt.CheckState.Unchecked

    def setCheckState(self, node: object, state: QtCore.Qt.CheckState) -> None:
        """As in Slicer, a node that is not in the list is passed over."""
        if node is None or node not in self._shown:
            return
        before = set(self._checked)
        (self._checked.add if state == QtCore.Qt.CheckState.Checked else self._checked.discard)(node.GetID())
        if before != self._checked:
            self._refresh()
            self.checkedNodesChanged.emit()

    def nodeCount(self) -> int:
        return len(self._shown)

    def nodeFromIndex(self, index: int) -> object:
        return self._shown[index]

    def addAttribute(self, node_type: str, name: str, value: object = None) -> None:
        self._model.attributes.append((node_type, name, value))
        self._refresh()

    def _set_check_new(self, check: bool) -> None:
        self._check_new = check

    nodeTypes = _option("nodeTypes", "QStringList")
    showHidden = _option("showHidden", bool)
    showChildNodeTypes = _option("showChildNodeTypes", bool)
    hideChildNodeTypes = _option("hideChildNodeTypes", "QStringList")
    userCheckable = _setting("userCheckable", bool, True)
    checkNewNodes = QtCore.Property(bool, lambda self: self._check_new, _set_check_new)
    noneEnabled = _setting("noneEnabled", bool, False)
    addEnabled = _setting("addEnabled", bool, False)
    removeEnabled = _setting("removeEnabled", bool, False)
    editEnabled = _setting("editEnabled", bool, False)
    renameEnabled = _setting("renameEnabled", bool, False)


class qMRMLSliderWidget(ctkSliderWidget):
    """Its unit handling is left out."""

    def setMRMLScene(self, scene: object) -> None:
        """Units come from the scene; the stand-in has none."""


class qMRMLSpinBox(ctkDoubleSpinBox):
    """Its unit handling is left out."""

    def setMRMLScene(self, scene: object) -> None:
        """Units come from the scene; the stand-in has none."""


class qMRMLRangeWidget(ctkRangeWidget):
    """Its unit handling is left out."""

    def setMRMLScene(self, scene: object) -> None:
        """Units come from the scene; the stand-in has none."""


WIDGETS = {
    cls.__name__: cls
    for cls in (
        qMRMLWidget,
        qMRMLNodeComboBox,
        qMRMLCheckableNodeComboBox,
        qMRMLSliderWidget,
        qMRMLSpinBox,
        qMRMLRangeWidget,
    )
}
