"""Slices that do not lie along the first axis: scans that were turned after they were made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from phantom import make_scan

from C2SCore import events, files, jobs, noisecommand, recorded, scanjob
from C2SCore.scan import Scan
from C2SCore.scanjob import ScanJob
from C2SCore.spacing import slice_axis

SHAPE = (4, 40, 48)


def _turned(scan: Scan) -> Scan:
    """The same scan, its slices along the last axis of the array."""
    order = [1, 2, 0]  # of (K, J, I)
    spacing = tuple(scan.spacing[::-1][a] for a in order)[::-1]
    columns = [2 - a for a in order][::-1]
    matrix = scan.ijk_to_ras[:, [*columns, 3]]
    return Scan(np.ascontiguousarray(scan.voxels.transpose(order)), spacing, matrix, scan.name)


@pytest.mark.parametrize(
    ("spacing", "shape", "axis"),
    [
        ((1, 1, 5), SHAPE, 0),
        ((5, 1, 1), (40, 48, 20), 2),
        ((1, 5, 1), (40, 20, 48), 1),
        ((1, 1, 1), (40, 40, 40), 0),
        ((1.2, 1, 1), (40, 40, 40), 0),
        ((3, 3, 1), (40, 40, 40), 0),
        ((0.5, 2, 1), (1, 64, 64), 0),  # one slice of oblong pixels
    ],
)
def test_slices_lie_along_the_clearly_largest_spacing(
    spacing: tuple[float, float, float], shape: tuple[int, int, int], axis: int
) -> None:
    assert slice_axis(spacing, shape) == axis


def test_a_turned_scan_is_denoised_as_the_upright_one(tmp_path: Path) -> None:
    upright = make_scan(shape=SHAPE)
    results = {}
    for name, scan in (("upright", upright), ("turned", _turned(upright))):
        files.write(scan, tmp_path / f"{name}.nrrd")
        paths = {part: str(tmp_path / f"{name}-{part}.nrrd") for part in ("output", "residual", "uncertainty")}
        report = scanjob.run(ScanJob(scan=str(tmp_path / f"{name}.nrrd"), **paths))
        found = {part: files.read_one(path) for part, path in paths.items()}
        assert found["output"].voxels.shape == scan.voxels.shape
        assert np.allclose(found["output"].ijk_to_ras, scan.ijk_to_ras)
        results[name] = found, report
    for part, scan in results["upright"][0].items():
        back = results["turned"][0][part].voxels.transpose(2, 0, 1)
        assert np.allclose(scan.voxels, back, atol=1e-3), part
    for key in ("sigma", "snr_after", "verdict"):
        assert results["turned"][1][key] == pytest.approx(results["upright"][1][key])
    rows, _ = noisecommand.measure([str(tmp_path / "upright.nrrd"), str(tmp_path / "turned.nrrd")], False, "")
    assert rows[0]["sigma"] == pytest.approx(rows[1]["sigma"])


def test_the_map_of_a_turned_scan_lies_where_the_scan_lies(tmp_path: Path) -> None:
    turned = _turned(make_scan(shape=SHAPE))
    files.write(turned, tmp_path / "turned.nrrd")
    noisecommand.measure([str(tmp_path / "turned.nrrd")], False, str(tmp_path / "map.nrrd"))
    assert files.read_one(tmp_path / "map.nrrd").voxels.shape == turned.voxels.shape


def test_the_worker_is_told_where_slices_lie(tmp_path: Path) -> None:
    voxels = make_scan(shape=SHAPE).voxels
    np.save(tmp_path / "source.npy", voxels.transpose(1, 2, 0))
    turned = jobs._load(tmp_path / "source.npy", 2)
    assert np.array_equal(turned, voxels)
    jobs._save(str(tmp_path / "output.npy"), turned, 2)
    assert np.array_equal(np.load(tmp_path / "output.npy"), voxels.transpose(1, 2, 0))
    assert {job.slices for job in (events.NoiseJob("a", "b"), events.DenoiseJob("a", "b", "c"))} == {0}


def test_a_training_takes_slices_of_a_turned_scan(tmp_path: Path) -> None:
    upright = make_scan(shape=SHAPE)
    files.write(_turned(upright), tmp_path / "turned.nrrd")
    np.save(tmp_path / "turned.npy", upright.voxels.transpose(1, 2, 0))
    facts = [{"target": str(tmp_path / "turned.nrrd")}, {"target": str(tmp_path / "turned.npy"), "slices": 2}]
    with recorded.Cases(tmp_path / "run", facts) as cases:
        assert [np.allclose(case.target, upright.voxels) for case in cases] == [True, True]
