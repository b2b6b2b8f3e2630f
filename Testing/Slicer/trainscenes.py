"""What the tests of C2S Train share: scans on the disk, a recipe of a few steps, and the hands of a researcher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import phantom

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "C2SDenoiseTrain" / "C2SDenoiseTrain.py"
FEW = {
    "steps": 12,
    "minutes": 0.0,
    "validate_every": 4,
    "patch": 32,
    "batch": 2,
    "warm_up": 1,
    "initial": "",
    "neighbours": 0,
}
LONG = FEW | {"steps": 100000, "validate_every": 3, "checkpoint_every": 1e-6}
SHAPE = (4, 48, 40)


@pytest.fixture
def nothing_left(models: Path) -> Iterator[None]:
    """A training that was not finished would be offered to later tests, which share the folder of models."""
    yield
    for folder in models.glob("*.training"):
        shutil.rmtree(folder)


def write_scan(path: Path, voxels: np.ndarray) -> Path:
    """A scan as a file that any program reads."""
    import SimpleITK as sitk

    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    return path


def without_bm3d(monkeypatch: Any, folder: Path) -> None:
    """Workers that start from now on do not find BM3D, which takes its time."""
    (folder / "bm3d.py").write_text("raise ImportError('left out')")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def sessions(folder: Path, contrasts: tuple[str, ...] = ("T1W",), count: int = 2) -> Path:
    """A folder of noisy sessions, named as in p1_T1W.nrrd."""
    for n in range(count):
        for c, contrast in enumerate(contrasts):
            write_scan(folder / f"p{n + 1}_{contrast}.nrrd", phantom(SHAPE, seed=10 * n + c))
    return folder


def open_train(bench: Any, name: str = "tiny own", settings: dict[str, Any] | None = None, report: bool = False) -> Any:
    """The module as a user finds it, with a name and a recipe of a few steps."""
    widget = bench.load_module(MODULE)
    bench.enter(widget)
    node = widget._parameterNode
    node.overrides = json.dumps(FEW if settings is None else settings)
    node.heldBack = 25
    widget.ui.nameEdit.setText(name)
    widget.ui.reportCheckBox.setChecked(report)
    bench.process_events()
    return widget


def read_folder(bench: Any, widget: Any, folder: Path) -> None:
    """Choose a folder, press Read, and wait for the table."""
    widget.ui.dataFolderEdit.setCurrentPath(str(folder))
    bench.click(widget.ui.readButton)
    bench.wait_until(lambda: not widget.panel.data.inspection.busy, 60)
    bench.process_events(0.1)


def start(bench: Any, widget: Any) -> Any:
    """Press Start; the training."""
    bench.click(widget.ui.startButton)
    training = widget.panel.train.training
    assert training is not None, widget.ui.statusLabel.text
    return training


def until_end(bench: Any, training: Any, state: str = "done", seconds: float = 60.0) -> None:
    bench.wait_until(lambda: training.finished, seconds)
    bench.process_events()
    assert training.state == state, (training.state, training.failure)


def until_points(bench: Any, training: Any, count: int, seconds: float = 60.0) -> None:
    """Until the curves have so many points."""
    bench.wait_until(lambda: len(training.history) >= count or training.finished, seconds)
    assert not training.finished, training.failure
