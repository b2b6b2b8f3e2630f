"""Looking at a result beside its source."""

from __future__ import annotations

import types
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import slicer
from scenes import add_volume, apply, open_panel, phantom

from C2SSlicer import compare, views, volumes

ANGLE = np.radians(25)
TILTED = np.array(  # acquired obliquely, as planned by a radiographer
    [
        [0.9, 0, 0, -20],
        [0, 0.9 * np.cos(ANGLE), -5 * np.sin(ANGLE), 10],
        [0, 0.9 * np.sin(ANGLE), 5 * np.cos(ANGLE), 5],
        [0, 0, 0, 1],
    ]
)


def shown() -> int:
    return slicer.app.layoutManager().layoutLogic().GetLayoutNode().GetViewArrangement()


def in_view(name: str, layer: str = "Background"):
    node_id = getattr(views.composite_node(name), f"Get{layer}VolumeID")()
    return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None


@pytest.fixture
def trio(bench):
    source, result, noise = (add_volume(name, phantom(seed=n), TILTED) for n, name in enumerate(("a", "b", "c")))
    made = compare.Comparison()
    yield made, source, result, noise
    made.close()


@pytest.mark.parametrize("names", [tuple(compare.VIEWS), ("C2SSource", "C2SResult")])
def test_layouts_are_valid_xml_with_one_view_per_volume(names):
    root = ElementTree.fromstring(compare.layout_xml(names))
    assert root.tag == "layout"
    assert [view.get("singletontag") for view in root.iter("view")] == list(names)
    assert {view.get("class") for view in root.iter("view")} == {"vtkMRMLSliceNode"}


def test_three_volumes_side_by_side_and_back(trio):
    comparison, source, result, noise = trio
    before = shown()
    comparison.show(source, result, noise)
    assert shown() == compare.LAYOUT_ID and comparison.shown
    assert list(slicer.app.layoutManager().sliceViewNames()) == list(compare.VIEWS)
    assert [in_view(name) for name in compare.VIEWS] == [source, result, noise]
    comparison.close()
    assert shown() == before and not comparison.shown


def test_showing_again_still_goes_back_to_the_first_layout(trio):
    comparison, source, result, noise = trio
    before = shown()
    comparison.show(source, result, noise)
    comparison.show(source, result)
    assert list(slicer.app.layoutManager().sliceViewNames()) == ["C2SSource", "C2SResult"]
    comparison.close()
    assert shown() == before


def test_a_layout_that_the_user_has_left_stays_left(trio):
    comparison, source, result, noise = trio
    comparison.show(source, result, noise)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    assert not comparison.shown
    comparison.close()
    assert shown() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_the_views_show_the_same_slice_in_the_plane_of_acquisition(trio):
    comparison, source, result, noise = trio
    comparison.show(source, result, noise)
    matrices = [slicer.util.arrayFromVTKMatrix(views.slice_node(name).GetSliceToRAS()) for name in compare.VIEWS]
    assert all(np.allclose(matrices[0], other) for other in matrices[1:])
    normal = np.cross(TILTED[:3, 0], TILTED[:3, 1])
    assert abs(matrices[0][:3, 2] @ normal) / np.linalg.norm(normal) == pytest.approx(1, abs=1e-6)
    fields = [views.slice_node(name).GetFieldOfView()[:2] for name in compare.VIEWS]
    assert fields[0] == fields[1] == fields[2]


def test_the_views_are_linked_in_slice_and_zoom(trio):
    """What a mouse does in one view, as Slicer's own interaction reports it."""
    comparison, source, result, noise = trio
    comparison.show(source, result, noise)
    first, logic = views.slice_node("C2SSource"), views.slice_logic(views.slice_node("C2SSource"))
    logic.StartSliceOffsetInteraction()
    logic.SetSliceOffset(first.GetSliceOffset() + 5)
    logic.EndSliceOffsetInteraction()
    for name in compare.VIEWS:
        assert views.slice_node(name).GetSliceOffset() == pytest.approx(first.GetSliceOffset(), abs=1e-6)
    flag = slicer.vtkMRMLSliceNode.FieldOfViewFlag
    logic.StartSliceNodeInteraction(flag)
    wide = first.GetFieldOfView()
    first.SetFieldOfView(wide[0] / 2, wide[1] / 2, wide[2])
    logic.EndSliceNodeInteraction()
    for name in compare.VIEWS:
        assert views.slice_node(name).GetFieldOfView()[0] == pytest.approx(wide[0] / 2, rel=1e-6)


