"""C2S Train as its user sees it: from a folder of noisy scans to a model that C2S Denoise uses."""

from __future__ import annotations

import shutil
import sys

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
    stop = widget.ui.stopButton
    bench.wait_until(lambda: training.state == "reporting", 60)
    assert stop.text == "Skip report" and stop.enabled and "without a report" in stop.toolTip
    until_end(bench, training)
    assert widget.ui.reportButton.enabled
    assert stop.text == "Stop" and not stop.enabled and "End now" in stop.toolTip
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
    import qt

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
    long = add_volume("3 Ax T1 MPRAGE after contrast, fat saturated, 0.9 mm, second repetition of three")
    widget.ui.volumeSelector.setCheckState(long, qt.Qt.Checked)
    bench.process_events()
    assert widget.parent.minimumSizeHint.width() <= 400


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


def test_a_copied_command_replaces_nothing_and_has_the_card(bench, models, tmp_path):
    import shlex

    import qt

    from C2SCore import config
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
