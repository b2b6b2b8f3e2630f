"""Watching a training: curves in a plot view, one held-back slice (source, result, what is removed) above it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import slicer

from C2SSlicer import compare
from C2SSlicer.plots import Curves
from C2SSlicer.views import OwnLayout, composite_node, slice_logic, slice_node, slice_view

LAYOUT_ID = 7306
PLOT = "C2STraining"
VIEWS = {"C2STrainSource": "Held-back slice", "C2STrainResult": "Denoised so far", "C2STrainNoise": "Removed"}
NAMES = ("loss", "validation")
SHOWN_NOISE = 2.5  # standard deviations at which the colours of what is removed saturate


def layout_xml() -> str:
    """Three slice views over two plot views."""
    slices = "".join(f"<item>{slice_view(name, label, '#4A90A4', LAYOUT_ID)}</item>" for name, label in VIEWS.items())
    plots = "".join(
        f'<item><view class="vtkMRMLPlotViewNode" singletontag="{PLOT}{name}">'
        f'<property name="viewlabel" action="default">{name}</property></view></item>'
        for name in NAMES
    )
    return (
        f'<layout type="vertical" split="true"><item splitSize="600"><layout type="horizontal">{slices}</layout></item>'
        f'<item splitSize="400"><layout type="horizontal">{plots}</layout></item></layout>'
    )


def register() -> None:
    """When Slicer has started: a scene may come that was saved with these views."""
    OwnLayout(LAYOUT_ID).describe(layout_xml())


class Monitor:
    """Curves and preview of the newest training; `show` puts them into the views, `hide` brings the old layout back.

    `defer` does a piece of work at a later turn of the event loop, so that the window answers between two.
    """

    def __init__(self, defer: Callable[[Callable[[], None]], None] = lambda step: step()) -> None:
        self._defer = defer
        self._layout = OwnLayout(LAYOUT_ID)
        self._curves = {name: Curves(f"Training: {name}", (name,)) for name in NAMES}
        self._volumes: dict[str, str] = {}  # view name -> node id
        self._drawn: tuple[int, int] = (0, 0)
        self._pictured = (0, "")

    @property
    def shown(self) -> bool:
        return self._layout.shown

    def points(self, name: str) -> np.ndarray:
        """(points, 2) float64: step and value of a curve."""
        return self._curves[name].array()

    def update(self, history: Sequence[dict[str, Any]], preview: str, step: int) -> None:
        """Bring curves and pictures up to date; cheap where nothing is new."""
        state = (len(history), int(history[-1]["step"]) if history else 0)
        if state != self._drawn:
            self._drawn = state
            self._draw(history)
        if preview and self._pictured != (state[1], preview):
            self._pictured = (state[1], preview)
            self._picture(preview)

    def _draw(self, history: Sequence[dict[str, Any]]) -> None:
        for name, curves in self._curves.items():
            if len(curves.array()) > len(history):
                curves.clear()
            known = {int(step) for step in curves.array()[:, 0]}
            for point in history:
                if int(point["step"]) not in known and point.get(name) is not None:
                    curves.add(int(point["step"]), {name: point[name]})
            chart = curves.draw()
            if chart is not None:
                chart.SetXAxisTitle("step")
                chart.SetYAxisTitle(name)
        if self.shown:
            self._place_charts()

    def _picture(self, path: str) -> None:
        """(3, J, I) from the worker's file into three volumes of one slice each."""
        try:
            planes = np.load(path, allow_pickle=False)
        except (OSError, ValueError):  # just being replaced: the next one comes
            return
        if planes.ndim != 3 or len(planes) != len(VIEWS):
            return
        for name, plane in zip(VIEWS, planes, strict=True):
            self._defer(functools.partial(self._show_plane, name, plane, planes, self._pictured))

    def _show_plane(self, name: str, plane: np.ndarray, planes: np.ndarray, pictured: tuple[int, str]) -> None:
        if pictured != self._pictured:  # another picture has come, or another training
            return
        node = slicer.mrmlScene.GetNodeByID(self._volumes.get(name, ""))
        fresh = node is None
        if fresh:
            node = _hidden_volume(f"Training: {VIEWS[name]}")
            self._volumes[name] = node.GetID()
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(plane[None]))
        if fresh:
            node.CreateDefaultDisplayNodes()
            node.GetDisplayNode().SetSaveWithScene(False)
        self._window(node, name, planes)
        if fresh and self.shown:
            self._place_volumes([name])

    def _window(self, node: Any, name: str, planes: np.ndarray) -> None:
        if name == "C2STrainNoise":
            compare.show_symmetric(node, SHOWN_NOISE * float(planes[2].std()))
            return
        low, high = (float(q) for q in np.quantile(planes[0], (0.01, 0.995)))
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(max(high - low, 1e-12), (high + low) / 2)

    def show(self) -> None:
        """Put curves and preview into the views."""
        self._layout.show(layout_xml(), self._fill)

    def _fill(self) -> None:
        self._place_volumes()
        self._place_charts()

    def _place_volumes(self, names: Iterable[str] = tuple(VIEWS)) -> None:
        for name in names:
            identifier = self._volumes.get(name, "")
            composite = composite_node(name)
            node = slicer.mrmlScene.GetNodeByID(identifier)
            if composite is None or node is None:
                continue
            composite.SetDoPropagateVolumeSelection(False)
            composite.SetBackgroundVolumeID(identifier)
            composite.SetLinkedControl(True)
            view = slice_node(name)
            view.RotateToVolumePlane(node)
            logic = slice_logic(view)
            if logic is not None:
                logic.FitSliceToAll()

    def _place_charts(self) -> None:
        for name, curves in self._curves.items():
            view = self._plot_view(f"{PLOT}{name}")
            if view is not None and curves.chart is not None:
                view.SetDoPropagatePlotChartSelection(False)  # nor does the chart of another module
                view.SetPlotChartNodeID(curves.chart.GetID())

    def _plot_view(self, tag: str) -> Any:
        for number in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLPlotViewNode")):
            found = slicer.mrmlScene.GetNthNodeByClass(number, "vtkMRMLPlotViewNode")
            if found.GetSingletonTag() == tag:
                return found
        return None

    def hide(self) -> None:
        """The layout as it was before."""
        self._layout.hide()

    def clear(self) -> None:
        """Another training begins, or the scene is closed: nothing of the last one stays in the scene."""
        for curves in self._curves.values():
            curves.clear()
        for identifier in self._volumes.values():
            node = slicer.mrmlScene.GetNodeByID(identifier)
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
        self._volumes, self._drawn, self._pictured = {}, (0, 0), (0, "")


def _hidden_volume(name: str) -> Any:
    """A volume of the scene that is not one to denoise or to train on; hidden before lists can see it."""
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)  # made for Python, which holds it too
    node.SetName(name)
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    return slicer.mrmlScene.AddNode(node)
