"""Time series: all frames or one, their places, levels, adaptation, and the slider."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from scenes import (
    OBLIQUE,
    add_volume,
    apply,
    open_panel,
    phantom,
    reopen,
    scalar_volumes,
    series,
    settle,
    voxels,
)

from C2SCore import events
from C2SCore.errors import UserError
from C2SCore.noise import frame_limits
from C2SSlicer import sequences, volumes


def test_all_frames_of_a_time_series(bench, tmp_path):
    sequence, browser, proxy = series()
    widget = open_panel(bench)
    widget._parameterNode.inputVolume = proxy
    bench.process_events()
    assert not widget.ui.framesBox.isHidden()
    widget.ui.framesBox.setCurrentIndex(1)
    stages = []
    show = widget.panel._show_progress
    widget.panel._show_progress = lambda run: stages.append(run.stage) or show(run)
    run = apply(bench, widget)
    made = run.result.sequence
    assert made.GetNumberOfDataNodes() == 3 and made.GetIndexName() == "time" and made.GetIndexUnit() == "s"
    assert [made.GetNthIndexValue(n) for n in range(3)] == ["0", "2", "4"]
    assert any(stage.startswith("Frame 2 of 3") for stage in stages)
    for number in range(3):
        source, result = voxels(sequence.GetNthDataNode(number)), voxels(made.GetNthDataNode(number))
        assert np.array_equal(source, phantom(seed=number) + np.float32(10 * number))
        assert np.corrcoef(source.ravel(), result.ravel())[0, 1] > 0.8
        assert result.mean() == pytest.approx(source.mean(), abs=5)
        assert np.abs(volumes.matrix_of(made.GetNthDataNode(number)) - OBLIQUE).max() < 1e-6
    result = run.result.volume
    for number in (2, 0, 1):
        browser.SetSelectedItemNumber(number)
        bench.process_events()
        assert np.allclose(voxels(result), voxels(made.GetNthDataNode(number)))
    made.AddDefaultStorageNode()
    made.GetStorageNode().SetFileName(str(tmp_path / "frames.seq.nrrd"))
    assert made.GetStorageNode().WriteData(made) and not made.GetModifiedSinceRead()
    widget.ui.detailSlider.setValue(50)
    bench.process_events()
    assert made.GetModifiedSinceRead()  # or it would not be saved again
    for number in range(3):
        middle = (run.refinement.estimates[number] + voxels(sequence.GetNthDataNode(number))) / 2
        assert np.allclose(voxels(made.GetNthDataNode(number)), middle, atol=0.01)
    assert np.allclose(voxels(result), voxels(made.GetNthDataNode(1)))
    browser.SetSelectedItemNumber(2)  # with a frame, its attributes are shown
    assert volumes.facts_of(result)["Detail"] == volumes.facts_of(run.result.noise)["Detail"] == "0.5"


def test_the_slider_of_a_time_series_lives_in_a_saved_scene(bench, tmp_path):
    widget = open_panel(bench)
    widget._parameterNode.inputVolume = series()[2]
    widget.ui.framesBox.setCurrentIndex(1)
    widget.ui.detailSlider.setValue(20)
    run = apply(bench, widget)
    settle(bench, widget)
    estimates = [estimate.copy() for estimate in run.refinement.estimates]
    reopen(tmp_path / "scene.mrb")
    widget.ui.detailSlider.setValue(60)
    settle(bench, widget)
    node = widget._parameterNode
    opened = [sequences.sequence_of(v)[1] for v in (node.resultSource, node.resultVolume, node.resultNoise)]
    for number, estimate in enumerate(estimates):
        source, result, noise = (voxels(sequence.GetNthDataNode(number)) for sequence in opened)
        assert np.allclose(result, estimate + 0.6 * (source - estimate), atol=0.05)
        assert np.allclose(noise, 0.4 * (source - estimate), atol=0.05)
    assert volumes.facts_of(node.resultVolume)["Detail"] == "0.6"
    slicer.mrmlScene.RemoveNode(opened[2])  # of the removed noise: its volume shows one frame, and stays
    before = voxels(node.resultNoise).copy()
    widget.panel.refinement = None
    widget.ui.detailSlider.setValue(0)
    settle(bench, widget)
    assert np.allclose(voxels(opened[1].GetNthDataNode(2)), estimates[2], atol=0.05)
    assert np.array_equal(voxels(node.resultNoise), before)


def test_frames_that_move_take_their_places_along(bench):
    """As in a series whose slice is shifted from frame to frame."""
    sequence, browser, proxy = series()
    for number in range(3):
        sequence.GetNthDataNode(number).SetOrigin(0, 0, 7 * number)
    browser.SetSelectedItemNumber(1)
    widget = open_panel(bench)
    widget._parameterNode.inputVolume = proxy
    widget.ui.framesBox.setCurrentIndex(1)
    result = apply(bench, widget).result
    for number in range(3):
        source, made = sequence.GetNthDataNode(number), result.sequence.GetNthDataNode(number)
        assert np.abs(volumes.matrix_of(made) - volumes.matrix_of(source)).max() < 1e-6
    assert np.abs(volumes.matrix_of(result.volume) - volumes.matrix_of(proxy)).max() < 1e-6


def test_a_frame_that_is_left_during_the_run_gives_its_place_to_the_result(bench):
    sequence, browser, proxy = series()
    sequence.GetNthDataNode(2).SetOrigin(0, 0, 70)
    browser.SetSelectedItemNumber(2)
    widget = open_panel(bench)
    widget._parameterNode.inputVolume = proxy
    bench.click(widget.ui.applyButton)
    run = widget.panel.run
    bench.wait_until(lambda: run._task is not None)
    browser.SetSelectedItemNumber(0)
    bench.wait_until(lambda: run.finished)
    assert run.state == "done" and run.result.volume.GetOrigin()[2] == 70 and proxy.GetOrigin()[2] != 70
    settle(bench, widget)
    label = widget.ui.measuredLabel.text  # what was found in the run is of the other frame
    assert "σ = " in label and f"σ = {run.result.numbers['sigma']:.4g}" not in label
    reference = add_volume("clean", phantom(sigma=0), volumes.matrix_of(run.result.volume))
    widget.ui.referenceSelector.setCurrentNode(reference)  # which lies there, too
    settle(bench, widget)
    assert json.loads(widget._parameterNode.evidence)["psnr_before"] > 15


def test_a_time_series_is_denoised_again_into_the_same_volume(bench):
    """The new frames take the place of the old; a single one, or those of another series, would not."""
    _, browser, proxy = series()
    widget = open_panel(bench)
    widget._parameterNode.inputVolume, widget._parameterNode.keepNoise = proxy, False
    widget.ui.framesBox.setCurrentIndex(1)
    first = apply(bench, widget).result
    widget._parameterNode.outputVolume = first.volume
    widget.ui.manualNoiseCheckBox.setChecked(True)
    widget.ui.noiseLevelSpinBox.setValue(40)
    browser.SetSelectedItemNumber(1)
    run = apply(bench, widget)
    assert run.result.volume is first.volume and sequences.sequence_of(first.volume)[1] is run.result.sequence
    assert len(slicer.util.getNodesByClass("vtkMRMLSequenceNode")) == 2
    for number in (2, 0, 1):
        browser.SetSelectedItemNumber(number)
        bench.process_events()
        assert np.allclose(voxels(first.volume), run.refinement.estimates[number])
    for frames, source in ((0, proxy), (1, series()[2])):
        widget._parameterNode.inputVolume = source
        bench.process_events()
        widget.ui.framesBox.setCurrentIndex(frames)
        bench.click(widget.ui.applyButton)
        assert widget.panel.run is run and "shows a time series" in widget.ui.statusLabel.text


def test_frames_bound_the_level_and_one_that_is_constant_comes_back(bench, monkeypatch):
    given, made = [], events.DenoiseJob
    monkeypatch.setattr(events, "DenoiseJob", lambda *a, **k: given.append(k["beside"]) or made(*a, **k))
    sequence, _, proxy = series(4, broken=0)
    widget = open_panel(bench)
    widget._parameterNode.inputVolume = proxy
    bench.process_events()
    widget.ui.framesBox.setCurrentIndex(1)
    run = apply(bench, widget)
    sources, results = ([voxels(s.GetNthDataNode(n)) for n in range(4)] for s in (sequence, run.result.sequence))
    assert not results[0].any() and not np.allclose(results[1], sources[1], atol=1e-3)
    assert [[Path(path).stem[-1] for path in beside] for beside in given] == [["1"], ["0", "2"], ["1", "3"], ["2"]]
    for ending, limit in list(zip(run._endings, frame_limits(sources)))[1:]:
        assert limit == pytest.approx(15, rel=0.2) and ending.numbers["sigma"] <= 1.0001 * limit
    assert run.result.numbers["verdict"] != "clean" and any("constant" in text for text in run.result.warnings)


@pytest.mark.parametrize("sigma", [15.0, "auto"])
def test_the_model_is_adapted_to_all_frames_that_are_not_constant(bench, monkeypatch, sigma):
    """As on the command line; the frames before and after one bound its noise where that is measured."""
    given = []

    def order(job, out, cases, *more, **options):
        given.extend(cases)
        assert all(Path(path).is_file() for case in cases for path in (case["target"], *case["beside"]))
        raise UserError("enough")

    monkeypatch.setattr(events, "TrainJob", order)
    logic, source = open_panel(bench).logic, series(4, broken=0)[2]
    logic.denoise(source, model="tiny", sigma=sigma, allFrames=True, adaptMinutes=1, wait=False).wait(30)
    assert [Path(case["target"]).stem for case in given] == ["source1", "source2", "source3"]
    assert {case["group"] for case in given} == {source.GetName()} and len({case["name"] for case in given}) == 3
    assert [case.get("sigma") for case in given] == [None if sigma == "auto" else sigma] * 3
    beside = [[Path(path).stem[-1] for path in case["beside"]] for case in given]
    assert beside == ([["0", "2"], ["1", "3"], ["2"]] if sigma == "auto" else [[], [], []])


def test_a_time_series_is_denoised_by_a_model_that_was_adapted_to_it(bench):
    proxy, stages = series(3, broken=0)[2], []
    run = open_panel(bench).logic.denoise(
        proxy,
        model="tiny",
        allFrames=True,
        adaptMinutes=0.03,
        wait=False,
        onProgress=lambda run: stages.append(run.stage),
    )
    bench.wait_until(lambda: run.finished, 90)
    assert run.state == "done", run.failure
    assert run.result.sequence.GetNumberOfDataNodes() == 3
    assert volumes.facts_of(run.result.volume)["AdaptedMinutes"] == "0.03"
    assert "train" in stages and "Frame 3 of 3: denoise" in stages  # adapted to all together, then one by one


def test_the_words_of_a_time_series_are_those_of_its_worst_frame():
    from C2SSlicer.delivery import _mean_numbers

    good = {"sigma": 2.0, "residual_edge_correlation": -0.1, "verdict": "noise", "sentence": "fine"}
    bad = {"sigma": 4.0, "residual_edge_correlation": 0.3, "verdict": "anatomy", "sentence": "look"}
    clean = {"sigma": 0.0, "residual_edge_correlation": 0.0, "verdict": "clean", "sentence": "nothing"}
    mean = _mean_numbers([clean, good, bad, good])
    assert mean["verdict"] == "anatomy" and mean["sentence"] == "look"
    assert mean["sigma"] == pytest.approx(8 / 3) and mean["residual_edge_correlation"] == pytest.approx(0.1 / 3)
    assert _mean_numbers([clean, clean])["verdict"] == "clean"


def test_one_frame_of_a_time_series_is_an_ordinary_volume(bench):
    _, browser, proxy = series()
    browser.SetSelectedItemNumber(2)
    widget = open_panel(bench)
    widget._parameterNode.inputVolume = proxy
    run = apply(bench, widget)
    assert run.result.sequence is None and sequences.number_of_frames(run.result.volume) == 1
    assert np.corrcoef(voxels(run.result.volume).ravel(), phantom(seed=2).ravel())[0, 1] > 0.8


def test_a_result_of_one_frame_stays_one_of_that_frame(bench):
    """Another frame is looked at: slider and evidence keep to the one that was denoised, also in a saved scene."""
    sequence, browser, proxy = series()
    widget = open_panel(bench)
    widget._parameterNode.inputVolume = proxy
    run = apply(bench, widget)
    settle(bench, widget)
    estimate, original = run.refinement.estimates[0].copy(), voxels(proxy).copy()
    before = json.loads(widget._parameterNode.evidence)
    browser.SetSelectedItemNumber(2)
    settle(bench, widget)
    for percent in (1, 50):
        widget.panel.refinement = None  # as in a scene that was opened
        widget.ui.detailSlider.setValue(percent)
        settle(bench, widget)
        middle = estimate + percent / 100 * (original - estimate)
        assert np.allclose(voxels(run.result.volume), middle, atol=0.01)
        if percent == 1:
            after = json.loads(widget._parameterNode.evidence)
            assert after["verdict"] == before["verdict"] and after["removed"] == pytest.approx(before["removed"], 0.03)
    sequence.RemoveDataNodeAtValue("0")
    widget.panel.refinement = None
    widget.ui.detailSlider.setValue(60)  # of a frame that is gone nothing can be found again
    settle(bench, widget)
    assert np.allclose(voxels(run.result.volume), middle, atol=0.01)


def test_cancel_amid_a_time_series_leaves_the_scene_as_it_was(bench):
    proxy = series(8)[2]
    widget = open_panel(bench)
    widget._parameterNode.inputVolume = proxy
    widget.ui.framesBox.setCurrentIndex(1)
    bench.process_events()
    names, count = scalar_volumes(), slicer.mrmlScene.GetNumberOfNodes()
    bench.click(widget.ui.applyButton)
    bench.wait_until(lambda: "Frame 3" in widget.panel.run.stage)
    bench.click(widget.ui.applyButton)
    bench.wait_until(lambda: widget.panel.run.finished, 2)
    assert widget.panel.run.state == "cancelled"
    assert scalar_volumes() == names and slicer.mrmlScene.GetNumberOfNodes() == count
