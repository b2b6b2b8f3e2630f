"""Which scans a training gets: reading them, what is ticked meanwhile, and what the names say."""

from __future__ import annotations

from pathlib import Path

import slicer
from scenes import add_volume, phantom, series
from trainscenes import FEW, SHAPE, open_train, read_folder, sessions, start, until_end


def until_read(bench, widget) -> None:
    bench.wait_until(lambda: not widget.panel.data.inspection.busy, 60)
    bench.process_events(0.2)


def tick(widget, node, on: bool = True) -> None:
    import qt

    widget.ui.volumeSelector.setCheckState(node, qt.Qt.Checked if on else qt.Qt.Unchecked)


def texts(widget) -> list[str]:
    return [row.text for row in widget.panel.data.rows]


def test_nothing_starts_while_scans_are_being_read(bench, models, tmp_path):
    """Neither a folder half read nor a volume that was ticked just now."""
    widget = open_train(bench, "too early")
    ui = widget.ui
    ui.dataFolderEdit.setCurrentPath(str(sessions(tmp_path, count=12)))
    bench.click(ui.readButton)
    bench.wait_until(lambda: len(widget.panel.data.rows) >= 2, 60)
    bench.process_events(0.06)
    assert widget.panel.data.inspection.busy and "still being read" in ui.statusLabel.text
    for button in (ui.startButton, ui.copyButton):
        bench.click(button)
        assert "Not done" in ui.statusLabel.text and "still being read" in ui.statusLabel.text
    assert widget.panel.train.training is None and not (models / "too early.yaml").exists()
    until_read(bench, widget)
    assert "Ready to train on 12 scans" in ui.statusLabel.text
    tick(widget, add_volume("ticked"))
    bench.click(ui.startButton)
    assert "still being read" in ui.statusLabel.text and widget.panel.train.training is None
    until_read(bench, widget)
    assert len(widget.panel.data.rows) == 13


def test_a_file_that_windows_does_not_let_go_costs_no_row(bench, models, monkeypatch):
    def refuse(path, missing_ok=False):
        raise PermissionError(13, "in use", str(path))

    widget = open_train(bench, "in use")
    monkeypatch.setattr(Path, "unlink", refuse)
    tick(widget, add_volume("held"))
    until_read(bench, widget)
    assert texts(widget) == ["held"]


def test_a_volume_that_is_unticked_while_it_is_read_is_left_out(bench, models):
    widget = open_train(bench, "unticked")
    kept, dropped = add_volume("kept"), add_volume("dropped", phantom(SHAPE, seed=3))
    tick(widget, kept)
    tick(widget, dropped)
    tick(widget, dropped, False)
    until_read(bench, widget)
    assert texts(widget) == ["kept"] and "1 scan to train on" in widget.ui.matchLabel.text
    tick(widget, dropped)
    until_read(bench, widget)
    assert texts(widget) == ["kept", "dropped"]


def test_a_volume_that_is_ticked_again_while_it_waits_is_read_once(bench, models):
    """Clear, or another scene, gives up what waits; what is chosen anew in the same moment waits again."""
    widget = open_train(bench, "again")
    volume = add_volume("T1")
    for _ in range(2):
        tick(widget, volume)
        bench.click(widget.ui.clearButton)
    tick(widget, volume)
    until_read(bench, widget)
    assert texts(widget) == ["T1"]


def test_the_button_reads_a_folder_while_volumes_are_looked_at(bench, models, tmp_path):
    """It says what it does; to stop a folder leaves the volumes alone."""
    widget = open_train(bench, "both")
    ui = widget.ui
    volume = add_volume("volume")
    tick(widget, volume)
    ui.dataFolderEdit.setCurrentPath(str(sessions(tmp_path)))
    assert widget.panel.data.inspection.busy and ui.readButton.text == "Read"
    bench.click(ui.readButton)
    assert ui.readButton.text == "Stop"
    until_read(bench, widget)
    assert ui.readButton.text == "Read" and sorted(texts(widget)) == ["p1_T1W", "p2_T1W", "volume"]
    bench.click(ui.clearButton)
    ui.dataFolderEdit.setCurrentPath(str(sessions(tmp_path / "many", count=40)))
    bench.click(ui.readButton)
    tick(widget, volume)
    bench.click(ui.readButton)
    until_read(bench, widget)
    assert ui.readButton.text == "Read" and "volume" in texts(widget) and len(texts(widget)) < 41


def test_what_is_left_out_of_a_folder_is_in_the_log(bench, models, tmp_path):
    widget = open_train(bench, "left out")
    (sessions(tmp_path, count=1) / "p2_T1W.mgz").write_bytes(b"-")
    read_folder(bench, widget, tmp_path)
    assert "p2_T1W.mgz" in widget.ui.logText.plainText


def test_rows_of_deleted_files_go_when_a_folder_is_read_again(bench, models, tmp_path):
    widget = open_train(bench, "again")
    folder = sessions(tmp_path, count=3)
    read_folder(bench, widget, folder)
    (folder / "p2_T1W.nrrd").unlink()
    read_folder(bench, widget, folder)
    assert texts(widget) == ["p1_T1W", "p3_T1W"] and "Ready to train on 2 scans" in widget.ui.statusLabel.text


