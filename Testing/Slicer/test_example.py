"""The example script, as `Slicer --no-main-window --python-script` would run it.

A process of its own, without a window.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scenes import MODULE, phantom

SCRIPT = MODULE.parent / "Examples" / "denoise_folder.py"
# Slicer, started without a window, with the module loaded, running a script with arguments.
SLICER = """
import runpy, sys
from Bench.bench import Bench
session = Bench(main_window=False)
session.load_module(sys.argv[1])
sys.argv = sys.argv[2:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    assert "torch" not in sys.modules, "torch was imported into Slicer"
    session.close()
    assert session.unmet() == [], session.unmet()
"""


def run(*arguments: object) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(MODULE.parent), str(MODULE.parents[1] / "Testing"), *filter(None, sys.path)])
    command = [sys.executable, "-c", SLICER, str(MODULE), str(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": path, "QT_QPA_PLATFORM": "offscreen"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def report(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "report.csv").open(encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "Serie ü 1"
    made.mkdir()
    for number, name in enumerate(("a.nrrd", "b.nii.gz", "c.nhdr")):
        image = sitk.GetImageFromArray(phantom(seed=number))
        image.SetSpacing((0.8, 0.9, 5.0))
        image.SetOrigin((3, 4, 5))
        sitk.WriteImage(image, str(made / name))
    (made / "notes.txt").write_text("not an image")
    return made


def test_a_folder_is_denoised_and_the_exit_code_is_zero(folder, tmp_path):
    out = tmp_path / "out"
    done = run(folder, out, "--model", "tiny")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in out.iterdir()) == [*("a.nrrd", "b.nii.gz", "c.nhdr", "c.raw.gz", "report.csv")]
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(out / "c.nhdr"))).std() > 0
    before, after = (sitk.ReadImage(str(p / "a.nrrd")) for p in (folder, out))
    assert np.allclose(before.GetSpacing(), after.GetSpacing()) and np.allclose(before.GetOrigin(), after.GetOrigin())
    assert not np.allclose(sitk.GetArrayFromImage(before), sitk.GetArrayFromImage(after), atol=0.1)
    assert float(report(out)["a.nrrd"]["sigma"]) > 0
    again = run(folder, out, "--model", "tiny")
    assert again.returncode == 0 and "a.nrrd: was there" in again.stdout
    assert float(report(out)["a.nrrd"]["sigma"]) > 0  # what was measured stays in the report


def test_one_bad_volume_does_not_stop_the_others(folder, tmp_path):
    (folder / "aa.nrrd").write_bytes(b"no image at all")
    out = tmp_path / "out"
    done = run(folder, out, "--model", "tiny")
    assert done.returncode == 1, done.stderr
    rows = report(out)
    assert rows["aa.nrrd"]["status"] == "failed" and rows["aa.nrrd"]["message"]
    assert rows["a.nrrd"]["status"] == rows["b.nii.gz"]["status"] == "done"
    assert not (out / "aa.nrrd").exists()


def test_wrong_usage(folder, tmp_path):
    done = run(folder, folder)
    assert done.returncode == 2 and "another one than the output" in done.stderr
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "._a.nrrd").write_bytes(b"what macOS leaves beside a.nrrd")
    done = run(tmp_path / "empty", tmp_path / "out")
    assert done.returncode == 2 and "has no volume" in done.stderr and not (tmp_path / "out").exists()
