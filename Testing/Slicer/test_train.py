"""C2S Train as its user sees it: from a folder of noisy scans to a model that C2S Denoise uses."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import slicer
from scenes import MODULE as DENOISE
from scenes import add_volume
from trainscenes import open_train, read_folder, sessions, start, until_end, without_bm3d

from C2SCore import cardedit
from C2SCore.card import read_card

MODULES_BEFORE = frozenset(sys.modules)  # other tests of the same process may have loaded the core


def test_from_a_folder_to_a_model_in_use(bench, models, tmp_path, monkeypatch):
    """Read, start, watch, use: the story of the tutorial."""
    without_bm3d(monkeypatch, tmp_path)
    denoise = bench.load_module(DENOISE)
    widget = open_train(bench, "from folder", report=True)
    bench.click(widget.ui.startButton)
    assert "There is no scan" in widget.ui.statusLabel.text
    read_folder(bench, widget, sessions(tmp_path / "scans ü", count=2))
    assert [widget.ui.scanTable.item(n, 0).text() for n in range(2)] == ["p1_T1W", "p2_T1W"]
    assert "Ready to train on 2 scans" in widget.ui.statusLabel.text
    assert "2 of 2 scans, 8 slices" in widget.ui.dataLabel.text
    widget.ui.anatomyEdit.setText("phantom")
    training = start(bench, widget)
    assert not widget.ui.startButton.enabled and widget.ui.stopButton.enabled
    until_end(bench, training)
    assert widget.ui.reportButton.enabled
    assert "from folder is ready" in widget.ui.statusLabel.text and "noise variance" in widget.ui.resultLabel.text
    card = read_card(models / "from folder.safetensors")
    assert (card.contrasts, card.anatomy, card.trained_on) == (("T1W",), "phantom", ("p1_T1W", "p2_T1W"))
    assert [point["step"] for point in training.history] == [4, 8, 12]
    assert widget.panel.train.monitor.points("validation").shape == (3, 2)
    assert widget.panel.train.monitor.shown
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)  # by Slicer's own menu
    bench.click(widget.ui.showButton)
    assert widget.panel.train.monitor.shown
    report = (models / "from folder.training" / "report.html").read_text(encoding="utf-8")
    assert "data:image/png" in report and "<svg" in report and "p1_T1W" in report and "BM3D was not compared" in report
    assert not (models / "from folder.training" / "scans").exists()
    bench.click(widget.ui.useButton)
    assert denoise._parameterNode.model == "from folder"
    assert denoise.ui.modelBox.currentText == "from folder (own)"
    shutil.rmtree(models / "from folder.training")
    bench.enter(widget)
    assert not widget.ui.reportButton.enabled  # there is nothing to open any more
    assert "torch" not in sys.modules or "torch" in MODULES_BEFORE


def test_every_control_has_a_tooltip_and_the_panel_is_narrow(bench, models):
    widget = open_train(bench)
    kinds = (
        "QPushButton",
        "QCheckBox",
        "QComboBox",
        "SpinBox",
        "QLineEdit",
        "qMRML",
        "ctkPath",
        "QTable",
        "QList",
        "QProg",
    )
    ours = [
        w
        for name, w in vars(widget.ui).items()
        if any(k in type(w).__name__ for k in kinds) and not name.startswith("qt_") and name != "C2SDenoiseTrain"
    ]
    assert len(ours) >= 35
    assert [w.objectName for w in ours if len(w.toolTip) < 12] == []
    assert widget.parent.minimumSizeHint.width() <= 400


def test_the_recipe_can_be_changed_setting_by_setting(bench, models, tmp_path):
    widget = open_train(bench, settings={})
    table = widget.ui.recipeTable
    names = [table.item(n, 0).text() for n in range(table.rowCount)]
    assert names[0] == "network" and "loss.alpha" in names

    def value(name):
        return table.item(names.index(name), 1)

    widget.ui.advancedSection.setCollapsed(False)
    value("batch").setText("5")
    assert widget.panel.recipe.config().batch == 5 and value("batch").font().bold()
    value("batch").setText("none")
    assert "whole number" in widget.ui.statusLabel.text
    assert widget.panel.recipe.config().batch == 5 and value("batch").text() == "5"
    bench.click(widget.ui.resetButton)
    assert widget.panel.recipe.config().batch != 5
    widget.ui.presetBox.setCurrentIndex(widget.ui.presetBox.findData("standard"))
    assert value("network").text() == widget.panel.recipe.config().network
    widget.ui.minutesSpinBox.setValue(7)
    bench.process_events()
    assert value("minutes").text() == "7.0"
    assert value("steps").text() == "as many as fit"
    path = tmp_path / "own.yaml"
    path.write_text("network: large\nsteps: 9\n")
    widget.ui.recipeFileEdit.setCurrentPath(str(path))
    assert value("network").text() == "large"
    path = tmp_path / "wrong.yaml"
    path.write_text("netwerk: large\n")
    widget.ui.recipeFileEdit.setCurrentPath(str(path))
    assert "netwerk" in widget.ui.statusLabel.text
    for text in ("6", "7"):  # nothing can be taken as long as the recipe cannot be read
        value("batch").setText(text)
        assert "netwerk" in widget.ui.statusLabel.text and widget.panel.recipe.overrides == {}
    widget.ui.recipeFileEdit.setCurrentPath("")
    assert value("batch").text() == str(widget.panel.recipe.config().batch)


def test_settings_that_a_control_decides_are_changed_there(bench, models):
    """A cell of the table holds what is typed, or says where to go."""
    import qt

    widget = open_train(bench, settings={})
    ui, table = widget.ui, widget.ui.recipeTable
    names = [table.item(n, 0).text() for n in range(table.rowCount)]

    def value(name):
        return table.item(names.index(name), 1)

    def editable(name):
        return bool(value(name).flags() & qt.Qt.ItemIsEditable)

    own = widget.panel.recipe.config()
    assert ui.minutesSpinBox.text == (f"{own.minutes:g} min (recipe)" if own.minutes else f"{own.steps} steps (recipe)")
    ui.initialBox.setCurrentIndex(ui.initialBox.findData("tiny"))
    for name, where in (("minutes", "the time"), ("validation", "Hold back"), ("network", "Start from nothing")):
        before = value(name).text()
        assert not editable(name) and where in value(name).toolTip()
        value(name).setText("0.5")
        assert value(name).text() == before and not value(name).font().bold()
    assert widget.panel.recipe.overrides == {}
    ui.heldBackSpinBox.setValue(30)
    bench.process_events()
    assert value("validation").text() == "0.3"
    ui.initialBox.setCurrentIndex(ui.initialBox.findData("none"))
    assert editable("network") and editable("steps")
    value("network").setText("large")
    assert widget.panel.recipe.config().network == value("network").text() == "large"
    ui.minutesSpinBox.setValue(7)
    bench.process_events()
    assert not editable("steps") and "time" in value("steps").toolTip()


def test_choices_outlive_a_scene_that_is_added_or_opened(bench, models, tmp_path):
    """The module stays open; the lists of nodes are made anew when a scene has been read."""
    import qt

    scenes = {name: str(tmp_path / f"{name}.mrb") for name in ("guest", "own")}
    guest = add_volume("guest")
    assert slicer.util.saveScene(scenes["guest"])
    slicer.mrmlScene.RemoveNode(guest)
    chosen = [add_volume("p1_T1W"), add_volume("p2_T1W")]
    widget = open_train(bench)
    node, ui = widget._parameterNode, widget.ui
    node.initial, node.dataFolder, node.preset = "tiny", str(tmp_path), "standard"
    for volume in chosen:
        ui.volumeSelector.setCheckState(volume, qt.Qt.Checked)
    bench.wait_until(lambda: len(widget.panel.data.rows) == 2, 60)
    ui.scanTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    edits = node.edits
    assert slicer.util.saveScene(scenes["own"])

    def check() -> None:
        bench.wait_until(lambda: len(widget.panel.data.rows) == 2, 60)
        bench.process_events(0.1)
        node = widget._parameterNode
        assert [n.GetName() for n in node.volumes] == ["p1_T1W", "p2_T1W"]
        assert [n.GetName() for n in ui.volumeSelector.checkedNodes()] == ["p1_T1W", "p2_T1W"]
        assert [row.included for row in widget.panel.data.rows] == [True, False] and node.edits == edits
        assert node.initial == ui.initialBox.currentData == "tiny"
        assert node.preset == ui.presetBox.currentData == "standard"
        assert node.dataFolder == ui.dataFolderEdit.currentPath == str(tmp_path)

    assert slicer.app.coreIOManager().loadScene(scenes["guest"], False)
    assert len(widget.panel.data.rows) == 2  # nothing is read a second time
    check()
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(scenes["own"])
    check()


def test_contrasts_are_matched_and_copied_as_a_command(bench, models, tmp_path):
    """The whole choice of data by the panel, and the same as a line for a cluster; it is remembered by the scene."""
    import qt

    from C2SCore import config

    widget = open_train(bench, "pair")
    folder = sessions(tmp_path / "in", ("T1W", "FLAIR"), 2)
    (folder / "p2_FLAIR.nrrd").unlink()
    read_folder(bench, widget, folder)
    ui = widget.ui
    assert "Mixed contrasts" in ui.warningsLabel.text and "3 scans to train on" in ui.matchLabel.text
    ui.targetBox.setCurrentIndex(ui.targetBox.findData("T1W"))
    bench.process_events()
    assert "Mixed" not in ui.warningsLabel.text and "Only 8 slices" in ui.warningsLabel.text
    ui.helpersList.item(0).setCheckState(qt.Qt.Checked)
    bench.process_events()
    assert "p1_T1W with p1_FLAIR" in ui.matchLabel.text and "p2 lacks FLAIR" in ui.matchLabel.text
    for target in ("", "FLAIR", "T1W"):  # a helper that was ticked is ticked again when it can help again
        ui.targetBox.setCurrentIndex(ui.targetBox.findData(target))
        bench.process_events()
        assert widget.panel.data.helpers == (["FLAIR"] if target == "T1W" else [])
    assert ui.helpersList.item(0).checkState() == qt.Qt.Checked
    bench.click(ui.copyButton)
    line = qt.QApplication.clipboard().text()
    assert line.startswith("c2s train --data") and "p1_T1W.nrrd" in line and "p2" not in line and "--aux" in line
    assert config.load(models / "pair.yaml") == widget.panel.recipe.config()
    for path in models.glob("pair*.yaml"):
        path.unlink()

    ui.scanTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    bench.process_events()
    assert "no scan" in ui.matchLabel.text.lower() or "No case" in ui.matchLabel.text
    bench.exit(widget)
    bench.enter(widget)
    assert not widget.panel.data.rows[1].included and ui.targetBox.currentText == "T1W"
    import slicer

    volume = add_volume("other T1")
    ui.volumeSelector.setCheckState(volume, qt.Qt.Checked)
    bench.wait_until(lambda: len(widget.panel.data.rows) == 4)
    slicer.mrmlScene.RemoveNode(volume)
    bench.process_events(0.1)
    assert len(widget.panel.data.rows) == 3  # a volume that is deleted leaves the table
    bench.click(ui.clearButton)
    read_folder(bench, widget, folder)
    assert not widget.panel.data.rows[1].included  # what was chosen for a scan holds when it is read again


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


def test_a_copied_command_replaces_nothing_and_has_the_card(bench, models, tmp_path):
    import shlex

    import qt

    from C2SCore import cardedit, config
    from C2SCore.cli import build_parser

    widget = open_train(bench, "mine")
    ui = widget.ui
    read_folder(bench, widget, sessions(tmp_path / "scans"))
    own = tmp_path / "out" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("# my long comment\nnetwork: small\n")
    ui.outputFolderEdit.setCurrentPath(str(own.parent))
    ui.anatomyEdit.setText("knee: “left”")
    ui.licenceEdit.setText("CC0")
    bench.process_events()
    for _attempt in range(2):  # the second time, the same files serve
        bench.click(ui.copyButton)
        options = build_parser().parse_args(shlex.split(qt.QApplication.clipboard().text())[1:])
        assert options.config == str(own.with_name("mine-2.yaml"))
        assert config.load(options.config) == widget.panel.recipe.config()
        words = cardedit.checked(config.read_yaml(options.card), cardedit.GIVEN)
        assert words == {"anatomy": "knee: “left”", "licence": "CC0", "contrasts": ["T1W"]}
    assert own.read_text().startswith("# my long comment")
    assert sorted(path.name for path in own.parent.iterdir()) == ["mine-2.yaml", "mine-card.yaml", "mine.yaml"]


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


def test_the_time_is_estimated_before(bench, models):
    widget = open_train(bench, settings={"initial": "", "steps": 1000, "minutes": 0.0, "patch": 32, "batch": 2})
    bench.click(widget.ui.estimateButton)
    bench.wait_until(lambda: "1000 steps of" in widget.ui.estimateLabel.text, 60)
    assert widget.ui.estimateLabel.text.startswith("about ")
    for change in (
        lambda: widget.ui.minutesSpinBox.setValue(5),
        lambda: setattr(widget._parameterNode, "preset", "paper"),
    ):
        assert not widget.ui.estimateLabel.isHidden()
        change()
        bench.process_events()
        assert widget.ui.estimateLabel.isHidden()  # it was of another recipe
        widget.ui.minutesSpinBox.setValue(0)
        bench.process_events()
