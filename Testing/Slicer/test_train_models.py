"""Models of C2S Train: exported, imported, removed, and their cards edited."""

from __future__ import annotations

import shutil
from pathlib import Path

from scenes import MODULE as DENOISE
from trainscenes import open_train

from C2SCore import cardedit
from C2SCore.card import read_card


def test_models_are_exported_imported_and_removed(bench, models, tmp_path):
    widget = open_train(bench)
    ui = widget.ui
    ui.ownBox.setCurrentIndex(ui.ownBox.findData("tiny"))
    ui.exportPathEdit.setCurrentPath(str(tmp_path / "shared"))
    bench.click(ui.exportButton)
    assert (tmp_path / "shared.safetensors").read_bytes() == (models / "tiny.safetensors").read_bytes()
    bench.click(ui.exportButton)
    assert "exists already" in ui.statusLabel.text
    ui.importPathEdit.setCurrentPath(str(tmp_path / "shared.safetensors"))
    bench.click(ui.importButton)
    assert ui.ownBox.currentText == "shared" and "Trained on 12 slices" in ui.ownLabel.text
    bench.set_testing(False)
    import qt

    with bench.answer_dialogs(lambda dialog: qt.QMessageBox.Ok):
        bench.click(ui.removeButton)
    assert ui.ownBox.findData("shared") < 0 and not (models / "shared.safetensors").exists()


def test_what_is_imported_is_whole_and_what_is_exported_replaces_nothing(bench, models, tmp_path):
    widget = open_train(bench)
    ui = widget.ui

    def bring(path: Path) -> str:
        ui.importPathEdit.setCurrentPath(str(path))
        bench.click(ui.importButton)
        return ui.statusLabel.text

    content = (models / "tiny.safetensors").read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(content[:-100] + bytes([content[-100] ^ 255]) + content[-99:])
    assert "edited or damaged" in bring(damaged) and not (models / "damaged.safetensors").exists()
    shutil.copy(models / "tiny.safetensors", tmp_path / "begun.safetensors")
    (models / "begun.training").mkdir()
    assert "There is a training &#x27;begun&#x27; already" in bring(tmp_path / "begun.safetensors")
    assert not (models / "begun.safetensors").exists()
    (models / "begun.training").rmdir()
    shutil.copy(models / "tiny.safetensors", tmp_path / "Tiny.safetensors")
    assert "There is a model named" in bring(tmp_path / "Tiny.safetensors")

    ui.ownBox.setCurrentIndex(ui.ownBox.findData("tiny"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tiny.part").write_text("a user's own")
    ui.exportPathEdit.setCurrentPath(str(tmp_path / "out"))
    bench.click(ui.exportButton)
    assert "Exported to" in ui.statusLabel.text
    assert {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()} == {
        "tiny.part": 12,
        "tiny.safetensors": len(content),
    }
    shutil.copy(damaged, models / "damaged.safetensors")
    widget.panel.train.models.fill("damaged")
    ui.exportPathEdit.setCurrentPath(str(tmp_path / "out"))
    bench.click(ui.exportButton)
    (models / "damaged.safetensors").unlink()
    assert "edited or damaged" in ui.statusLabel.text and not (tmp_path / "out" / "damaged.safetensors").exists()


def test_a_model_that_another_process_trains_is_not_removed(bench, models):
    """Its training keeps its folder and its lock; here, this process holds it."""
    import qt

    from C2SCore import runlock

    copy, folder = models / "others.safetensors", models / "others.training"
    shutil.copy(models / "tiny.safetensors", copy)
    folder.mkdir()
    (folder / "state.safetensors").write_bytes(b"learnt")
    handle = runlock.claim(folder / "lock")
    widget = open_train(bench)
    ui = widget.ui
    ui.ownBox.setCurrentIndex(ui.ownBox.findData("others"))
    bench.set_testing(False)
    with bench.answer_dialogs(lambda dialog: qt.QMessageBox.Ok):
        bench.click(ui.removeButton)
    assert "is training others just now. Stop it first" in ui.statusLabel.text
    assert copy.exists() and sorted(path.name for path in folder.iterdir()) == ["lock", "state.safetensors"]
    runlock.release(folder / "lock", handle)
    with bench.answer_dialogs(lambda dialog: qt.QMessageBox.Ok):
        bench.click(ui.removeButton)
    assert "others was removed" in ui.statusLabel.text and not copy.exists() and not folder.exists()


def test_the_card_is_edited_after_the_training(bench, models, tmp_path):
    """The model that C2S Denoise lists says the new words at once; the weights are the same bytes."""
    from C2SCore import runlock

    copy = Path(shutil.copy(models / "tiny.safetensors", models / "edited.safetensors"))
    cardedit.edit_card(copy, {"trained_on": ["Doe, John T1w", "Roe T1w"]})
    widget = open_train(bench)
    ui = widget.ui
    ui.ownBox.setCurrentIndex(ui.ownBox.findData("edited"))
    before = read_card(copy)
    assert ui.cardScansEdit.text == "Doe, John T1w, Roe T1w"
    assert ui.cardAnatomyEdit.text == before.anatomy and ui.cardContrastsEdit.text == ", ".join(before.contrasts)
    ui.cardSection.setCollapsed(False)
    ui.cardAnatomyEdit.setText("knee")
    ui.cardContrastsEdit.setText("T1W, PD")
    ui.cardNoteEdit.setText("für alle")
    bench.exit(widget)
    bench.enter(widget)  # what is not saved yet stays, also where a training ends meanwhile
    assert ui.cardAnatomyEdit.text == "knee" and ui.ownBox.currentText == "edited"
    ui.ownBox.setCurrentIndex(ui.ownBox.findData("tiny"))
    ui.ownBox.setCurrentIndex(ui.ownBox.findData("edited"))
    assert ui.cardAnatomyEdit.text == before.anatomy
    ui.cardAnatomyEdit.setText("knee")
    ui.cardContrastsEdit.setText("T1W, PD")
    ui.cardNoteEdit.setText("für alle")
    bench.click(ui.cardButton)
    assert "card of edited was saved" in ui.statusLabel.text
    after = read_card(copy)
    assert (after.anatomy, after.contrasts, after.note) == ("knee", ("T1W", "PD"), "für alle")
    assert after.trained_on == ("Doe, John T1w", "Roe T1w")  # was not edited
    ui.exportPathEdit.currentPath = str(tmp_path / "named")
    bench.click(ui.exportButton)
    assert "names of patients" in ui.statusLabel.text
    ui.cardScansEdit.setText("")
    bench.click(ui.cardButton)
    ui.exportPathEdit.currentPath = str(tmp_path / "shared")
    bench.click(ui.exportButton)
    assert "names of patients" not in ui.statusLabel.text
    assert read_card(tmp_path / "shared.safetensors").trained_on == () == read_card(copy).trained_on
    assert "knee T1W, PD" in ui.ownLabel.text and ui.ownBox.currentText == "edited"
    denoise = bench.load_module(DENOISE)
    bench.enter(denoise)
    box = denoise.ui.modelBox
    box.setCurrentIndex(box.findText("edited (own)"))
    assert "knee" in denoise.ui.modelSummaryLabel.text
    (models / "edited.training").mkdir()
    handle = runlock.claim(models / "edited.training" / "lock")
    bench.click(ui.cardButton)
    assert "being trained by process" in ui.statusLabel.text
    runlock.release(models / "edited.training" / "lock", handle)
    shutil.rmtree(models / "edited.training")
    copy.unlink()
