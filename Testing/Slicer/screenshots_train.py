"""Pictures of C2S Train in each state, and of its curves and preview, rendered by the bench (not by 3D Slicer).

    QT_QPA_PLATFORM=offscreen PYTHONPATH=C2SDenoise:Testing python Testing/Slicer/screenshots_train.py FOLDER [PICTURES]

FOLDER holds noisy scans of several contrasts, named as in p1_T1W.nii.gz; the pictures go to PICTURES
(Resources/Screenshots). The models go to a temporary folder.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from Bench.bench import Bench
from screenshots import LABEL, ROOT, _captioned

STEPS, FROM_SCRATCH = 60, {"initial": "", "minutes": 0.0}


def panel(bench: Bench, widget, folder: Path, state: str) -> None:
    """One picture of the panel at 400 pixels, with a caption below."""
    from PySide6 import QtGui

    path = bench.screenshot(widget, folder / f"train-{state}.png", width=400)
    _captioned(QtGui.QImage(str(path)), f"{state}: {LABEL}").save(str(path))
    print(path)


def views(bench: Bench, folder: Path) -> None:
    """Curves and preview, as the views of the main window show them."""
    import slicer

    window = slicer.util.mainWindow()
    window.resize(1000, 640)
    window.show()
    bench.process_events(0.3)
    path = folder / "train-views.png"
    picture = window.grab().toImage()
    _captioned(picture._native if hasattr(picture, "_native") else picture, f"curves and preview: {LABEL}").save(
        str(path)
    )
    window.hide()
    print(path)


def main(scans: str, folder: Path) -> None:
    import json

    bench = Bench()
    import qt  # the bench's

    widget = bench.load_module(ROOT / "C2SDenoiseTrain" / "C2SDenoiseTrain.py")
    bench.enter(widget)
    panel(bench, widget, folder, "empty")
    ui = widget.ui
    ui.dataFolderEdit.setCurrentPath(scans)
    bench.click(ui.readButton)
    bench.wait_until(lambda: not widget.panel.data.inspection.busy, 600)
    bench.process_events(0.2)
    ui.dataFolderEdit.setCurrentPath(Path(scans).name)  # not whose computer it was
    ui.targetBox.setCurrentIndex(ui.targetBox.findData("T1W"))
    bench.process_events()
    ui.helpersList.item(0).setCheckState(qt.Qt.Checked)
    ui.nameEdit.setText("brain T1W with FLAIR")
    ui.anatomyEdit.setText("brain")
    ui.advancedSection.setCollapsed(False)
    panel(bench, widget, folder, "ready")
    ui.advancedSection.setCollapsed(True)
    widget._parameterNode.overrides = json.dumps(
        FROM_SCRATCH | {"steps": STEPS, "validate_every": 6, "checkpoint_every": 1}
    )
    bench.click(ui.startButton)
    training = widget.panel.train.training
    bench.wait_until(lambda: training.finished or len(training.history) > 6, 600)
    panel(bench, widget, folder, "running")
    views(bench, folder)
    os.kill(widget.panel.train.training._worker.started.pid, signal.SIGKILL)  # as a crash would
    bench.wait_until(lambda: training.finished, 60)
    bench.process_events(0.2)
    panel(bench, widget, folder, "failed")
    bench.click(ui.resumeButton)
    again = widget.panel.train.training
    bench.wait_until(lambda: again.finished, 1800)
    bench.process_events(0.2)
    panel(bench, widget, folder, "done")
    print(again.report)
    bench.close()


if __name__ == "__main__":
    os.environ["C2S_MODELS_DIR"] = tempfile.mkdtemp(prefix="C2S models ")
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "Resources" / "Screenshots")
