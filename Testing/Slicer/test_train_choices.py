"""What was chosen stays visible and can be changed, also when it is not on offer any more."""

from __future__ import annotations

import json
import shutil

from scenes import phantom
from trainscenes import FEW, SHAPE, open_train, read_folder, sessions, start, until_end, write_scan

from C2SCore.card import read_card


def offered(box) -> list[str]:
    return [box.itemData(n) for n in range(box.count)]


def test_contrasts_of_another_folder_are_shown_and_can_be_left(bench, models, tmp_path):
    import qt

    widget = open_train(bench, "elsewhere")
    ui = widget.ui
    read_folder(bench, widget, sessions(tmp_path / "brain", ("T1W", "FLAIR")))
    ui.targetBox.setCurrentIndex(ui.targetBox.findData("T1W"))
    bench.process_events()
    ui.helpersList.item(0).setCheckState(qt.Qt.Checked)
    bench.process_events()
    bench.click(ui.clearButton)
    assert ui.targetBox.currentText == "T1W"  # nothing is there yet, so nothing is missing either
    for n in (1, 2):
        write_scan(tmp_path / "knee" / f"knee{n}.nrrd", phantom(SHAPE, seed=n))
    read_folder(bench, widget, tmp_path / "knee")
    assert not ui.targetBox.isHidden() and ui.targetBox.currentText == "T1W (none here)"
    assert not ui.helpersList.isHidden() and ui.helpersList.item(0).text() == "FLAIR (none here)"
    ui.helpersList.item(0).setCheckState(qt.Qt.Unchecked)
    bench.process_events()
    assert widget.panel.data.helpers == [] and ui.helpersList.count == 0
    ui.targetBox.setCurrentIndex(0)
    bench.process_events()
    assert widget._parameterNode.target == "" and ui.targetBox.isHidden()
    assert "2 scans to train on" in ui.matchLabel.text and "Ready to train on 2 scans" in ui.statusLabel.text


def test_a_model_to_start_from_that_is_gone_is_shown(bench, models, tmp_path):
    """Trained, imported and removed here: the list of models to start from follows at once."""
    import qt

    widget = open_train(bench, "fresh")
    ui, box = widget.ui, widget.ui.initialBox
    read_folder(bench, widget, sessions(tmp_path / "scans"))
    until_end(bench, start(bench, widget))
    assert "fresh" in offered(box) and box.currentIndex == 0
    shared = shutil.copy(models / "tiny.safetensors", tmp_path / "came.safetensors")
    ui.importPathEdit.setCurrentPath(str(shared))
    bench.click(ui.importButton)
    assert "came" in offered(box)
    (models / "came.safetensors").unlink()
    widget._parameterNode.overrides = json.dumps({n: v for n, v in FEW.items() if n not in ("initial", "neighbours")})
    box.setCurrentIndex(box.findData("fresh"))
    ui.ownBox.setCurrentIndex(ui.ownBox.findData("fresh"))
    bench.set_testing(False)
    with bench.answer_dialogs(lambda dialog: qt.QMessageBox.Ok):
        bench.click(ui.removeButton)
    assert box.currentText == "fresh (missing)" and "There is no model &#x27;fresh&#x27;" in ui.warningsLabel.text
    assert ui.warningsLabel.text.startswith("<span>")  # so that Qt reads the marks
    bench.exit(widget)
    bench.enter(widget)
    assert box.currentText == "fresh (missing)" and "came" not in offered(box)
    box.setCurrentIndex(0)
    bench.process_events()
    assert widget._parameterNode.initial == "" and "no model" not in ui.warningsLabel.text
    widget._parameterNode.initial = "tiny"  # by a script
    bench.process_events()
    assert box.currentData == "tiny" and offered(box).count("fresh") == 0


def test_a_pattern_finds_contrasts_in_unusual_names(bench, models, tmp_path):
    """By the panel, where a contrast that the user typed stays; and for a script."""
    import qt

    widget = open_train(bench, "unusual")
    ui, panel = widget.ui, widget.panel
    for n in (1, 2):
        for c, contrast in enumerate(("AX", "BX")):
            write_scan(tmp_path / "in" / f"sub_{n}_{contrast}.nrrd", phantom(SHAPE, seed=10 * n + c))
    read_folder(bench, widget, tmp_path / "in")
    assert [row.contrast for row in panel.data.rows] == [""] * 4 and ui.targetBox.isHidden()
    assert not ui.patternEdit.isHidden()
    ui.scanTable.item(3, 1).setText("odd")
    ui.patternEdit.setText("{contrast}")
    bench.process_events()
    assert "needs {case} once" in ui.matchLabel.text
    ui.patternEdit.setText("{case}_{contrast}")
    bench.process_events()
    assert [row.contrast for row in panel.data.rows] == ["AX", "BX", "AX", "odd"]
    assert [ui.scanTable.item(n, 1).text() for n in range(4)] == ["AX", "BX", "AX", "odd"]
    ui.targetBox.setCurrentIndex(ui.targetBox.findData("AX"))
    bench.process_events()
    helper = next(item for item in map(ui.helpersList.item, range(ui.helpersList.count)) if item.text() == "BX")
    helper.setCheckState(qt.Qt.Checked)
    bench.process_events()
    assert "sub_1_AX with sub_1_BX" in ui.matchLabel.text and "sub_2 lacks BX" in ui.matchLabel.text
    ui.patternEdit.setText("")
    bench.process_events()
    assert [row.contrast for row in panel.data.rows] == ["", "", "", "odd"]
    done = widget.logic.train(
        str(tmp_path / "in"),
        "unusual",
        config=FEW,
        target="AX",
        auxiliary=("BX",),
        pattern="{case}_{contrast}",
        report=False,
    )
    card = read_card(done.plan.out)
    assert (card.contrasts, card.auxiliary, card.trained_on) == (("AX",), ("BX",), ("sub_1_AX", "sub_2_AX"))
