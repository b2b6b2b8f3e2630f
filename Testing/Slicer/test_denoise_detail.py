"""The detail slider: it acts at once, on the result that it belongs to, and the evidence follows."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
from scenes import add_volume, apply, open_panel, settle, voxels

from C2SCore.quality import residual_checks
from C2SSlicer import volumes


def test_the_detail_slider_acts_at_once_and_the_evidence_follows(bench):
    source = add_volume()
    widget = open_panel(bench)
    run = apply(bench, widget)
    result, estimate = run.result.volume, run.refinement.estimates[0].copy()
    before = json.loads(widget._parameterNode.evidence)["residual_edge_correlation"]
    for percent in (40, 100, 0, 70):
        widget.ui.detailSlider.setValue(percent)
        expected = estimate + percent / 100 * (voxels(source) - estimate)
        assert np.allclose(voxels(result), expected, atol=1e-3)
        assert np.allclose(voxels(run.result.noise), voxels(source) - expected, atol=1e-3)
    assert volumes.facts_of(result)["Detail"] == "0.7"
    widget._parameterNode.evidence = ""
    settle(bench, widget)
    after = json.loads(widget._parameterNode.evidence)
    expected = residual_checks(voxels(source), estimate, run.result.numbers["sigma"], kept=0.7)
    for key in ("noise_after", "snr_gain_db", "residual_edge_correlation"):
        assert after[key] == pytest.approx(expected[key], rel=1e-2, abs=1e-3)
    assert after["residual_edge_correlation"] == pytest.approx(before, abs=1e-3)
    assert widget.panel.run is run  # no second inference


def test_detail_that_is_moved_during_a_run_is_that_of_the_result(bench):
    add_volume()
    widget = open_panel(bench)
    bench.click(widget.ui.applyButton)
    widget.ui.detailSlider.setValue(60)
    bench.wait_until(lambda: widget.panel.run.finished)
    settle(bench, widget)
    run = widget.panel.run
    assert volumes.facts_of(run.result.volume)["Detail"] == "0.6" and run.refinement.detail == 0.6


def test_a_result_that_was_cropped_is_left_alone_by_the_slider(bench):
    widget = open_panel(bench)
    widget._parameterNode.inputVolume = add_volume("T1")
    result = apply(bench, widget).result.volume
    cropped = voxels(result)[:, 4:].copy()
    slicer.util.updateVolumeFromArray(result, cropped)
    widget.ui.detailSlider.setValue(50)
    bench.process_events()
    assert np.array_equal(voxels(result), cropped)
