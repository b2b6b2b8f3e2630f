"""What the panels of both modules have in common as widgets of Slicer: their scene, its parameter node, their end."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
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
    _parameterNodeObservers: list[int]

    def build(self, logic: Any, make_panel: Callable[[Any], Any]) -> None:
        """Load the `.ui` file, make the panel on its controls, and follow the scene."""
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic, self.panel = logic, make_panel(self.ui)
        self._parameterNodeObservers = []
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
        try:
            if self.panel is not None:
                self.setParameterNode(None)
                self.panel.close()
        finally:  # an observer that stays would act on what is gone
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
        bound = self._parameterNode
        if bound is not None and node is not None and node.parameterNode is bound.parameterNode:
            node = bound
        else:
            self._unbind()
            if node is not None:
                self._bind(node)
        self.panel.set_parameters(node)

    def _bind(self, node: Any) -> None:
        self._parameterNode = node
        with _noted(node, self._parameterNodeObservers):
            self._parameterNodeGuiTag = node.connectGui(self.ui)
        # The node within: what observes a wrapper keeps it for ever.
        self.addObserver(node.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)

    def _unbind(self) -> None:
        node, self._parameterNode = self._parameterNode, None
        if node is not None:
            self.removeObserver(node.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
            node.disconnectGui(self._parameterNodeGuiTag)
            while self._parameterNodeObservers:
                node.RemoveObserver(self._parameterNodeObservers.pop())

    def onParametersChanged(self, caller: Any = None, event: Any = None) -> None:
        self.panel.parameters_changed()


@contextlib.contextmanager
def _noted(node: Any, tags: list[int]) -> Iterator[None]:
    """Put the observers that a wrapper gets meanwhile into `tags`.

    In Slicer 5.10 disconnectGui leaves the one of connectGui behind, and with it the wrapper, at every opening of the
    module. Where it does not, to remove it a second time is harmless.
    """
    add = node.AddObserver

    def note(*arguments: Any) -> int:
        tags.append(add(*arguments))
        return tags[-1]

    node.AddObserver = note
    try:
        yield
    finally:
        del node.AddObserver


def forget(package: str) -> None:
    """Let a package be read anew at its next import: Slicer's Reload takes the module's own file alone."""
    for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
        del sys.modules[name]
    importlib.invalidate_caches()
