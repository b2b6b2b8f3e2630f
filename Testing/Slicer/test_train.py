"""C2S Train as its user sees it: from a folder of noisy scans to a model that C2S Denoise uses."""

from __future__ import annotations

import sys

from scenes import MODULE as DENOISE
from scenes import add_volume
from trainscenes import open_train, read_folder, sessions, start, until_end

from C2SCore.card import read_card


def test_from_a_folder_to_a_model_in_use(bench, models, tmp_path):
    """Read, start, watch, use: the story of the tutorial."""
    denoise = bench.load_module(DENOISE)
    widget = open_train(bench, "from folder", report=True)
    read_folder(bench, widget, sessions(tmp_path / "scans ü", count=2))
    assert [widget.ui.scanTable.item(n, 0).text() for n in range(2)] == ["p1_T1W", "p2_T1W"]
    assert "2 of 2 scans, 8 slices" in widget.ui.dataLabel.text
    widget.ui.anatomyEdit.setText("phantom")
    training = start(bench, widget)
    assert not widget.ui.startButton.enabled and widget.ui.stopButton.enabled
    until_end(bench, training)
    assert "from folder is ready" in widget.ui.statusLabel.text and "noise variance" in widget.ui.statusLabel.text
    card = read_card(models / "from folder.safetensors")
    assert (card.contrasts, card.anatomy, card.trained_on) == (("T1W",), "phantom", ("p1_T1W", "p2_T1W"))
    assert [point["step"] for point in training.history] == [4, 8, 12]
    assert widget.panel.train.monitor.points("validation").shape == (3, 2)
    assert widget.panel.train.monitor.shown
    report = (models / "from folder.training" / "report.html").read_text(encoding="utf-8")
    assert "data:image/png" in report and "<svg" in report and "p1_T1W" in report and "bundled" not in report
    bench.click(widget.ui.useButton)
    assert denoise._parameterNode.model == "from folder"
    assert denoise.ui.modelBox.currentText == "from folder (own)"
    assert "torch" not in sys.modules


def test_from_volumes_of_the_scene(bench, models):
    import qt

    volume = add_volume("Näive T1")
    widget = open_train(bench, "from scene")
    widget.ui.volumeSelector.setCheckState(volume, qt.Qt.Checked)
    bench.wait_until(lambda: widget.panel.data.rows and not widget.panel.data.inspection.busy)
    bench.process_events(0.1)
    assert widget.ui.scanTable.item(0, 0).text() == "Näive T1"
    assert widget.ui.scanTable.item(0, 1).text() == "T1"
    training = start(bench, widget)
    until_end(bench, training)
    assert read_card(models / "from scene.safetensors").trained_on == ("Näive T1",)
    assert not (models / "from scene.training" / "scans").exists()
