"""Pictures of C2S Train in each state, and of its curves and preview, rendered by the bench (not by 3D Slicer).

    QT_QPA_PLATFORM=offscreen PYTHONPATH=C2SDenoise:Testing python Testing/Slicer/screenshots_train.py FOLDER [PICTURES]

FOLDER holds noisy scans of several contrasts, named as in p1_T1W.nii.gz; the pictures go to PICTURES
(Resources/Screenshots), the models to a temporary folder. The training is short; Benchmarks/gui_training.py takes the
same pictures, but for that of a failure, of one that is worth its name.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from researcher import Researcher
from screenshots import ROOT

SHORT = {"steps": 240, "validate_every": 24, "checkpoint_every": 1.0}


def main(scans: str, pictures: Path) -> None:
    from C2SSlicer import job

    user = Researcher(pictures)
    user.picture("empty")
    user.read(Path(scans))
    user.choose_contrasts("T1W", ("FLAIR",))
    user.name_model("brain T1W with FLAIR", anatomy="brain")
    user.ui.advancedSection.setCollapsed(False)
    user.picture("ready")
    user.choose_recipe("quick", 0, "none", SHORT)
    training = user.start()
    os.kill(job.shared("train").started.pid, signal.SIGKILL)  # as a crash would
    user.wait(lambda: training.finished)
    user.picture("failed")
    user.bench.click(user.ui.resumeButton)
    training = user.until_done()
    user.picture("done")
    user.picture_of_report(training)
    user.close()


if __name__ == "__main__":
    os.environ["C2S_MODELS_DIR"] = tempfile.mkdtemp(prefix="C2S models ")
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "Resources" / "Screenshots")
