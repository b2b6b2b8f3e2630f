"""Loading and saving for slicer.util: volumes, sequences, tables, transforms and scenes, by the real storage nodes."""

from __future__ import annotations

import os

import slicer
from PySide6 import QtCore

_VOLUMES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
_NODE_CLASSES = {
    "VolumeFile": "vtkMRMLScalarVolumeNode",
    "SequenceFile": "vtkMRMLSequenceNode",
    "TransformFile": "vtkMRMLLinearTransformNode",
}


class qSlicerCoreIOManager(QtCore.QObject):
    newSceneLoaded = QtCore.Signal(object)

    def __init__(self, scene: object, folder: str):
        super().__init__()
        self._scene = scene
        # Reading .mrb needs a cache and a data manager on the scene.
        self._cache = slicer.vtkCacheManager()
        self._cache.SetRemoteCacheDirectory(folder)
        self._cache.SetMRMLScene(scene)
        scene.SetCacheManager(self._cache)
        self._data = slicer.vtkDataIOManager()
        self._data.SetCacheManager(self._cache)
        scene.SetDataIOManager(self._data)

    def fileType(self, path: str) -> str:
        lower = str(path).lower()
        if lower.endswith((".seq.nrrd", ".seq.mrb")):
            return "SequenceFile"
        if lower.endswith((".mrml", ".mrb")):
            return "SceneFile"
        if lower.endswith((".tfm", ".h5", ".mat")):
            return "TransformFile"
        return "VolumeFile" if lower.endswith(_VOLUMES) else ""

    def loadNodes(self, file_type: str, properties: dict, loaded: object = None, messages: object = None) -> bool:
        path = properties["fileName"]
        if file_type == "SceneFile":
            return self._load_scene(path, properties.get("clear", False))
        if file_type not in _NODE_CLASSES or not os.path.isfile(path):
            return False
        label_map = properties.get("labelmap", False)
        name = properties.get("name") or os.path.basename(path).partition(".")[0]
        node = self._scene.AddNewNodeByClass(
            "vtkMRMLLabelMapVolumeNode" if label_map else _NODE_CLASSES[file_type], name
        )
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(path)
        if not node.GetStorageNode().ReadData(node):
            self._scene.RemoveNode(node)
            return False
        if hasattr(node, "CreateDefaultDisplayNodes"):
            node.CreateDefaultDisplayNodes()
        if file_type == "SequenceFile":
            self._browse(node)
        if loaded is not None:
            loaded.AddItem(node)
        if file_type == "VolumeFile" and properties.get("show", True):
            logic = slicer.app.applicationLogic()
            logic.GetSelectionNode().SetReferenceActiveVolumeID(node.GetID())
            logic.PropagateVolumeSelection()
        return True

    def _browse(self, sequence: object) -> None:
        """A browser for a loaded sequence, with the node that shows its current frame."""
        browser = self._scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{sequence.GetName()} browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)

    def loadScene(self, path: str, clear: bool = True) -> bool:
        return self._load_scene(path, clear)

    def _load_scene(self, path: str, clear: bool) -> bool:
        if path.lower().endswith(".mrb"):
            return bool(self._scene.ReadFromMRB(path, clear))
        self._scene.SetURL(path)
        self._scene.SetRootDirectory(os.path.dirname(path))
        return bool(self._scene.Connect() if clear else self._scene.Import())

    def fileWriterFileType(self, node: object, *options: object) -> str:
        return "NodeFile"

    def saveNodes(self, file_type: str, properties: dict, messages: object = None) -> bool:
        path = properties["fileName"]
        if file_type == "SceneFile":
            if path.lower().endswith(".mrb"):
                return bool(self._scene.WriteToMRB(path))
            if not path.lower().endswith(".mrml"):
                os.makedirs(path, exist_ok=True)
                return bool(self._scene.SaveSceneToSlicerDataBundleDirectory(path))
            self._scene.SetRootDirectory(os.path.dirname(path))
            return bool(self._scene.Commit(path))
        node = self._scene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None and not node.AddDefaultStorageNode():
            return False
        node.GetStorageNode().SetFileName(path)
        node.GetStorageNode().SetUseCompression(bool(properties.get("useCompression", True)))
        return bool(node.GetStorageNode().WriteData(node))
