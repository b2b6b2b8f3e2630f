"""What C2S Train does not start, and why it says so."""

from __future__ import annotations

import os

import pytest
from scenes import add_volume
from trainscenes import open_train, read_folder, sessions

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_two_trainings_in_one_folder_are_refused(bench, models, tmp_path):
    """Another process (here: this one) holds the lock."""
    from C2SCore import runlock

    folder = models / "taken.training"
    folder.mkdir()
    handle = runlock.claim(folder / "lock")
    widget = open_train(bench, "taken")
    read_folder(bench, widget, sessions(tmp_path, count=1))
    bench.click(widget.ui.startButton)
    assert f"Process {os.getpid()} is training" in widget.ui.statusLabel.text
    assert [path.name for path in folder.iterdir()] == ["lock"]
    runlock.release(folder / "lock", handle)


def test_what_cannot_be_started_says_why(bench, models, tmp_path, monkeypatch):
    from C2SSlicer import install

    widget = open_train(bench, "tiny")
    with monkeypatch.context() as patched:  # a Slicer without the packages, whose user declines
        patched.setattr(widget.panel, "_absent", ["h5py>=3.8"])
        patched.setattr(install, "ensure", lambda wanted: False)
        widget.ui.dataFolderEdit.setCurrentPath(str(tmp_path))
        bench.click(widget.ui.readButton)
        assert "Nothing was installed" in widget.ui.statusLabel.text
        assert not widget.panel.data.inspection.busy
    widget.ui.dataFolderEdit.setCurrentPath(str(tmp_path / "nowhere"))
    bench.click(widget.ui.readButton)
    assert "is not a folder" in widget.ui.statusLabel.text
    bench.click(widget.ui.startButton)
    assert "no scan to train on" in widget.ui.statusLabel.text
    broken = sessions(tmp_path, count=1) / "broken.nrrd"
    broken.write_bytes(b"NRRD0004\n")
    read_folder(bench, widget, tmp_path)
    bad = next(row for row in widget.panel.data.rows if row.problem)
    assert bad.text == "broken" and not bad.usable and "1 cannot be used" in widget.ui.dataLabel.text
    bench.click(widget.ui.startButton)
    assert "names must differ" in widget.ui.statusLabel.text
    assert widget.panel.train.training is None


def test_another_module_is_opened_during_an_installation(bench, models, tmp_path, monkeypatch):
    """Slicer handles events meanwhile; afterwards it is said what to do."""
    import qt

    widget = open_train(bench, "left")
    read_folder(bench, widget, sessions(tmp_path, count=1))
    from C2SSlicer import install

    def ensure(wanted):
        bench.exit(widget)
        return True

    monkeypatch.setattr(install, "ensure", ensure)
    for act in (
        lambda: bench.click(widget.ui.startButton),
        lambda: bench.click(widget.ui.readButton),
        lambda: bench.click(widget.ui.estimateButton),
        lambda: widget.ui.volumeSelector.setCheckState(add_volume("T1"), qt.Qt.Checked),
    ):
        widget.panel._absent = ["h5py>=3.8"]
        act()
        assert "another module was opened meanwhile" in widget.ui.statusLabel.text
        bench.enter(widget)
    bench.wait_until(lambda: not widget.panel.data.inspection.busy)
    assert widget.panel.train.training is None and len(widget.panel.data.rows) == 2
