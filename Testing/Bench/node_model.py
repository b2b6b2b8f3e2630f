"""Which nodes of a scene a node selector shows, kept up to date."""

from __future__ import annotations

import shiboken6
from PySide6 import QtCore
from vtk import vtkCommand


class NodeModel(QtCore.QObject):
    """The nodes of a scene that a selector shows, kept up to date by scene events."""

    changed = QtCore.Signal()
    rebuilt = QtCore.Signal()  # all rows were taken out and come anew; `changed` follows

    def __init__(self, parent: QtCore.QObject):
        super().__init__(parent)
        self.scene = None
        self.options = {
            "nodeTypes": [],
            "showHidden": False,
            "showChildNodeTypes": True,
            "hideChildNodeTypes": [],
        }
        self.attributes: list[tuple[str, str, object]] = []
        self._tags: list[tuple[object, int]] = []
        self._watched: dict[object, tuple[str, int]] = {}  # node: its name as shown, observer tag

    def set_scene(self, scene: object) -> None:
        self._forget()
        self.scene = scene
        if scene is not None:
            events = (
                scene.NodeAddedEvent,
                scene.NodeRemovedEvent,
                scene.EndBatchProcessEvent,
                scene.EndCloseEvent,
            )
            self._tags = [(scene, scene.AddObserver(event, self._scene_changed)) for event in events]
            self._tags.append((scene, scene.AddObserver(scene.EndImportEvent, self._imported)))
        self.changed.emit()

    def _forget(self) -> None:
        for subject, tag in [*self._tags, *((node, tag) for node, (_, tag) in self._watched.items())]:
            subject.RemoveObserver(tag)
        self._tags, self._watched = [], {}

    def _alive(self) -> bool:
        """False, and no longer observing, once Qt has deleted the selector."""
        alive = shiboken6.isValid(self)
        if not alive:
            self._forget()
        return alive

    def _scene_changed(self, caller: object, event: str) -> None:
        if self._alive() and not caller.IsBatchProcessing():
            self.changed.emit()

    def _imported(self, caller: object, event: str) -> None:
        """As in Slicer, nodes are not added during an import; when it has ended, the list is made anew as a whole."""
        if self._alive():
            self.rebuilt.emit()
            self.changed.emit()

    def _node_modified(self, caller: object, event: str) -> None:
        if self._alive() and caller in self._watched and self._watched[caller][0] != caller.GetName():
            self.changed.emit()

    def shows(self, node: object) -> bool:
        options = self.options
        types = options["nodeTypes"]
        exact = node.GetClassName() in types
        inherited = options["showChildNodeTypes"] and any(node.IsA(name) for name in types)
        hidden = node.GetHideFromEditors() and not options["showHidden"]
        excluded = any(node.IsA(name) for name in options["hideChildNodeTypes"])
        return (exact or inherited) and not hidden and not excluded and self._has_attributes(node)

    def _has_attributes(self, node: object) -> bool:
        for node_type, name, value in self.attributes:
            found = node.GetAttribute(name)
            if node.IsA(node_type) and (found is None or (value is not None and found != str(value))):
                return False
        return True

    def nodes(self) -> list:
        """The shown nodes in scene order; their names are watched from here on."""
        if self.scene is None:
            return []
        nodes = [self.scene.GetNthNode(i) for i in range(self.scene.GetNumberOfNodes())]
        nodes = [node for node in nodes if self.shows(node)]
        for node in set(self._watched) - set(nodes):
            node.RemoveObserver(self._watched.pop(node)[1])
        for node in nodes:
            tag = (
                self._watched[node][1]
                if node in self._watched
                else node.AddObserver(vtkCommand.ModifiedEvent, self._node_modified)
            )
            self._watched[node] = (node.GetName(), tag)
        return nodes
