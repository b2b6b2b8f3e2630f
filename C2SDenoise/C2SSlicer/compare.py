"""Looking at a result beside its source: linked views, reveal, flicker, and colours for what was removed."""

from __future__ import annotations

import contextlib
from typing import Any

import slicer

from C2SSlicer.views import OwnLayout, composite_node, slice_logic, slice_node, slice_view

LAYOUT_ID = 7305
VIEWS = {"C2SSource": "Source", "C2SResult": "Denoised", "C2SNoise": "Removed noise"}
COLOURS = "C2S removed noise"
FLICKER_INTERVAL = 500  # milliseconds


def layout_xml(views: tuple[str, ...]) -> str:
    """The layout: slice views side by side."""
    items = "".join(
        f"<item>{slice_view(name, VIEWS[name], colour, LAYOUT_ID)}</item>"
        for name, colour in zip(views, ("#4A90A4", "#5DA05D", "#B0803C"), strict=False)
    )
    return f'<layout type="horizontal" split="true">{items}</layout>'


def register() -> None:
    """When Slicer has started: a scene may come that was saved with the views side by side."""
    OwnLayout(LAYOUT_ID).describe(layout_xml(tuple(VIEWS)))


class Comparison:
    """Side-by-side view of source, result and removed noise; `close` brings back the layout that was there before."""

    def __init__(self) -> None:
        self._layout = OwnLayout(LAYOUT_ID)
        self._reveal: Any = None
        self._timer: Any = None
        self._nodes: dict[str, Any] = {}
        self._over: float | None = None  # opacity of the source over the result; None: it is not there

    @property
    def shown(self) -> bool:
        return self._layout.shown

    def show(self, source: Any, result: Any, noise: Any = None) -> None:
        """Show the two or three volumes, linked in position, zoom and slice, in the plane in which they were
        acquired."""
        volumes = {"C2SSource": source, "C2SResult": result}
        if noise is not None:
            volumes["C2SNoise"] = noise
        self._nodes = {name: volume.GetID() for name, volume in volumes.items()}
        self._layout.show(layout_xml(tuple(volumes)), self._fill)

    def _fill(self) -> None:
        for name, identifier in self._nodes.items():
            composite = composite_node(name)
            if composite is None:
                continue
            composite.SetDoPropagateVolumeSelection(False)  # a volume that is loaded now must not take their place
            composite.SetBackgroundVolumeID(identifier)
            composite.SetLabelVolumeID(None)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
        self._overlay(self._over)
        self._fit()

    def _fit(self) -> None:
        """The same slice, field of view and orientation in all views: that of the source's own slices."""
        first, source = slice_node("C2SSource"), slicer.mrmlScene.GetNodeByID(self._nodes["C2SSource"])
        logic = slice_logic(first)
        if logic is None or source is None:
            return
        transform = source.GetParentTransformNode()
        if transform is None or transform.IsTransformToWorldLinear():  # of a warped one, slices are no planes
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
            with contextlib.suppress(Exception):  # it takes for granted that the views are still there
                self._reveal.cleanup()
            self._reveal = None
        self._overlay(0.0 if on else None)
        if on:
            try:
                import CompareVolumes

                self._reveal = CompareVolumes.LayerReveal()  # it draws the foreground, however opaque that is
            except Exception:  # not installed: a blend needs nothing
                self._overlay(0.5)

    def flicker(self, on: bool) -> None:
        """Show source and result in turn, in the result's view."""
        import qt

        if self._timer is None:  # one for good: a timer must not be deleted by what it calls
            self._timer = qt.QTimer()
            self._timer.setInterval(FLICKER_INTERVAL)
            self._timer.timeout.connect(self._flick)
        self._overlay(0.0 if on else None)
        self._timer.start() if on else self._timer.stop()

    def _flick(self) -> None:
        if self.shown:
            self._overlay(0.0 if self._over else 1.0)
        else:
            self.flicker(False)

    def _overlay(self, opacity: float | None) -> None:
        """The source over the result, in the result's view alone; None takes it away."""
        self._over = opacity
        composite = composite_node("C2SResult")
        if composite is not None:
            composite.SetForegroundVolumeID(self._nodes.get("C2SSource") if opacity is not None else None)
            composite.SetForegroundOpacity(opacity or 0.0)

    def close(self) -> None:
        """Everything as it was before."""
        self.reveal(False)
        self.flicker(False)
        self._layout.hide()


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
