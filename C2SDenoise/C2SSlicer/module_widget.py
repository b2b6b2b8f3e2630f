"""What the panels of both modules have in common as widgets of Slicer: their scene, its parameter node, their end."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import slicer
import vtk


class PanelWidget:
    """Mixin for a module's widget; `panel` does what the controls do, the parameter node of the scene holds the state.

    The panel has `set_parameters`, `parameters_changed`, `scene_closes` and `close`. A module's widget calls `build`
    in its `setup`. All names that Slicer looks for are here: enter, exit, cleanup.
    """

    # Of the class, for Slicer's own base class may call setup() in its constructor.
    logic: Any = None
    panel: Any = None
    _parameterNode: Any = None
    _parameterNodeGuiTag: Any = None

    def build(self, logic: Any, make_panel: Callable[[Any], Any]) -> None:
        """Load the `.ui` file, make the panel on its controls, and follow the scene."""
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic, self.panel = logic, make_panel(self.ui)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        # Node selectors fill their lists anew when an import has ended, and lose their choices by it. They have
        # observed the scene for longer, so they are ready when the choices are shown again.
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()

    def enter(self) -> None:
        if self.panel is not None:  # None: setup() has failed
            self.initializeParameterNode()

    def exit(self) -> None:
        """Another module is shown. What runs goes on."""
        if self.panel is not None:
            self.setParameterNode(None)

    def cleanup(self) -> None:
        """The application ends, or the module is reloaded: nothing of ours goes on."""
        if self.panel is not None:
            self.setParameterNode(None)
            self.panel.close()
        self.removeObservers()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        self.panel.scene_closes()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneStartImport(self, caller: Any, event: Any) -> None:
        self.setParameterNode(None)

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, node: Any) -> None:
        """Bind the controls to a parameter node, or to none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        self._parameterNode = node
        if node is not None:
            self._parameterNodeGuiTag = node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        self.panel.set_parameters(node)

    def onParametersChanged(self, caller: Any = None, event: Any = None) -> None:
        self.panel.parameters_changed()


def forget(package: str) -> None:
    """Let a package be read anew at its next import: Slicer's Reload takes the module's own file alone."""
    for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
        del sys.modules[name]
    importlib.invalidate_caches()
