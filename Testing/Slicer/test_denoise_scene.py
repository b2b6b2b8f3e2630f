"""Scenes that are saved and opened again, and what a panel remembers of them."""

from __future__ import annotations

import gc
import json
import weakref

import numpy as np
import slicer
from scenes import (
    MODULE,
    OBLIQUE,
    add_volume,
    apply,
    open_panel,
    phantom,
    reopen,
    scalar_volumes,
    settle,
    voxels,
)

from C2SSlicer import volumes


def test_a_saved_scene_has_all_choices_and_a_living_slider(bench, tmp_path):
    source = add_volume("T1", matrix=OBLIQUE)
    widget = open_panel(bench)
    widget.ui.detailSlider.setValue(20)
    widget.ui.noiseKindBox.setCurrentIndex(1)
    widget.ui.adaptMinutesSpinBox.setValue(7)
    widget.ui.keepUncertaintyCheckBox.setChecked(True)
    bench.process_events()
    run = apply(bench, widget)
    settle(bench, widget)
    estimate, original = run.refinement.estimates[0].copy(), voxels(source).copy()
    reopen(tmp_path / "Szene ü.mrb")
    bench.exit(widget)
    bench.enter(widget)
    settle(bench, widget)
    node = widget._parameterNode
    assert node.inputVolume.GetName() == "T1" and node.resultVolume.GetName() == "T1 denoised"
    assert (node.model, node.detail, node.noiseKind.value, node.adaptMinutes, node.keepUncertainty) == (
        "tiny",
        20,
        "gaussian",
        7,
        True,
    )
    assert widget.ui.modelBox.currentText.startswith("tiny") and widget.ui.detailSlider.value == 20
    assert widget.ui.adaptMinutesSpinBox.value == 7 and widget.ui.keepUncertaintyCheckBox.checked
    assert "SNR" in widget.ui.evidenceLabel.text and widget.ui.sideBySideButton.enabled
    assert np.abs(volumes.matrix_of(node.resultVolume) - OBLIQUE).max() < 1e-6
    facts = volumes.facts_of(node.resultVolume)
    assert facts["Model"] == "tiny" and facts["Detail"] == "0.2"
    widget.ui.detailSlider.setValue(60)
    bench.process_events()
    assert np.allclose(voxels(node.resultVolume), estimate + 0.6 * (original - estimate), atol=0.05)
    assert np.allclose(voxels(node.resultNoise), 0.4 * (original - estimate), atol=0.05)


def test_a_saved_scene_keeps_the_other_contrasts(bench, tmp_path):
    source, other = add_volume("T1"), add_volume("FLAIR", phantom(seed=2))
    widget = open_panel(bench, "tiny pair")
    widget._parameterNode.inputVolume = source
    widget._parameterNode.otherContrasts = [other]
    reopen(tmp_path / "scene.mrb")
    bench.exit(widget)
    bench.enter(widget)
    settle(bench, widget)
    assert [n.GetName() for n in widget._parameterNode.otherContrasts] == ["FLAIR"]
    assert [n.GetName() for n in widget.ui.contrastSelector.checkedNodes()] == ["FLAIR"]


def test_nothing_is_said_of_the_scene_before(bench, tmp_path):
    """A scene with a result of its own is opened after a run: its panel neither speaks of that run nor shows it."""
    add_volume("T1")
    widget = open_panel(bench)
    apply(bench, widget)
    assert widget.ui.sideBySideButton.checked and widget.ui.statusLabel.text.startswith("Done")
    reopen(tmp_path / "scene.mrb")
    settle(bench, widget)
    assert widget._parameterNode.resultVolume is not None
    assert widget.ui.statusLabel.text == "Ready." and not widget.ui.sideBySideButton.checked
    bench.click(widget.ui.sideBySideButton)
    assert widget.panel.comparison.shown


def test_choices_outlive_a_scene_that_is_opened_meanwhile(bench, tmp_path):
    """The module stays open; the lists of nodes are made anew when the scene has been read."""
    other, source, reference = (add_volume(name, phantom(seed=n)) for n, name in enumerate(("FLAIR", "T1", "clean")))
    widget = open_panel(bench, "tiny pair")
    node = widget._parameterNode
    node.inputVolume, node.otherContrasts, node.outputVolume = source, [other], reference
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    node.model = "tiny"
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    check_choices(bench, widget)


def test_choices_outlive_a_scene_that_is_added(bench, tmp_path):
    """As when data is added that comes as a scene: what was chosen stays."""
    add_volume("guest")
    assert slicer.util.saveScene(str(tmp_path / "guest.mrb"))
    slicer.mrmlScene.Clear(0)
    other, source, reference = (add_volume(name, phantom(seed=n)) for n, name in enumerate(("FLAIR", "T1", "clean")))
    widget = open_panel(bench, "tiny pair")
    node = widget._parameterNode
    node.inputVolume, node.otherContrasts, node.outputVolume = source, [other], reference
    assert slicer.app.coreIOManager().loadScene(str(tmp_path / "guest.mrb"), False)
    assert "guest" in scalar_volumes()
    check_choices(bench, widget)


def check_choices(bench, widget) -> None:
    """What was chosen is in the parameter node and is shown."""
    settle(bench, widget)
    node, ui = widget._parameterNode, widget.ui
    assert node.inputVolume.GetName() == ui.inputSelector.currentNode().GetName() == "T1"
    assert node.outputVolume.GetName() == ui.outputSelector.currentNode().GetName() == "clean"
    assert [n.GetName() for n in node.otherContrasts] == ["FLAIR"]
    assert [n.GetName() for n in ui.contrastSelector.checkedNodes()] == ["FLAIR"]
    assert node.model == ui.modelBox.currentData == "tiny pair"


def test_opening_the_module_again_and_again_leaves_nothing_behind(bench):
    """Slicer 5.10 would keep what the controls were bound to, each time."""
    add_volume()
    widget = open_panel(bench)
    before = widget._parameterNode
    widget.enter()
    assert widget._parameterNode is before  # bound already
    bound = weakref.ref(before)
    del before
    bench.exit(widget)
    bench.process_events()
    gc.collect()
    assert bound() is None
    bench.enter(widget)
    widget.ui.adaptMinutesSpinBox.setValue(9)
    assert widget._parameterNode.adaptMinutes == 9
    widget._parameterNode.manualNoise = True
    assert widget.ui.noiseLevelSpinBox.enabled


def test_the_first_scan_is_chosen_not_what_lies_before_it(bench):
    """A picture of a training is hidden, and a label map is no scan."""
    add_volume("hidden").SetHideFromEditors(True)
    slicer.util.addVolumeFromArray(np.ones((2, 4, 4), np.uint8), nodeClassName="vtkMRMLLabelMapVolumeNode")
    widget = bench.load_module(MODULE)
    bench.enter(widget)
    assert widget._parameterNode.inputVolume is None
    bench.exit(widget)
    scan = add_volume("scan")
    assert volumes.first_shown() is scan
    bench.enter(widget)
    assert widget._parameterNode.inputVolume is scan


def test_the_evidence_is_kept_with_the_scene_as_numbers(bench):
    add_volume()
    widget = open_panel(bench)
    apply(bench, widget)
    numbers = json.loads(widget._parameterNode.evidence)
    assert {"sigma", "noise_before", "noise_after", "snr_gain_db", "verdict"} <= set(numbers)
