"""Subject hierarchy items for new nodes: in Slicer Qt plug-ins make them, in slicer-core nobody does."""

from __future__ import annotations

import slicer
import vtk

# The kinds of node that some plug-in of Slicer's owns.
_OWNED = (
    "vtkMRMLDisplayableNode",
    "vtkMRMLTableNode",
    "vtkMRMLPlotChartNode",
    "vtkMRMLPlotSeriesNode",
    "vtkMRMLTextNode",
    "vtkMRMLTransformNode",
    "vtkMRMLSequenceNode",
    "vtkMRMLSequenceBrowserNode",
)


class SubjectHierarchy:
    """Keeps one item per owned node of a scene, until ``stop``."""

    def __init__(self, scene: object):
        self._scene = scene
        events = {
            scene.NodeAddedEvent: self._added,
            scene.NodeAboutToBeRemovedEvent: self._removed,
            scene.EndImportEvent: self._complete,
            scene.EndCloseEvent: self._complete,
        }
        self._tags = [scene.AddObserver(event, function) for event, function in events.items()]
        self._complete()

    def stop(self) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)

    def _node(self) -> object:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _complete(self, caller: object = None, event: str = "") -> None:
        """Items for all nodes that have none, e.g. after a scene was read."""
        self._node()
        for index in range(self._scene.GetNumberOfNodes()):
            self._make_item(self._scene.GetNthNode(index))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, caller: object, event: str, node: object) -> None:
        if not self._scene.IsImporting():
            self._make_item(node)

    def _make_item(self, node: object) -> None:
        if node is None or node.GetHideFromEditors() or not any(node.IsA(kind) for kind in _OWNED):
            return
        hierarchy = self._node()
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _removed(self, caller: object, event: str, node: object) -> None:
        if self._scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        item = self._node().GetItemByDataNode(node)
        if item:
            self._node().RemoveItem(item, False, False)
