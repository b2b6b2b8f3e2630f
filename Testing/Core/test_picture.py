"""Pictures of slices: which way up, and what is beside what."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from phantom import make_scan

from C2SCore import files, picture, scanjob


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3), 2)))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=2)))
def test_slices_are_shown_as_radiologists_look_at_them(axes, signs):
    """However they are stored: superior, else anterior, at the top; the patient's right, else anterior, at the left."""
    down, across = np.full((2, 3), 0.1)  # a little oblique
    down[axes[0]], across[axes[1]] = signs
    place = np.add.outer(np.outer(np.arange(4), down).T, np.zeros(5)) + np.outer(across, np.arange(5))[:, None]
    vertical = 2 if 2 in axes else 1
    horizontal = next(axis for axis in axes if axis != vertical)
    assert np.all(np.diff(picture.upright(place[vertical], down, across), axis=0) < 0)
    assert np.all(np.diff(picture.upright(place[horizontal], down, across), axis=1) < 0)


def test_a_picture_shows_source_result_and_what_was_removed(tmp_path):
    matrix = np.diag([-1.0, -2.0, 4.0, 1.0])
    scan = dataclasses.replace(make_scan(), spacing=(1.0, 2.0, 4.0), ijk_to_ras=matrix)
    path = files.write(scan, tmp_path / "s.nrrd")
    job = scanjob.ScanJob(str(path), str(tmp_path / "o.nrrd"), device="cpu")
    report = scanjob.run(dataclasses.replace(job, picture=str(tmp_path / "p.png")))
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p.png")))
    assert pixels.shape == (80, 3 * 48)  # rows are twice as far apart as columns
    source, result, removed = np.split(pixels[::2].astype(float), 3, axis=1)
    assert np.corrcoef(source.ravel(), scan.voxels[1].ravel())[0, 1] > 0.95
    difference = (scan.voxels - files.read_one(job.output).voxels)[1]
    shown = 127.5 * (1 + difference / (picture.SHOWN_NOISE * report["sigma"]))
    assert np.abs(np.clip(shown, 0, 255) - removed).max() <= 1
    assert not np.array_equal(source, result)


def test_a_wrong_spacing_makes_no_huge_picture():
    scan = dataclasses.replace(make_scan(), spacing=(1e-4, 1.0, 4.0))
    assert picture.comparison(scan, scan.voxels, 1.0).nbytes <= 3 * picture.REPEATED * scan.voxels[0].size


@pytest.mark.parametrize("name", ["p.jpg", "p"])
def test_a_picture_is_a_png(name, tmp_path, model_file):
    path = files.write(make_scan(), tmp_path / "s.nrrd")
    job = scanjob.ScanJob(str(path), str(tmp_path / "o.nrrd"), str(model_file), picture=str(tmp_path / name))
    with pytest.raises(scanjob.UserError, match=r"must end in \.png"):
        scanjob.run(job)
    assert not (tmp_path / "o.nrrd").exists()