def test_what_was_chosen_for_files_outlives_the_scene(bench, models, tmp_path):
    """They stay in the table; where the next scene says something of them, that holds."""
    import json

    import qt

    widget = open_train(bench, "outlives")
    read_folder(bench, widget, sessions(tmp_path))
    table, rows = widget.ui.scanTable, widget.panel.data.rows
    table.item(0, 1).setText("PD")
    table.item(1, 0).setCheckState(qt.Qt.Unchecked)
    slicer.mrmlScene.Clear()
    bench.process_events()
    assert [(row.contrast, row.included) for row in rows] == [("PD", True), ("T1W", False)]
    assert json.loads(widget._parameterNode.edits)[rows[0].path] == {"contrast": "PD"}
    bench.exit(widget)
    widget.logic.getParameterNode().edits = json.dumps({rows[1].path: {"included": True, "group": "g"}})
    bench.enter(widget)
    assert [(row.contrast, row.included) for row in rows] == [("PD", True), ("T1W", True)]
    assert table.item(1, 0).checkState() == qt.Qt.Checked and table.item(1, 4).text() == "g"


def test_cases_are_matched_once_for_each_change(bench, models, monkeypatch):
    """With thousands of scans it takes a while: not at every letter that is typed somewhere."""
    widget = open_train(bench, "many")
    from C2STrainSlicer import matching
    from C2STrainSlicer.scans import Row

    data, ui, match, calls = widget.panel.data, widget.ui, matching.match, []
    for name in ("p1_T1W", "p1_FLAIR", "p2_T1W", "p2_FLAIR"):
        data.table.add(Row(name, f"/data/{name}.nrrd", shape=(9, 8, 8), snr=9.0, contrast=name[3:]))
    data.update()
    monkeypatch.setattr(matching, "match", lambda *given: calls.append(given) or match(*given))
    ui.descriptionEdit.setText("a")
    bench.process_events()
    assert calls == []
    ui.targetBox.setCurrentIndex(ui.targetBox.findData("T1W"))
    bench.process_events()
    assert len(calls) == 1 and "2 scans to train on" in ui.matchLabel.text
    ui.scanTable.item(2, 1).setText("FLAIR")
    bench.process_events()
    assert len(calls) == 2 and "1 scan to train on" in ui.matchLabel.text


def test_volumes_of_another_scene_are_not_taken_for_those_that_were_chosen(bench, models):
    """The scene is replaced before all is written: the volumes of the next have the same identifiers."""
    widget = open_train(bench, "replaced")
    chosen = [add_volume(f"T1 {n}", phantom((40, 128, 128), seed=n)).GetID() for n in range(2)]
    for identifier in chosen:
        tick(widget, slicer.mrmlScene.GetNodeByID(identifier))
    until_read(bench, widget)
    training = start(bench, widget)
    assert training.state == "preparing"
    slicer.mrmlScene.Clear(0)
    assert [add_volume(f"other {n}").GetID() for n in range(2)] == chosen
    until_end(bench, training, "stopped")
    bench.process_events(0.2)
    assert not widget.ui.showButton.checked  # there is nothing to show
    assert not (models / "replaced.safetensors").exists() and not (models / "replaced.training").exists()


def test_a_volume_that_is_renamed_has_its_new_name_in_the_table(bench, models):
    """Contrast and group follow, unless the user has said another."""
    widget = open_train(bench)
    volumes = [add_volume("unknown 1"), add_volume("unknown 2", phantom(SHAPE, seed=1))]
    for volume in volumes:
        tick(widget, volume)
    until_read(bench, widget)
    widget.ui.scanTable.item(1, 1).setText("PD")
    bench.exit(widget)
    for number, volume in enumerate(volumes, 1):
        volume.SetName(f"sub{number}_T1")
    bench.enter(widget)
    bench.process_events()
    first, second = widget.panel.data.rows
    assert (first.text, first.contrast, first.group, first.included) == ("sub1_T1", "T1", "sub1", True)
    assert (second.text, second.contrast, second.group) == ("sub2_T1", "PD", "sub2")
    assert widget.ui.scanTable.item(0, 0).text() == "sub1_T1" and widget.ui.scanTable.rowCount == 2


def test_a_script_whose_scene_is_replaced_trains_on_no_other(bench, models, tmp_path):
    """The nodes of the next scene have the same identifiers."""
    widget, source = open_train(bench), add_volume("T1")
    identifier = source.GetID()
    training = widget.logic.train([source], str(tmp_path / "m.safetensors"), config=FEW, report=False, wait=False)
    del source
    slicer.mrmlScene.Clear(0)
    assert add_volume("Other").GetID() == identifier
    until_end(bench, training, "failed")
    assert "removed from the scene" in training.failure.message and list(tmp_path.iterdir()) == []


def test_of_a_time_series_of_the_scene_the_shown_frame_is_read_and_said(bench):
    """All frames of a file are trained on; of a volume that shows a series, what it shows."""
    _sequence, _browser, proxy = series()
    still = add_volume("p1 T1")
    widget = open_train(bench, "one frame")
    for node in (proxy, still):
        tick(widget, node)
    until_read(bench, widget)
    notes = {row.text: row.notes for row in widget.panel.data.rows}
    assert "only the frame of the series that is shown" in notes[proxy.GetName()]
    assert "frame" not in notes["p1 T1"]
