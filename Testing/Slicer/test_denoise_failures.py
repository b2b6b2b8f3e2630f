"""What goes wrong must be said, must harm nothing, and Apply must work again."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import slicer
from scenes import add_volume, apply, open_panel, phantom, scalar_volumes, settle
from test_job import gone

from C2SSlicer import volumes


def start(bench, widget):
    """Apply on a volume that takes a while; returns the run."""
    bench.click(widget.ui.applyButton)
    assert widget.panel.run is not None and not widget.panel.run.finished, widget.ui.statusLabel.text
    return widget.panel.run


def worker_pid(bench, widget) -> int:
    bench.wait_until(lambda: widget.panel._worker.started is not None)
    return widget.panel._worker.started.pid


def large(bench):
    """A scan that is under way for some seconds, and its panel."""
    source = add_volume(voxels=phantom((40, 128, 128)))
    return source, open_panel(bench)


def temporary_files() -> list[Path]:
    return sorted(Path(slicer.app.temporaryPath).glob("C2SDenoise-*"))


def test_the_worker_dies_during_a_run(bench):
    _, widget = large(bench)
    names = scalar_volumes()
    started = start(bench, widget)
    bench.wait_until(lambda: started.stage == "measure")
    os.kill(worker_pid(bench, widget), 9)
    bench.wait_until(lambda: started.finished)
    assert started.state == "failed" and scalar_volumes() == names and temporary_files() == []
    assert "Not done" in widget.ui.statusLabel.text and "memory" in widget.ui.statusLabel.text
    assert widget.ui.applyButton.enabled and widget.ui.applyButton.text == "Apply"
    widget._parameterNode.inputVolume = add_volume("Small")
    assert apply(bench, widget).state == "done"


def test_the_worker_died_while_idle(bench):
    add_volume()
    widget = open_panel(bench)
    apply(bench, widget)
    settle(bench, widget)
    pid = worker_pid(bench, widget)
    os.kill(pid, 9)
    assert gone(pid)
    assert apply(bench, widget).state == "done"


def test_cancel_at_every_stage_leaves_the_scene_as_it_was(bench):
    """Before the first report, at the first report, and amid the denoising; then again to the end."""
    source, widget = large(bench)
    names, before = scalar_volumes(), slicer.util.arrayFromVolume(source).copy()
    for stage in (None, "measure", "denoise"):
        started = start(bench, widget)
        if stage:
            bench.wait_until(lambda s=stage, r=started: r.stage == s or r.finished)
        kept = (widget.ui.keepNoiseCheckBox, widget.ui.keepUncertaintyCheckBox)
        assert not any(box.enabled for box in kept)  # the run would not heed them any more
        bench.click(widget.ui.applyButton)
        bench.wait_until(lambda r=started: r.finished, 2)
        assert started.state == "cancelled" and all(box.enabled for box in kept), stage
        assert scalar_volumes() == names and temporary_files() == []
        assert "Cancelled" in widget.ui.statusLabel.text and widget.ui.applyButton.text == "Apply"
        assert not widget.ui.progressBar.visible
    assert np.array_equal(slicer.util.arrayFromVolume(source), before)
    widget._parameterNode.inputVolume = add_volume("Small")
    assert apply(bench, widget).state == "done"


def test_the_input_is_deleted_during_a_run(bench):
    source, widget = large(bench)
    started = start(bench, widget)
    slicer.mrmlScene.RemoveNode(source)
    bench.process_events()
    bench.wait_until(lambda: started.finished, 60)
    assert started.state == "failed" and "was removed from the scene" in widget.ui.statusLabel.text
    assert scalar_volumes() == set() and temporary_files() == []


def test_the_input_is_deleted_while_the_model_is_adapted_to_it(bench):
    source, widget = large(bench)
    widget.panel.run = started = widget.logic.denoise(
        source, model="tiny", sigma=15.0, adaptMinutes=0.05, wait=False, onEnd=widget.panel._ended
    )
    bench.wait_until(lambda: started.stage == "train")
    slicer.mrmlScene.RemoveNode(source)
    bench.wait_until(lambda: started.finished, 60)
    assert started.state == "failed" and "was removed from the scene" in widget.ui.statusLabel.text
    assert widget.ui.applyButton.text == "Apply" and temporary_files() == []


def test_the_output_is_deleted_during_a_run(bench):
    """The result gets a new place."""
    source, widget = large(bench)
    mine = add_volume("Mine")
    widget.ui.outputSelector.setCurrentNode(mine)
    started = start(bench, widget)
    slicer.mrmlScene.RemoveNode(mine)
    bench.wait_until(lambda: started.finished, 60)
    assert started.state == "done", started.failure
    assert started.result.volume.GetName() == f"{source.GetName()} denoised"


def test_the_result_is_deleted_after_a_run(bench):
    add_volume()
    widget = open_panel(bench)
    started = apply(bench, widget)
    slicer.mrmlScene.RemoveNode(started.result.volume)
    bench.process_events()
    assert not widget.ui.sideBySideButton.enabled and not widget.panel.comparison.shown
    widget.ui.detailSlider.setValue(30)
    settle(bench, widget)
    assert apply(bench, widget).state == "done"


def test_the_scene_is_closed_during_a_run(bench):
    _, widget = large(bench)
    started = start(bench, widget)
    slicer.mrmlScene.Clear(0)
    bench.process_events()
    bench.wait_until(lambda: started.finished, 3)
    assert started.state == "cancelled" and scalar_volumes() == set() and temporary_files() == []
    widget._parameterNode.inputVolume = add_volume("Next")
    widget.ui.modelBox.setCurrentIndex(widget.ui.modelBox.findData("tiny"))
    assert apply(bench, widget).state == "done"


def test_a_script_whose_scene_is_replaced_gives_its_result_to_no_other(bench):
    """The nodes of the next scene have the same identifiers."""
    source, widget = large(bench)
    identifier = source.GetID()
    started = widget.logic.denoise(source, model="tiny", sigma=15.0, wait=False)
    del source
    slicer.mrmlScene.Clear(0)
    other = add_volume("Other")
    assert other.GetID() == identifier
    bench.wait_until(lambda: started.finished, 60)
    assert started.state == "failed" and "was removed from the scene" in started.failure.message
    assert scalar_volumes() == {"Other"} and temporary_files() == []


def test_another_module_is_opened_during_a_run(bench):
    """The run goes on, and its result is there when the module is opened again."""
    _, widget = large(bench)
    started = start(bench, widget)
    bench.exit(widget)
    bench.wait_until(lambda: started.finished, 60)
    assert started.state == "done"
    bench.enter(widget)
    assert widget._parameterNode.resultVolume is started.result.volume
    assert "SNR" in widget.ui.evidenceLabel.text


def test_detail_that_is_moved_before_another_module_is_opened(bench):
    """The slider is right when the module is opened again: the result follows it, and so does the evidence."""
    source, widget = large(bench)
    started = start(bench, widget)
    widget.ui.detailSlider.setValue(50)
    bench.exit(widget)
    bench.wait_until(lambda: started.finished, 60)
    bench.enter(widget)
    settle(bench, widget)
    assert widget.ui.detailSlider.value == 50 and volumes.facts_of(started.result.volume)["Detail"] == "0.5"
    middle = (started.refinement.estimates[0] + slicer.util.arrayFromVolume(source)) / 2
    assert np.allclose(slicer.util.arrayFromVolume(started.result.volume), middle, atol=0.01)


def test_the_module_is_reloaded_during_a_run(bench):
    _, widget = large(bench)
    started = start(bench, widget)
    pid = worker_pid(bench, widget)
    again = bench.reload(widget)
    assert started.finished and started.state == "cancelled" and gone(pid)
    again._parameterNode.inputVolume = add_volume("Small")
    again.ui.modelBox.setCurrentIndex(again.ui.modelBox.findData("tiny"))
    finished = apply(bench, again)
    assert finished.state == "done" and finished.result.volume.GetName() == "Small denoised"


def test_a_disk_that_is_full(bench, monkeypatch):
    add_volume()
    widget = open_panel(bench)

    def full(voxels, path, copy=None):
        yield
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(sys.modules["C2SSlicer.handover"], "save_array", full)  # the present one: a test reloads it
    bench.click(widget.ui.applyButton)
    bench.wait_until(lambda: widget.panel.run.finished)
    assert "No space left" in widget.ui.statusLabel.text and temporary_files() == []
    monkeypatch.undo()
    assert apply(bench, widget).state == "done"


def test_a_program_that_is_broken(bench, monkeypatch):
    """Its last words are shown, and the log has more."""
    add_volume()
    widget = open_panel(bench)
    worker = widget.panel._worker
    monkeypatch.setattr(worker, "_command", [sys.executable, "-c", "print(1/0)"])
    worker.kill()
    bench.click(widget.ui.applyButton)
    bench.wait_until(lambda: widget.panel.run.finished)
    assert "division by zero" in widget.ui.statusLabel.text
    assert "ZeroDivisionError" in widget.ui.logText.toPlainText()
    monkeypatch.undo()
    worker.kill()
    assert apply(bench, widget).state == "done"


def test_a_model_that_vanished(bench, models):
    add_volume()
    (models / "gone.safetensors").write_bytes((models / "tiny.safetensors").read_bytes())
    widget = open_panel(bench, "gone")
    (models / "gone.safetensors").unlink()
    bench.click(widget.ui.applyButton)
    assert "gone" in widget.ui.statusLabel.text and "Not done" in widget.ui.statusLabel.text


def test_voxels_that_are_no_numbers(bench):
    voxels = phantom()
    voxels[1, 2, 3] = np.nan
    add_volume(voxels=voxels)
    widget = open_panel(bench)
    bench.click(widget.ui.applyButton)
    bench.wait_until(lambda: widget.panel.run is not None and widget.panel.run.finished)
    assert "NaN" in widget.ui.statusLabel.text


def test_the_program_ends_with_slicer(bench):
    add_volume()
    widget = open_panel(bench)
    apply(bench, widget)
    pid = worker_pid(bench, widget)
    sys.modules["C2SSlicer.job"].close_all()  # the present one: a test above reloads it
    assert gone(pid)


def test_a_failure_can_be_read_in_light_and_dark_themes():
    """It brings its own background along, and stands out from that."""
    from PySide6.QtGui import QColor

    from C2SSlicer import status

    def luminance(name: str) -> float:
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in QColor(name).getRgbF()[:3]]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    text, background = re.search('"color:(.+?); background-color:(.+?)"', status.failed("x")).groups()
    assert (luminance(text) + 0.05) / (luminance(background) + 0.05) > 4.5
