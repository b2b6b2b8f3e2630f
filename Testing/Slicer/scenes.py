"""What the tests of the modules put into the scene, and how they use the panel as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MODULE = Path(__file__).resolve().parents[2] / "C2SDenoise" / "C2SDenoise.py"

# In a process of its own: the tests run where Slicer would, and there torch is never imported.
_MAKE_MODELS = """
import sys, torch
from C2SCore.card import Card, resources_folder
from C2SCore.denoiser import Denoiser
from C2SCore.model import save
folder = sys.argv[1]
torch.manual_seed(0)
for name, contrasts in (("tiny", 0), ("tiny pair", 1)):
    denoiser = Denoiser("small", 0, contrasts)
    torch.nn.init.normal_(denoiser.network.tail.weight, std=0.01)
    card = Card(name, contrasts=("T1",), auxiliary=("FLAIR",) * contrasts, slices=12, anatomy="phantom",
                sigma_range=(0.02, 0.3), config={"network": "small", "neighbours": 0, "steps": 100000, "patch": 32,
                "batch": 2})
    save(f"{folder}/{name}.safetensors", denoiser, card)
"""


@pytest.fixture(scope="session", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of own models.

    "tiny", and "tiny pair", which needs one other contrast. They are untrained: quick, not good.
    """
    folder = tmp_path_factory.mktemp("own models ö")
    subprocess.run(
        [sys.executable, "-c", _MAKE_MODELS, str(folder)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    before = os.environ.get("C2S_MODELS_DIR")
    os.environ["C2S_MODELS_DIR"] = str(folder)
    yield folder
    from C2SSlicer import job

    job.close_all()
    os.environ.pop("C2S_MODELS_DIR") if before is None else os.environ.update(C2S_MODELS_DIR=before)


@pytest.fixture(autouse=True)
def warm_worker(request: pytest.FixtureRequest) -> None:
    """The worker outlives the bench's session, its timer's connection does not.

    Connect it again, and spare a cold start.
    """
    if "bench" in request.fixturenames:
        request.getfixturevalue("bench")
        from C2SSlicer import job

        for worker in job._WORKERS.values():
            job._attach_timer(worker)
            worker.on_busy(worker.busy)


def phantom(shape: tuple[int, int, int] = (4, 48, 40), sigma: float = 15.0, seed: int = 0) -> np.ndarray:
    """A bright ellipse with a darker one in it, under Gaussian noise, (K, J, I) float32."""
    j, i = np.mgrid[-1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    plane = 200.0 * (j**2 + i**2 < 0.8) - 80.0 * ((j - 0.2) ** 2 + (i / 0.6) ** 2 < 0.1)
    noise = np.random.default_rng(seed).standard_normal(shape)
    return (plane + sigma * noise).astype(np.float32)


OBLIQUE = np.array([[0.9, -0.2, 0.3, -40.0], [0.25, 0.8, -1.1, 12.0], [-0.1, 0.3, 4.8, 7.5], [0, 0, 0, 1.0]])
"""Sheared and oblique; its determinant is positive."""


def add_volume(name: str = "T1 näive", voxels: np.ndarray | None = None, matrix: np.ndarray | None = None) -> Any:
    """A volume node with a display node and a window."""
    import slicer

    volume = slicer.util.addVolumeFromArray(phantom() if voxels is None else voxels, ijkToRAS=matrix, name=name)
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(280, 140)
    return volume


def open_panel(bench: Any, model: str = "tiny") -> Any:
    """The module as a user finds it, with a model chosen and the noise of the first volume measured."""
    widget = bench.load_module(MODULE)
    bench.enter(widget)
    choose_model(bench, widget, model)
    settle(bench, widget)
    return widget


def choose_model(bench: Any, widget: Any, name: str) -> None:
    box = widget.ui.modelBox
    box.setCurrentIndex(box.findData(name))
    bench.process_events()
    assert widget._parameterNode.model == name


def settle(bench: Any, widget: Any, seconds: float = 60.0) -> None:
    """Until nothing runs in the background: measurements and warm-up."""
    bench.process_events(0.05)
    bench.wait_until(lambda: not widget.panel._worker.busy and not widget.panel._settled.active, seconds)
    bench.process_events()


def apply(bench: Any, widget: Any, state: str = "done", seconds: float = 60.0) -> Any:
    """Press Apply and wait for the end of the run; returns the run."""
    bench.click(widget.ui.applyButton)
    bench.wait_until(lambda: widget.panel.run is not None and widget.panel.run.finished, seconds)
    run = widget.panel.run
    assert run.state == state, (run.state, run.failure)
    bench.wait_until(lambda: not widget.panel._worker._later)
    bench.process_events()
    return run


def scalar_volumes() -> set[str]:
    import slicer

    return {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}


def voxels(node: Any) -> np.ndarray:
    """(K, J, I), shared with the node."""
    import slicer

    return slicer.util.arrayFromVolume(node)


def series(frames: int = 3, broken: int | None = None) -> tuple[Any, Any, Any]:
    """A sequence, its browser and the volume that shows it; the `broken` frame is constant."""
    import slicer

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Series")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for number in range(frames):
        voxels = phantom(seed=number) + 10 * number
        volume = add_volume("frame", 0 * voxels if number == broken else voxels, OBLIQUE)
        sequence.SetDataNodeAtValue(volume, str(2 * number))
        slicer.mrmlScene.RemoveNode(volume)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.AddSynchronizedSequenceNode(sequence)
    proxy = browser.GetProxyNode(sequence)
    return sequence, browser, proxy


def reopen(path: Path) -> None:
    """Save the scene and open it again."""
    import slicer

    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))
