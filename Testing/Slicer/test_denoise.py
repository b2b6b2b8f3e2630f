"""C2S Denoise as its user sees it: every control, from the choice of a volume to the evidence."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import slicer
from scenes import OBLIQUE, add_volume, apply, open_panel, phantom, settle, voxels

from C2SSlicer import compare, job, volumes


def test_without_a_volume_nothing_can_be_applied(bench):
    widget = open_panel(bench)
    assert not widget.ui.applyButton.enabled
    assert "Choose a volume" in widget.ui.applyButton.toolTip
    assert "Load a volume" in widget.ui.statusLabel.text
    assert not widget.ui.sideBySideButton.enabled


def test_a_volume_is_chosen_and_its_noise_measured(bench):
    source = add_volume(voxels=phantom((4, 128, 112), sigma=15))
    widget = open_panel(bench)
    assert widget.ui.inputSelector.currentNode() is source and widget.ui.applyButton.enabled
    assert source.GetName() in widget.ui.applyButton.toolTip
    assert "σ = " in widget.ui.measuredLabel.text and "SNR" in widget.ui.measuredLabel.text
    assert widget._parameterNode.noiseLevel == pytest.approx(15, rel=0.3)
    assert "inside its range" in widget.ui.modelSummaryLabel.text
    assert "PyTorch" in widget.ui.setupLabel.text


def test_three_clicks_from_volume_to_evidence(bench):
    """Select, Apply, look: the story of issue and manual."""
    source = add_volume(matrix=OBLIQUE)
    before = voxels(source).copy()
    widget = open_panel(bench)
    run = apply(bench, widget)
    result, noise = run.result.volume, run.result.noise
    assert result.GetName() == "T1 näive denoised" and noise.GetName() == "T1 näive removed noise"
    assert np.abs(volumes.matrix_of(result) - OBLIQUE).max() < 1e-6
    assert np.allclose(voxels(result) + voxels(noise), before, atol=1e-3)
    assert not np.allclose(voxels(result), before, atol=1e-3)
    assert np.array_equal(voxels(source), before)
    facts = volumes.facts_of(result)
    assert facts["Model"] == "tiny" and facts["Detail"] == "0" and float(facts["Sigma"]) > 0 and facts["Version"]
    assert widget.ui.statusLabel.text.startswith("Done") and widget.ui.applyButton.text == "Apply"
    assert "SNR" in widget.ui.evidenceLabel.text and widget.ui.verdictLabel.text.endswith(".")
    assert "research" in widget.ui.researchLabel.text
    assert widget.panel.comparison.shown and widget.ui.sideBySideButton.checked
    assert "torch" not in sys.modules or "torch" in MODULES_BEFORE


MODULES_BEFORE = set(sys.modules)


@pytest.mark.parametrize("unit", [1e-6, 1, 1e9])
def test_the_noise_level_can_be_shown_and_entered_in_any_unit(bench, unit):
    """Voxels of quantitative maps and of raw signals are of very different size."""
    add_volume("scan", phantom() * np.float32(unit))
    widget = open_panel(bench)
    node, box = widget._parameterNode, widget.ui.noiseLevelSpinBox
    assert node.noiseLevel == pytest.approx(15 * unit, rel=0.3)
    assert box.value == pytest.approx(node.noiseLevel, rel=1e-3)
    widget.ui.manualNoiseCheckBox.setChecked(True)
    box.setValue(12.5 * unit)
    assert node.noiseLevel == pytest.approx(12.5 * unit, rel=1e-9) and box.value == node.noiseLevel
    bench.exit(widget)
    bench.enter(widget)
    assert box.value == pytest.approx(12.5 * unit, rel=1e-9) and node.noiseLevel == box.value
    run = apply(bench, widget)
    assert volumes.facts_of(run.result.volume)["Sigma"] == f"{12.5 * unit:.6g}"


def test_all_choices_reach_the_worker(bench):
    source = add_volume()
    widget = open_panel(bench)
    ui, node = widget.ui, widget._parameterNode
    ui.manualNoiseCheckBox.setChecked(True)
    ui.noiseLevelSpinBox.setValue(12.5)
    ui.noiseKindBox.setCurrentIndex(1)
    ui.deviceBox.setCurrentIndex(1)
    ui.detailSlider.setValue(25)
    ui.keepNoiseCheckBox.setChecked(False)
    ui.keepUncertaintyCheckBox.setChecked(True)
    ui.showWhenDoneCheckBox.setChecked(False)
    bench.process_events()
    assert (node.noiseKind.value, node.device.value, node.detail) == ("gaussian", "cpu", 25)
    orders = []
    submit = widget.panel._worker.submit
    widget.panel._worker.submit = lambda job, *rest, **more: orders.append(job) or submit(job, *rest, **more)
    run = apply(bench, widget)
    order = orders[0]
    assert (order.sigma, order.noise, order.device) == (12.5, "gaussian", "cpu") and order.uncertainty
    assert order.model.endswith("tiny.safetensors")
    assert run.result.noise is None and run.result.uncertainty.GetName() == "T1 näive uncertainty"
    assert voxels(run.result.uncertainty).min() >= 0 and voxels(run.result.uncertainty).max() > 0
    estimate = run.refinement.estimates[0]
    expected = estimate + 0.25 * (voxels(source) - estimate)
    assert np.allclose(voxels(run.result.volume), expected, atol=1e-3)
    assert volumes.facts_of(run.result.volume)["Detail"] == "0.25"
    assert not widget.panel.comparison.shown


def test_labels_of_the_choices_are_words(bench):
    widget = open_panel(bench)
    for box, words in (
        (widget.ui.noiseKindBox, ["Automatic", "Gaussian", "Rician (magnitude image)"]),
        (widget.ui.framesBox, ["This frame", "All frames"]),
        (widget.ui.deviceBox, ["Automatic", "Processor (CPU)", "NVIDIA graphics card", "Apple GPU"]),
    ):
        assert [box.itemText(n) for n in range(box.count)] == words


def test_every_control_has_a_tooltip(bench):
    widget = open_panel(bench)
    kinds = (
        "QPushButton",
        "QCheckBox",
        "QComboBox",
        "SpinBox",
        "qMRML",
        "ctkSlider",
        "ctkPath",
        "QProgressBar",
        "QPlainTextEdit",
    )
    named = [
        w
        for name, w in vars(widget.ui).items()
        if any(k in type(w).__name__ for k in kinds) and not name.startswith("qt_")
    ]
    ours = [w for w in named if w.objectName[0].islower() and w.objectName not in ("C2SDenoise",)]
    assert len(ours) >= 20
    assert [w.objectName for w in ours if len(w.toolTip) < 15] == []


def test_long_names_leave_the_panel_narrow(bench, models):
    """The dock of modules can be no narrower than the panel."""
    import qt

    long = "brain_T1W_FLAIR_3T_head64_long-name-of-a-protocol_2026-03-11_second-version"
    shutil.copyfile(models / "tiny pair.safetensors", models / f"{long}.safetensors")
    add_volume(long)
    other = add_volume(f"{long} FLAIR", phantom(seed=1))
    try:
        widget = open_panel(bench, long)
        widget.ui.contrastSelector.setCheckState(other, qt.Qt.Checked)
        bench.process_events()
        assert widget.parent.minimumSizeHint.width() <= 400
    finally:
        (models / f"{long}.safetensors").unlink()


def test_a_chosen_output_is_filled_and_keeps_its_name(bench):
    source = add_volume(matrix=OBLIQUE)
    mine = add_volume("Mine", np.zeros((2, 3, 4), np.int16))
    widget = open_panel(bench)
    widget._parameterNode.inputVolume = source
    widget.ui.outputSelector.setCurrentNode(mine)
    run = apply(bench, widget)
    assert run.result.volume is mine and mine.GetName() == "Mine"
    assert voxels(mine).shape == voxels(source).shape
    assert np.abs(volumes.matrix_of(mine) - OBLIQUE).max() < 1e-6
    assert mine.GetDisplayNode().GetWindow() == 280


def test_a_new_output_volume_is_made_by_the_selector(bench):
    add_volume()
    widget = open_panel(bench)
    made = bench.open_node_menu(widget.ui.outputSelector)
    assert widget._parameterNode.outputVolume is made
    assert apply(bench, widget).result.volume is made


def test_the_evidence_keeps_to_the_noise_map_of_the_run(bench):
    level = 15 * np.linspace(0.5, 2, 128)
    clean = phantom((16, 128, 128), sigma=0)
    noise = level * np.random.default_rng(0).standard_normal(clean.shape)
    add_volume(voxels=clean + noise.astype(np.float32))
    widget = open_panel(bench, "default")
    run = apply(bench, widget)
    assert run.refinement.levels.shape == clean.shape
    assert np.std(np.log(run.refinement.levels[8] / level)[(clean[8] > 0)]) < 0.25
    widget._parameterNode.evidence = ""
    widget.ui.detailSlider.setValue(50)
    widget.ui.detailSlider.setValue(0)
    settle(bench, widget)
    after = json.loads(widget._parameterNode.evidence)
    for key in ("noise_before", "noise_after", "snr_gain_db"):
        assert after[key] == pytest.approx(run.result.numbers[key], rel=1e-2)


def test_a_reference_gives_psnr_and_ssim(bench):
    pytest.importorskip("skimage")
    add_volume(voxels=phantom(sigma=15))
    clean = add_volume("Reference", phantom(sigma=0))
    widget = open_panel(bench)
    apply(bench, widget)
    widget.ui.referenceSelector.setCurrentNode(clean)
    settle(bench, widget)
    numbers = json.loads(widget._parameterNode.evidence)
    assert numbers["psnr_before"] == pytest.approx(20 * np.log10(200 / 15), abs=1.5)
    assert "PSNR" in widget.ui.evidenceLabel.text and "SSIM" in widget.ui.evidenceLabel.text


@pytest.mark.parametrize(("depth", "thickness", "expected"), [(20, 1.0, True), (20, 3.0, False), (4, 1.0, False)])
def test_the_worker_is_told_where_voxels_are_as_thick_as_wide(bench, depth, thickness, expected):
    from C2SDenoise import C2SDenoiseLogic

    source = add_volume(voxels=phantom((depth, 48, 40)), matrix=np.diag([1.0, 1.0, thickness, 1.0]))
    worker, orders = job.shared(), []
    submit = worker.submit
    worker.submit = lambda order, *rest, **more: orders.append(order) or submit(order, *rest, **more)
    C2SDenoiseLogic().denoise(source, model="tiny", sigma=15.0, adaptMinutes=0.02)
    del worker.submit
    adapting, denoising = orders
    assert adapting.cases[0]["isotropic"] is expected and denoising.isotropic is expected


def test_adapting_trains_a_copy_first(bench, models):
    add_volume(voxels=phantom((6, 64, 64)))
    widget = open_panel(bench)
    before = (models / "tiny.safetensors").read_bytes()
    widget.ui.adaptCheckBox.setChecked(True)
    bench.process_events()
    assert widget.ui.adaptMinutesSpinBox.enabled and widget._parameterNode.adaptMinutes == 3
    stages = []
    run = widget.logic.denoise(
        widget._parameterNode.inputVolume,
        model="tiny",
        adaptMinutes=0.05,
        wait=False,
        onProgress=lambda r: stages.append(r.stage),
    )
    bench.wait_until(lambda: run.finished, 90)
    assert run.state == "done", run.failure
    assert "train" in stages and stages.index("train") < len(stages) - 1
    assert volumes.facts_of(run.result.volume)["AdaptedMinutes"] == "0.05"
    assert (models / "tiny.safetensors").read_bytes() == before


def test_a_model_is_imported_and_chosen(bench, models, tmp_path):
    source = (models / "tiny.safetensors").read_bytes()
    path = tmp_path / "geschärft ü.safetensors"
    path.write_bytes(source)
    add_volume()
    widget = open_panel(bench)
    widget.ui.setupSection.collapsed = False
    widget.ui.importPathEdit.setCurrentPath(str(path))
    bench.click(widget.ui.importButton)
    assert widget._parameterNode.model == "geschärft ü"
    assert "(own)" in widget.ui.modelBox.currentText
    assert (models / "geschärft ü.safetensors").read_bytes() == source
    bench.click(widget.ui.importButton)
    assert "already" in widget.ui.statusLabel.text
    (models / "geschärft ü.safetensors").unlink()
    (tmp_path / "damaged.safetensors").write_bytes(source[:1000])
    widget.ui.importPathEdit.setCurrentPath(str(tmp_path / "damaged.safetensors"))
    bench.click(widget.ui.importButton)
    assert "cut short" in widget.ui.statusLabel.text and not (models / "damaged.safetensors").exists()


def test_the_folder_of_packages_is_chosen_as_a_folder(bench):
    """Slicer's browse button asks for a file where files are among the filters."""
    files = 2  # ctkPathLineEdit::Files
    widget = open_panel(bench)
    assert not widget.ui.wheelsPathEdit.filters & files and widget.ui.importPathEdit.filters & files


def test_noise_outside_the_range_is_said(bench):
    add_volume(voxels=phantom(sigma=90))
    widget = open_panel(bench)
    assert "more noise" in widget.ui.modelSummaryLabel.text


def test_the_bundled_model_denoises(bench):
    """The model that everybody starts with: nearer to the truth than the source, with noise and not anatomy removed."""
    clean, source = phantom((4, 96, 96), sigma=0), add_volume(voxels=phantom((4, 96, 96), sigma=20))
    widget = open_panel(bench, "default")
    assert "(own)" not in widget.ui.modelBox.currentText
    run = apply(bench, widget)
    before, after = (np.sqrt(np.mean((voxels(v) - clean) ** 2)) for v in (source, run.result.volume))
    print(f"distance from the truth: {before:.1f} before, {after:.1f} after")
    assert after < 0.5 * before
    assert "looks like noise" in widget.ui.verdictLabel.text


def test_the_module_has_its_place_in_the_menu(bench):
    widget = bench.load_module("C2SDenoise/C2SDenoise.py")
    module = slicer.app.moduleManager().module(widget.moduleName)
    assert module.title == "C2S Denoise" and list(module.categories) == ["Filtering.Denoising"]
    assert compare.LAYOUT_ID > 100
