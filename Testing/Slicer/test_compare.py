"""Looking at a result beside its source."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import slicer
from scenes import add_volume, apply, open_panel, phantom

from C2SSlicer import compare, volumes

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
    node_id = getattr(compare.composite_node(name), f"Get{layer}VolumeID")()
    return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None


@pytest.fixture
def trio(bench):
    source, result, noise = (add_volume(name, phantom(seed=n), TILTED) for n, name in enumerate(("a", "b", "c")))
    made = compare.Comparison()
    yield made, source, result, noise
    made.close()


@pytest.mark.parametrize("views", [tuple(compare.VIEWS), ("C2SSource", "C2SResult")])
def test_layouts_are_valid_xml_with_one_view_per_volume(views):
    root = ElementTree.fromstring(compare.layout_xml(views))
    assert root.tag == "layout"
    assert [view.get("singletontag") for view in root.iter("view")] == list(views)
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
    matrices = [slicer.util.arrayFromVTKMatrix(compare.slice_node(name).GetSliceToRAS()) for name in compare.VIEWS]
    assert all(np.allclose(matrices[0], other) for other in matrices[1:])
    normal = np.cross(TILTED[:3, 0], TILTED[:3, 1])
    assert abs(matrices[0][:3, 2] @ normal) / np.linalg.norm(normal) == pytest.approx(1, abs=1e-6)
    fields = [compare.slice_node(name).GetFieldOfView()[:2] for name in compare.VIEWS]
    assert fields[0] == fields[1] == fields[2]


def test_the_views_are_linked_in_slice_and_zoom(trio):
    """What a mouse does in one view, as Slicer's own interaction reports it."""
    comparison, source, result, noise = trio
    comparison.show(source, result, noise)
    first, logic = compare.slice_node("C2SSource"), compare.slice_logic(compare.slice_node("C2SSource"))
    logic.StartSliceOffsetInteraction()
    logic.SetSliceOffset(first.GetSliceOffset() + 5)
    logic.EndSliceOffsetInteraction()
    for name in compare.VIEWS:
        assert compare.slice_node(name).GetSliceOffset() == pytest.approx(first.GetSliceOffset(), abs=1e-6)
    flag = slicer.vtkMRMLSliceNode.FieldOfViewFlag
    logic.StartSliceNodeInteraction(flag)
    wide = first.GetFieldOfView()
    first.SetFieldOfView(wide[0] / 2, wide[1] / 2, wide[2])
    logic.EndSliceNodeInteraction()
    for name in compare.VIEWS:
        assert compare.slice_node(name).GetFieldOfView()[0] == pytest.approx(wide[0] / 2, rel=1e-6)


def test_reveal_lays_the_source_over_the_result_and_takes_it_away(trio):
    comparison, source, result, noise = trio
    comparison.show(source, result, noise)
    comparison.reveal(True)
    assert in_view("C2SResult", "Foreground") is source
    assert 0 < compare.composite_node("C2SResult").GetForegroundOpacity() <= 1
    assert in_view("C2SSource", "Foreground") is None and in_view("C2SNoise", "Foreground") is None
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
        seen.append(compare.composite_node("C2SResult").GetForegroundOpacity())
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