def test_what_the_mouse_does_leaves_the_views_of_the_user_alone(trio):
    """Red, Green and Yellow show the same patient behind the layout."""
    comparison, source, result, noise = trio
    red = views.slice_node("Red")
    field, offset = red.GetFieldOfView(), red.GetSliceOffset()
    comparison.show(source, result, noise)
    first, logic = views.slice_node("C2SSource"), views.slice_logic(views.slice_node("C2SSource"))
    red.GetSliceToRAS().DeepCopy(first.GetSliceToRAS())
    red.UpdateMatrices()
    field, offset = red.GetFieldOfView(), red.GetSliceOffset()
    logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.FieldOfViewFlag)
    first.SetFieldOfView(*(value / 3 for value in first.GetFieldOfView()))
    logic.EndSliceNodeInteraction()
    logic.StartSliceOffsetInteraction()
    logic.SetSliceOffset(first.GetSliceOffset() + 5)
    logic.EndSliceOffsetInteraction()
    assert red.GetFieldOfView() == field and red.GetSliceOffset() == pytest.approx(offset)


def test_the_volumes_are_seen_whole_once_the_views_have_their_size(bench, trio):
    """New views get their size from Qt after the layout was chosen: tall ones here."""
    comparison, source, result, noise = trio
    window = slicer.util.mainWindow()
    window.resize(900, 900)
    window.show()
    bench.process_events()
    comparison.show(source, result, noise)
    sides = np.array(TILTED[:3, :2]) * (phantom().shape[2], phantom().shape[1])
    extent = np.linalg.norm(sides, axis=0)

    def whole(name: str) -> bool:
        node = views.slice_node(name)
        width, height = node.GetDimensions()[:2]
        return height > 1.5 * width and (np.array(node.GetFieldOfView()[:2]) > 0.999 * extent).all()

    bench.wait_until(lambda: all(whole(name) for name in compare.VIEWS), 10)


def test_a_view_that_was_enlarged_does_not_hide_the_others(trio):
    """A double click enlarges a view until the next one; the layout node remembers it."""
    comparison, source, result, noise = trio
    layout = views.layout_node()
    layout.AddMaximizedViewNode(views.slice_node("Red"))
    assert list(slicer.app.layoutManager().sliceViewNames()) == ["Red"]
    comparison.show(source, result, noise)
    assert list(slicer.app.layoutManager().sliceViewNames()) == list(compare.VIEWS)
    layout.AddMaximizedViewNode(views.slice_node("C2SResult"))
    assert comparison.shown  # so that flicker goes on in the large view
    comparison.close()
    assert "Red" in slicer.app.layoutManager().sliceViewNames()


def test_a_volume_that_is_loaded_does_not_take_their_place(trio):
    comparison, source, result, noise = trio
    comparison.show(source, result, noise)
    other = add_volume("other")
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetReferenceActiveVolumeID(other.GetID())
    logic.PropagateVolumeSelection()
    assert in_view("Red") is other
    assert [in_view(name) for name in compare.VIEWS] == [source, result, noise]


def test_a_scene_that_was_saved_with_the_views_has_views_when_opened(bench):
    """A layout that Slicer does not know is an empty window; and there must be a way back from ours."""
    bench.load_module("C2SDenoise/C2SDenoise.py")
    views.layout_node().SetViewArrangement(compare.LAYOUT_ID)
    assert list(slicer.app.layoutManager().sliceViewNames()) == []
    bench.startup_completed()
    assert list(slicer.app.layoutManager().sliceViewNames()) == list(compare.VIEWS)
    comparison = compare.Comparison()
    comparison.show(add_volume("a"), add_volume("b"))
    assert comparison.shown
    comparison.close()
    assert shown() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


class LayerReveal:
    """Slicer's reveal cursor: it shows the foreground's own picture in a box around the mouse, whatever its opacity."""

    def __init__(self) -> None:
        logic = views.slice_logic(views.slice_node("C2SResult"))
        self.background, self.foreground = logic.GetBackgroundLayer(), logic.GetForegroundLayer()

    def inside(self) -> tuple[str, str]:
        return self.background.GetVolumeNode().GetName(), self.foreground.GetVolumeNode().GetName()

    def cleanup(self) -> None:
        raise AttributeError("'NoneType' object has no attribute 'disconnect'")  # as without a layout manager


def grey(bench) -> float:
    """Of the result's view, as the user sees it."""
    return float(bench.slice_picture("C2SResult")[..., 0].max())


