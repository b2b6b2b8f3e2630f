"""Slicer's views: layouts of our own that are shown for a while, and the nodes of slice views by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

SETTLING = 20, 50  # how often, and after how many milliseconds each, new views are looked at: have they got a size?


class OwnLayout:
    """A layout that is shown until the user has seen enough; `hide` brings back the one that was there before.

    `number`: above Slicer's own and user layouts, and no other module's.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._before: int | None = None
        self._fill: Callable[[], None] = lambda: None
        self._timer: Any = None
        self._looks = 0
        self._sizes: list[tuple[int, ...]] = []

    @property
    def shown(self) -> bool:
        layout = layout_node()
        return self._before is not None and layout is not None and layout.GetViewArrangement() == self._number

    def show(self, xml: str, fill: Callable[[], None]) -> bool:
        """Show the layout that is described; False where there are no views.

        `fill` puts something into the views and fits it. It is called at once, and again when Qt has given new views
        their size, for what was fitted to a view before that is cut off.
        """
        layout = layout_node()
        if layout is None:
            return False
        if not self.shown:
            before = layout.GetViewArrangement()  # ours in a scene that was saved with it: nothing to go back to
            self._before = before if before != self._number else layout.SlicerLayoutFourUpView
        self.describe(xml)
        layout.RemoveAllMaximizedViewNodes()  # a view that was enlarged with a double click would stay alone
        layout.SetViewArrangement(self._number)
        self._fill = fill
        self._fill()
        self._settle()
        return True

    def _settle(self) -> None:
        """For a second, fill the views again whenever their size has changed."""
        import qt

        if self._timer is None:
            self._timer = qt.QTimer()
            self._timer.setInterval(SETTLING[1])
            self._timer.timeout.connect(self._look)
        self._looks, self._sizes = 0, self._present_sizes()
        self._timer.start()

    def _look(self) -> None:
        self._looks += 1
        if self._looks >= SETTLING[0] or not self.shown:
            self._timer.stop()
        if self.shown and self._present_sizes() != self._sizes:
            self._sizes = self._present_sizes()
            self._fill()

    def _present_sizes(self) -> list[tuple[int, ...]]:
        nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
        return [tuple(node.GetDimensions()) for node in nodes if node.GetViewGroup() == self._number]

    def describe(self, xml: str) -> None:
        """Make the layout known, so that a scene that was saved with it has views when it is opened."""
        layout = layout_node()
        if layout is None:
            return
        if layout.IsLayoutDescription(self._number):
            layout.SetLayoutDescription(self._number, xml)
            return
        layout.AddLayoutDescription(self._number, xml)
        if layout.GetViewArrangement() == self._number:
            layout.SetViewArrangement(self._number)  # it was shown, empty, before it was known

    def hide(self) -> None:
        if self.shown:
            layout = layout_node()
            layout.RemoveAllMaximizedViewNodes()
            layout.SetViewArrangement(self._before)
        self._before = None


def slice_view(name: str, label: str, colour: str, group: int) -> str:
    """Layout XML of a slice view; views of one group are linked with one another and with no others."""
    properties = {"orientation": "Axial", "viewlabel": label, "viewcolor": colour, "viewgroup": group}
    lines = (f'<property name="{key}" action="default">{value}</property>' for key, value in properties.items())
    return f'<view class="vtkMRMLSliceNode" singletontag="{name}">{"".join(lines)}</view>'


def layout_node() -> Any:
    """The scene's layout, or None where there are no views (Slicer without a main window)."""
    manager = slicer.app.layoutManager()
    return manager.layoutLogic().GetLayoutNode() if manager is not None else None


def slice_node(name: str) -> Any:
    return _by_layout_name("vtkMRMLSliceNode", name)


def composite_node(name: str) -> Any:
    return _by_layout_name("vtkMRMLSliceCompositeNode", name)


def _by_layout_name(class_name: str, name: str) -> Any:
    for number in range(slicer.mrmlScene.GetNumberOfNodesByClass(class_name)):
        found = slicer.mrmlScene.GetNthNodeByClass(number, class_name)
        if found.GetLayoutName() == name:
            return found
    return None


def slice_logic(view: Any) -> Any:
    return slicer.app.applicationLogic().GetSliceLogic(view) if view is not None else None
