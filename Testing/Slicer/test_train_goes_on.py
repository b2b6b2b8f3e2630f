"""Paused, stopped, killed, moved, crowded out: a training goes on from where it was, and says what happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
import slicer
from scenes import add_volume
from test_denoise_speed import Ticks, busy_machine
from trainscenes import LONG, ROOT, open_train, read_folder, sessions, start, until_end, until_points

from C2SCore.card import read_card

pytestmark = pytest.mark.usefixtures("nothing_left")
MODULES_BEFORE = frozenset(sys.modules)  # other tests of the same process may have loaded the core


def worker():
    from C2SSlicer import job

    return job.shared("train")


def unfinished(widget) -> list[str]:
    """The trainings that are offered."""
    return [widget.ui.resumeBox.itemText(n).partition(" (")[0] for n in range(widget.ui.resumeBox.count)]


@pytest.mark.timing
def test_paused_stopped_and_resumed_with_an_answering_window(bench, models):
    """The curve stands still, goes on, ends with the best so far, and continues after the resumption."""
    import qt

    widget = open_train(bench, "paused", LONG)
    widget.ui.volumeSelector.setCheckState(add_volume("T1"), qt.Qt.Checked)
    bench.wait_until(lambda: widget.panel.data.rows and not widget.panel.data.inspection.busy)
    bench.process_events(0.1)
    ticks = Ticks()
    training = start(bench, widget)
    until_points(bench, training, 3)
    bench.click(widget.ui.pauseButton)
    bench.wait_until(lambda: training.stage == "paused")
    count = len(training.history)
    bench.process_events(0.6)
    assert len(training.history) == count and widget.ui.pauseButton.text == "Go on"
    assert "Paused" in widget.ui.statusLabel.text
    bench.click(widget.ui.pauseButton)
    until_points(bench, training, count + 2)
    assert "epoch" in widget.ui.statusLabel.text and "left" in widget.ui.statusLabel.text
    gap, own = ticks.longest()
    print(f"longest gap of the event loop while training: {gap:.0f} ms, of it own work {own:.0f} ms")
    assert (own if busy_machine() else gap) <= 50
    bench.click(widget.ui.stopButton)
    until_end(bench, training, "stopped")
    steps = [point["step"] for point in training.history]
    assert "Resume goes on" in widget.ui.statusLabel.text and read_card(models / "paused.safetensors").slices == 4
    assert unfinished(widget) == ["paused"] and widget.ui.resumeButton.enabled

    node = slicer.mrmlScene.GetFirstNodeByName("T1")
    slicer.mrmlScene.RemoveNode(node)  # it learns from its own copy
    bench.click(widget.ui.resumeButton)
    again = widget.panel.train.training
    assert again is not training and again.history[0]["step"] == steps[0]
    until_points(bench, again, len(steps) + 1)
    now = [point["step"] for point in again.history]
    assert now == sorted(set(now)) and now[: len(steps)] == steps
    assert widget.panel.train.monitor.points("loss").shape[0] == len(now)
    slicer.mrmlScene.Clear()  # the scene is closed: the training goes on, its curves come back
    until_points(bench, again, len(now) + 2)
    assert widget.panel.train.monitor.points("loss").shape[0] == len(again.history)
    assert not widget.ui.showButton.checked  # nor are they shown, before they are asked for
    bench.click(widget.ui.showButton)
    assert widget.panel.train.monitor.shown
    widget.panel.train.training.stop()
    until_end(bench, again, "stopped")
    assert "torch" not in sys.modules or "torch" in MODULES_BEFORE


def test_killed_moved_and_resumed(bench, models, tmp_path):
    """A kill loses at most what came after the last checkpoint; the next visit offers to resume, from anywhere."""
    home = sessions(tmp_path / "here", count=1)
    widget = open_train(bench, "killed", LONG)
    widget.ui.outputFolderEdit.setCurrentPath(str(home))
    read_folder(bench, widget, home)
    training = start(bench, widget)
    until_points(bench, training, 4)
    os.kill(worker().started.pid, signal.SIGKILL)
    until_end(bench, training, "failed")
    said = widget.ui.statusLabel.text
    assert (
        "stopped unexpectedly" in said and "memory probably did not suffice: close other programs, then resume" in said
    )
    assert "Resume goes on from what was saved last" in said and "Only 4 slices" not in said  # a note, and no cause
    reached = training.history[-1]["step"]
    bench.exit(widget)
    bench.enter(widget)
    assert "killed" in unfinished(widget)
    widget.panel.train.message = ""
    bench.exit(widget)
    bench.enter(widget)
    assert "was not finished. Resume goes on" in widget.ui.statusLabel.text

    moved = tmp_path / "there"
    shutil.move(home, moved)
    widget.panel.train.message = ""
    bench.exit(widget)
    bench.enter(widget)
    assert "killed" not in unfinished(widget)
    widget.ui.resumePathEdit.setCurrentPath(str(moved / "killed.training"))
    bench.click(widget.ui.resumeButton)
    again = widget.panel.train.training
    assert again is not training and again.plan.out == moved / "killed.safetensors"
    assert reached - 6 <= again.history[-1]["step"] <= reached + 3  # validated every 3 steps, saved after every step
    until_points(bench, again, len(again.history) + 2)
    assert again.history[-1]["step"] > reached

    pid = worker().started.pid
    widget.cleanup()  # Slicer ends: nothing is left running, and it can be resumed once more
    bench.wait_until(lambda: not alive(pid), 15)
    from C2SCore.trainrecord import Record

    assert Record.load(moved / "killed.training").resumable

    out = str(moved / "killed.safetensors")  # by c2s train, from its folder alone; the little time left ends it
    line = [sys.executable, "-m", "C2SCore", "train", "--resume", "--out", out, "--minutes", "0.0001"]
    subprocess.run(line, env={**os.environ, "PYTHONPATH": str(ROOT / "C2SDenoise")}, check=True)
    assert Record.load(out).state == "done" and read_card(out).trained_on == ("p1_T1W",)
    assert [point["step"] for point in Record.load(out).history()][: len(again.history)] == [
        point["step"] for point in again.history
    ]


def test_what_c2s_train_began_is_resumed_by_the_panel(bench, models, tmp_path):
    """It is offered by its name; the same curve goes on, and what was measured is not measured again."""
    import json

    from C2SCore.runfolder import run_folder
    from C2SCore.trainrecord import Record

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(LONG | {"checkpoint_every": 0.001, "validation": 0.25}))
    home = sessions(tmp_path / "in", ("T1W", "FLAIR"))
    scans = [[str(home / f"p{n}_{contrast}.nrrd") for n in (1, 2)] for contrast in ("T1W", "FLAIR")]
    line = ["train", "--data", *scans[0], "--aux", *scans[1], "--config", str(recipe), "--out", "from a terminal"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "C2SDenoise")}
    terminal = subprocess.Popen([sys.executable, "-m", "C2SCore", *line], env=environment, stderr=subprocess.DEVNULL)
    folder = run_folder(models / "from a terminal.safetensors")
    widget = open_train(bench, "x")
    bench.wait_until(lambda: len(Record(folder.with_suffix(".safetensors")).history()) >= 2, 120)
    bench.exit(widget)
    bench.enter(widget)
    assert "from a terminal" not in unfinished(widget)  # it goes on: that is not ours to resume
    terminal.kill()
    terminal.wait()
    measured = (folder / "measured.jsonl").read_text()
    bench.exit(widget)
    bench.enter(widget)
    widget.ui.resumeBox.setCurrentIndex(widget.ui.resumeBox.findText("from a terminal"))
    bench.click(widget.ui.resumeButton)
    training = widget.panel.train.training
    assert len(training.history) >= 2, widget.ui.statusLabel.text
    steps = [point["step"] for point in training.history]
    until_points(bench, training, len(steps) + 2)
    assert [point["step"] for point in training.history] == [3 * (n + 1) for n in range(len(training.history))]
    assert "epoch" in widget.ui.statusLabel.text and (folder / "measured.jsonl").read_text() == measured
    bench.click(widget.ui.stopButton)
    until_end(bench, training, "stopped")
    assert read_card(models / "from a terminal.safetensors").auxiliary == ("FLAIR",)

    bench.set_testing(False)
    import qt

    assert "from a terminal" in unfinished(widget)
    widget.ui.resumeBox.setCurrentIndex(widget.ui.resumeBox.findText("from a terminal"))
    with bench.answer_dialogs(lambda dialog: qt.QMessageBox.Cancel):
        bench.click(widget.ui.discardButton)
    assert folder.exists()
    with bench.answer_dialogs(lambda dialog: qt.QMessageBox.Ok) as shown:
        bench.click(widget.ui.discardButton)
    assert "made already stays" in str(shown)
    assert not folder.exists() and (models / "from a terminal.safetensors").exists()
    assert "was discarded" in widget.ui.statusLabel.text and "from a terminal" not in unfinished(widget)


def test_resume_goes_on_with_the_one_that_was_named(bench, models, tmp_path):
    """Others wait as well: the one that has just ended is chosen, and what the user chooses stays chosen."""
    from C2SCore.runfolder import STATE
    from C2SCore.trainrecord import Record

    for name in ("before", "between"):
        record = Record(models / f"{name}.safetensors", state="stopped")
        record.save()
        (record.folder / STATE).touch()
    widget = open_train(bench, "last", LONG)
    ui = widget.ui
    ui.resumeBox.setCurrentIndex(1)
    bench.exit(widget)
    bench.enter(widget)
    assert unfinished(widget) == ["before", "between"] and ui.resumeBox.currentText == "between"
    assert "between was not finished" in ui.statusLabel.text
    read_folder(bench, widget, sessions(tmp_path, count=1))
    training = start(bench, widget)
    until_points(bench, training, 2)
    ui.resumePathEdit.setCurrentPath(str(record.folder))
    bench.click(ui.stopButton)
    until_end(bench, training, "stopped")
    assert "Resume goes on" in ui.statusLabel.text
    assert unfinished(widget)[-1] == ui.resumeBox.currentText == "last"
    count = len(widget.panel.train.monitor.points("loss"))
    bench.click(ui.startButton)  # once more, which is refused: the curves stay
    assert "names must differ" in ui.statusLabel.text
    assert len(widget.panel.train.monitor.points("loss")) == count >= 2
    bench.click(ui.resumeButton)
    again = widget.panel.train.training
    assert again is not training and again.plan.out.stem == "last"
    bench.click(ui.stopButton)
    until_end(bench, again, "stopped")


def test_what_was_looked_at_is_not_measured_again(bench, models, tmp_path):
    """By the panel or for a script: the training's own file has the scans and what the bundled model sees of them."""
    widget = open_train(bench, "looked at", LONG)
    from C2STrainSlicer import inspection

    inspection.measured().unlink(missing_ok=True)
    read_folder(bench, widget, sessions(tmp_path, count=2))
    found = inspection.measured().read_bytes()
    assert len(found.split()) > 2
    training = start(bench, widget)
    until_points(bench, training, 1)
    assert (models / "looked at.training" / "measured.jsonl").read_bytes() == found
    keys = [line.split(b"\t")[1].split() for line in found.splitlines() if line]
    assert {len(key) for key in keys} == {4, 5}  # the fifth word is the model's mark
    training.stop()
    until_end(bench, training, "stopped")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


FULL_DISK = """
import errno, sys
from C2SCore import state, worker
write, count = state.atomic, [0]
def full(path, suffix=""):
    count[0] += 1
    if count[0] > 2:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))
    return write(path, suffix)
state.atomic = full
sys.exit(worker.main())
"""


def test_a_full_disk_is_told_and_the_last_checkpoint_stays(bench, models, tmp_path):
    widget = open_train(bench, "full", LONG)
    read_folder(bench, widget, sessions(tmp_path, count=1))
    command, worker()._command = worker()._command, [sys.executable, "-u", "-c", FULL_DISK]
    try:
        training = start(bench, widget)
        until_end(bench, training, "failed")
    finally:
        worker()._command = command
    assert "No space left" in widget.ui.statusLabel.text and "last good one is intact" in widget.ui.statusLabel.text
    assert training.plan.resumable and widget.ui.resumeButton.enabled
