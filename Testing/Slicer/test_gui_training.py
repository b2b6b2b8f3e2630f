"""The benchmark of a model trained by the panel alone runs on a tiny case, so that it does not rot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scenes import phantom
from trainscenes import write_scan

SCRIPT = Path(__file__).resolve().parents[1] / "Benchmarks" / "gui_training.py"
QUICK_BM3D = (
    "from scipy.ndimage import gaussian_filter\n\n\ndef bm3d(plane, sigma):\n    return gaussian_filter(plane, 1)\n"
)


@pytest.fixture
def run(tmp_path):
    """Call the script in a process of its own, as a reader would, with something quick in BM3D's place; its values."""
    (tmp_path / "bm3d.py").write_text(QUICK_BM3D)
    for number, name in enumerate(f"p{session}_{c}" for session in (1, 2, 3) for c in ("T1W", "FLAIR")):
        write_scan(tmp_path / "clean" / f"{name}.nrrd", phantom((6, 48, 40), sigma=2.0, seed=number))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}

    def call(task: str, *more: str) -> dict:
        train = sorted(str(path) for path in (tmp_path / "clean").glob("p[12]_*"))
        test = sorted(str(path) for path in (tmp_path / "clean").glob("p3_*"))
        line = [sys.executable, str(SCRIPT), task, "--train", *train, "--test", *test, "--initial", "none"]
        line += ["--steps", "3", "--out", str(tmp_path), *more]
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "|" in (tmp_path / f"gui_training_{task}.md").read_text(encoding="utf-8")
        return json.loads((tmp_path / f"gui_training_{task}.json").read_text(encoding="utf-8"))

    return call


def test_single(run, tmp_path):
    values = run("single", "--keep", str(tmp_path / "kept"), "--pictures", str(tmp_path / "pictures"))
    assert values["training"]["steps"] == 3 and values["test"] == "p3_T1W"
    assert set(values["methods"]) == {"noisy", "trained", "default", "BM3D"}
    # The share of the noise that the noisy scan itself has left is all of it.
    assert values["methods"]["noisy"]["left"]["mean"] == pytest.approx(1, abs=0.1)
    # Three steps from scratch are no match for the bundled model, and the report says so.
    assert values["honest"] == {"says": -1, "truth": -1, "holds": True}
    assert values["slicer"]["torch_imported"] is False and values["slicer"]["gap_ms"] > 0
    assert (tmp_path / "kept" / "own T1W.safetensors").is_file()
    assert (tmp_path / "kept" / "own T1W.training" / "report.html").is_file()
    taken = {path.stem for path in (tmp_path / "pictures").iterdir()}
    assert taken == {f"train-{state}" for state in ("empty", "ready", "running", "views", "done", "report")}


def test_contrasts(run):
    values = run("contrasts", "--helpers", "FLAIR", "--seeds", "2")
    assert [cell["seed"] for cell in values["cells"]] == [0, 1] and len(values["gain"]["seeds"]) == 2
    cell = values["cells"][0]
    assert "p1_T1W with p1_FLAIR" in cell["training"]["helped"]["matched"]
    assert cell["training"]["alone"]["steps"] == cell["training"]["helped"]["steps"] == 3
    assert cell["methods"]["noisy"]["psnr"]["mean"] != values["cells"][1]["methods"]["noisy"]["psnr"]["mean"]