def test_reveal_uncovers_the_source_under_the_result(bench):
    """The view goes on to show the result; the source is only in the box at the mouse."""
    dark, bright = (
        add_volume(name, np.full((4, 48, 40), v, np.float32)) for name, v in (("dark", 20), ("bright", 200))
    )
    comparison = compare.Comparison()
    comparison.show(dark, bright)
    before = grey(bench)
    bench.inject("CompareVolumes", types.SimpleNamespace(LayerReveal=LayerReveal))
    comparison.reveal(True)
    assert grey(bench) == before
    assert comparison._reveal.inside() == ("bright", "dark")
    picture = comparison._reveal.foreground.GetImageData()
    assert picture.GetPointData().GetScalars().GetRange(0)[1] == pytest.approx(before * 20 / 200, abs=2)
    comparison.reveal(False)
    assert in_view("C2SResult", "Foreground") is None and grey(bench) == before
    comparison.close()


def test_reveal_without_slicers_cursor_blends_source_and_result(trio):
    comparison, source, result, noise = trio
    comparison.show(source, result, noise)
    comparison.reveal(True)
    assert in_view("C2SResult", "Foreground") is source
    assert views.composite_node("C2SResult").GetForegroundOpacity() == 0.5
    assert in_view("C2SSource", "Foreground") is None and in_view("C2SNoise", "Foreground") is None
    other = add_volume("other", phantom(seed=7), TILTED)
    comparison.show(other, result, noise)  # after another run
    assert in_view("C2SResult", "Foreground") is other
    comparison.reveal(False)
    assert in_view("C2SResult", "Foreground") is None


def test_flicker_shows_both_in_turn_and_stops(bench, trio):
    comparison, source, result, noise = trio
    comparison.show(source, result, noise)
    comparison.flicker(True)
    seen = []
    end = 1.3 * 2 * compare.FLICKER_INTERVAL / 1000
    for _ in range(13):
        bench.process_events(end / 13)
        seen.append(views.composite_node("C2SResult").GetForegroundOpacity())
    assert set(seen) == {0.0, 1.0}
    comparison.flicker(False)
    bench.process_events(0.6)
    assert in_view("C2SResult", "Foreground") is None


def test_removed_noise_has_symmetric_colours_with_black_for_none(bench):
    volume = add_volume(voxels=np.zeros((2, 3, 4), np.float32))
    compare.show_symmetric(volume, 30.0)
    display = volume.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (60.0, 0.0)
    table, colour = display.GetColorNode(), [0.0] * 4
    middle = [table.GetColor(n, colour) and list(colour[:3]) for n in (127, 128)]
    assert np.abs(np.array(middle)).max() < 0.1
    table.GetColor(0, colour)
    assert colour[2] > 2 * colour[0] * 0.9
    table.GetColor(255, colour)
    assert colour[0] > 2 * colour[2]
    compare.show_symmetric(add_volume("other"), 1.0)
    assert slicer.mrmlScene.GetNodesByName(compare.COLOURS).GetNumberOfItems() == 1


def test_the_buttons_of_the_panel(bench):
    add_volume()
    widget = open_panel(bench)
    before = shown()
    widget.ui.showWhenDoneCheckBox.setChecked(False)
    apply(bench, widget)
    assert shown() == before
    bench.click(widget.ui.revealButton)
    assert widget.ui.sideBySideButton.checked and shown() == compare.LAYOUT_ID
    assert in_view("C2SResult", "Foreground") is widget._parameterNode.inputVolume
    bench.click(widget.ui.flickerButton)
    assert not widget.ui.revealButton.checked
    bench.click(widget.ui.sideBySideButton)
    assert shown() == before and not widget.ui.flickerButton.checked
    bench.click(widget.ui.sideBySideButton)
    slicer.app.layoutManager().setLayout(before)  # by Slicer's own menu: one click brings the views back
    bench.click(widget.ui.sideBySideButton)
    assert widget.panel.comparison.shown and widget.ui.sideBySideButton.checked
    bench.exit(widget)
    bench.enter(widget)
    slicer.mrmlScene.Clear(0)
    bench.process_events()
    assert shown() == before


def test_closing_the_module_gives_the_layout_back(bench):
    add_volume()
    widget = open_panel(bench)
    before = shown()
    apply(bench, widget)
    assert shown() == compare.LAYOUT_ID
    widget.cleanup()
    assert shown() == before


def test_without_a_window_nothing_is_shown_and_nothing_fails(headless_bench):
    source, result = add_volume("a"), add_volume("b")
    comparison = compare.Comparison()
    comparison.show(source, result)
    assert not comparison.shown
    comparison.close()
    assert volumes.facts_of(result) == {}
