"""Looking at a result beside its source: linked views, reveal, flicker, and colours for what was removed."""

from __future__ import annotations

from typing import Any

import slicer

LAYOUT_ID = 7305  # above Slicer's own and user layouts; any number that no other module uses
VIEWS = {"C2SSource": "Source", "C2SResult": "Denoised", "C2SNoise": "Removed noise"}
COLOURS = "C2S removed noise"
FLICKER_INTERVAL = 500  # milliseconds


def layout_xml(views: tuple[str, ...]) -> str:
    """The layout: slice views side by side."""
    items = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{VIEWS[name]}</property>'
        f'<property name="viewcolor" action="default">{colour}</property>'
        "</view></item>"
        for name, colour in zip(views, ("#4A90A4", "#5DA05D", "#B0803C"), strict=False)
    )
    return f'<layout type="horizontal" split="true">{items}</layout>'


class Comparison:
    """Side-by-side view of source, result and removed noise; `close` brings back the layout that was there before."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._reveal: Any = None
        self._timer: Any = None
        self._nodes: dict[str, Any] = {}

    @property
    def shown(self) -> bool:
        layout = layout_node()
        return self._before is not None and layout is not None and layout.GetViewArrangement() == LAYOUT_ID

    def show(self, source: Any, result: Any, noise: Any = None) -> None:
        """Show the two or three volumes, linked in position, zoom and slice, in the plane in which they were
        acquired."""
        volumes = {"C2SSource": source, "C2SResult": result}
        if noise is not None:
            volumes["C2SNoise"] = noise
        layout = layout_node()
        if layout is None:
            return
        if not self.shown:
            self._before = layout.GetViewArrangement()
        xml = layout_xml(tuple(volumes))
        if layout.IsLayoutDescription(LAYOUT_ID):
            layout.SetLayoutDescription(LAYOUT_ID, xml)
        else:
            layout.AddLayoutDescription(LAYOUT_ID, xml)
        layout.SetViewArrangement(LAYOUT_ID)
        self._nodes = {name: volume.GetID() for name, volume in volumes.items()}
        for name, volume in volumes.items():
            composite = composite_node(name)
            if composite is None:
                continue
            composite.SetLinkedControl(False)  # while each view gets a volume of its own
            composite.SetBackgroundVolumeID(volume.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)
        self._fit(source)
        for name in volumes:
            composite = composite_node(name)
            if composite is not None:
                composite.SetLinkedControl(True)
                composite.SetHotLinkedControl(True)

    def _fit(self, source: Any) -> None:
        """The same slice, field of view and orientation in all views: that of the source's own slices."""
        first = slice_node(next(iter(self._nodes)))
        logic = slice_logic(first)
        if first is None or logic is None:
            return
        first.RotateToVolumePlane(source)
        logic.FitSliceToAll()
        logic.SnapSliceOffsetToIJK()
        for name in list(self._nodes)[1:]:
            other = slice_node(name)
            if other is not None:
                other.GetSliceToRAS().DeepCopy(first.GetSliceToRAS())
                other.UpdateMatrices()
                other.SetFieldOfView(*first.GetFieldOfView())
                other.SetXYZOrigin(*first.GetXYZOrigin())

    def reveal(self, on: bool) -> None:
        """A cursor that uncovers the source under the result.

        Where Slicer's own is missing, both are blended half and half.
        """
        if self._reveal is not None:
            self._reveal.cleanup()
            self._reveal = None
        self._overlay(0.0 if not on else 1.0)
        if on:
            try:
                import CompareVolumes

                self._reveal = CompareVolumes.LayerReveal()
            except Exception:  # not installed, or without 3-D views: a blend needs neither
                self._overlay(0.5)

    def flicker(self, on: bool) -> None:
        """Show source and result in turn, in the result's view."""
        import qt

        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self._overlay(0.0)
        if on:
            self._timer = qt.QTimer()
            self._timer.setInterval(FLICKER_INTERVAL)
            self._timer.timeout.connect(self._flick)
            self._timer.start()

    def _flick(self) -> None:
        composite = composite_node("C2SResult")
        if composite is None or not self.shown:
            self.flicker(False)
        else:
            self._overlay(0.0 if composite.GetForegroundOpacity() > 0 else 1.0)

    def _overlay(self, opacity: float) -> None:
        """The source over the result, in the result's view alone."""
        composite = composite_node("C2SResult")
        if composite is None:
            return
        linked = composite.GetLinkedControl()
        composite.SetLinkedControl(False)
        composite.SetForegroundVolumeID(self._nodes.get("C2SSource") if opacity > 0 else None)
        composite.SetForegroundOpacity(opacity)
        composite.SetLinkedControl(linked)

    def close(self) -> None:
        """Everything as it was before."""
        self.reveal(False)
        self.flicker(False)
        layout = layout_node()
        if self.shown:
            layout.SetViewArrangement(self._before)
        self._before = None


def layout_node() -> Any:
    """The scene's layout, or None where there are no views (Slicer without a main window)."""
    manager = slicer.app.layoutManager()
    return manager.layoutLogic().GetLayoutNode() if manager is not None else None


def slice_node(name: str) -> Any:
    return _by_tag("vtkMRMLSliceNode", name)


def composite_node(name: str) -> Any:
    return _by_tag("vtkMRMLSliceCompositeNode", name)


def _by_tag(class_name: str, name: str) -> Any:
    """The view node of this layout name."""
    for number in range(slicer.mrmlScene.GetNumberOfNodesByClass(class_name)):
        found = slicer.mrmlScene.GetNthNodeByClass(number, class_name)
        if found.GetLayoutName() == name:
            return found
    return None


def slice_logic(view: Any) -> Any:
    return slicer.app.applicationLogic().GetSliceLogic(view) if view is not None else None


def show_symmetric(volume: Any, limit: float) -> None:
    """Colours from blue through black (no change) to orange, saturated at plus and minus `limit`."""
    display = volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(_colours().GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(2 * max(limit, 1e-12), 0.0)


def show_from_zero(volume: Any, limit: float) -> None:
    """Grey from 0 to `limit`."""
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(max(limit, 1e-12), max(limit, 1e-12) / 2)


def _colours() -> Any:
    """The colour table of the removed noise, made once per scene."""
    for number in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")):
        found = slicer.mrmlScene.GetNthNodeByClass(number, "vtkMRMLColorTableNode")
        if found.GetName() == COLOURS:
            return found
    table = slicer.mrmlScene.CreateNodeByClass("vtkMRMLColorTableNode")
    table.UnRegister(None)
    table.SetName(COLOURS)
    table.SetTypeToUser()
    table.SetNumberOfColors(256)
    table.SetHideFromEditors(True)
    low, middle, high = (0.35, 0.70, 1.00), (0.05, 0.05, 0.05), (1.00, 0.62, 0.20)
    for n in range(256):
        t = n / 127.5 - 1
        end, share = (high, t) if t > 0 else (low, -t)
        table.SetColor(n, *(m + share * (e - m) for m, e in zip(middle, end, strict=True)), 1.0)
    table.SetNamesFromColors()
    return slicer.mrmlScene.AddNode(table)
