"""What the `c2s` command makes of odd input: refused before any work, or brought to what can be worked with."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
from commandline import c2s
from phantom import make_scan

from C2SCore import denoising, files, scanjob
from C2SCore.scan import Scan


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--sigma", "5,3"), "must be 'auto', a number from 0, or the file"),
        (("--adapt", "inf"), "minutes of adaptation are inf"),
        (("--adapt", "nan"), "minutes of adaptation are nan"),
        (("--report", "numbers.txt"), "must end in .json"),
        (("--dicom",), "with --dicom the output is a folder"),
    ],
)
def test_arguments_are_judged_before_any_work(scan_file, tmp_path, capsys, more, says):
    assert c2s("denoise", scan_file, "-o", tmp_path / "out.nii.gz", *more) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "out.nii.gz").exists()


def test_an_empty_variable_is_no_input(scan_file, tmp_path, capsys):
    for command in ("denoise", "batch"):
        assert c2s(command, "", "-o", tmp_path / "out") == 2
        assert "no name" in capsys.readouterr().err
    for arguments in (
        ("train", "--data", "", "--out", tmp_path / "model"),  # it learnt from the folder here
        ("train", "--data", scan_file, "--out", ""),
        ("train", "--data", scan_file, "--out", tmp_path / "model", "--initial="),
        ("noise", scan_file, "--map", ""),
        ("evaluate", "--image", scan_file, "--reference", scan_file, "--mask", ""),
    ):
        assert c2s(*arguments) == 2
        assert "no name" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["scan", "output", "residual", "report", "model"])
def test_names_that_are_too_long_are_told_before_the_work(place, scan_file, model_file, tmp_path, capsys):
    long = tmp_path / ("x" * 300)
    names = {"scan": scan_file, "output": tmp_path / "out.nii", "residual": tmp_path / "r.nii"}
    names |= {"report": tmp_path / "r.json", "model": model_file}
    names[place] = long.with_suffix(names[place].suffix)
    arguments = [word for part in ("output", "residual", "report", "model") for word in (f"--{part}", names[part])]
    assert c2s("denoise", names["scan"], *arguments) == (1 if place == "scan" else 2)  # a scan that is not there
    said = capsys.readouterr().err
    expected = "does not exist", "Shorten it", "must take the name"
    assert any(words in said for words in expected) and "a fault" not in said
    assert list(tmp_path.iterdir()) == [scan_file]


def test_a_contrast_that_shows_nothing_is_refused(scan_file, contrast_model_file, tmp_path, capsys):
    scan = files.read_one(scan_file)
    empty = files.write(scan.with_voxels(0 * scan.voxels), tmp_path / "empty.nii.gz")
    arguments = ("-o", tmp_path / "out.nii.gz", "--model", contrast_model_file, "--aux", empty)
    assert c2s("denoise", scan_file, *arguments) == 1
    assert "empty is constant" in capsys.readouterr().err


def test_a_level_beyond_all_numbers_is_refused(scan_file, model_file, tmp_path, capsys):
    assert c2s("denoise", scan_file, "-o", tmp_path / "o.nii.gz", "--model", model_file, "--sigma", "1e300") == 1
    assert "must be at most 1e+15" in capsys.readouterr().err


def test_the_values_of_a_tiny_scan_are_all_counted(model_file, tmp_path, capsys):
    scan = Scan(np.random.default_rng(0).normal(100, 10, (3, 2, 2)).astype(np.float32))
    source = files.write(scan, tmp_path / "tiny.nrrd")
    assert c2s("denoise", source, "-o", tmp_path / "o.nrrd", "--model", model_file) == 0
    files.write(scan.with_voxels(np.arange(12).reshape(scan.voxels.shape) % 3), source)
    assert c2s("denoise", source, "-o", tmp_path / "o.nrrd", "--model", model_file) == 1
    assert "only 3 different values" in capsys.readouterr().err


def test_constant_frames_pass_through(tmp_path, capsys):
    frames = [make_scan(n) for n in range(3)]
    frames[1] = frames[1].with_voxels(0 * frames[1].voxels)
    source = files.write(frames, tmp_path / "in.nii.gz")
    out = tmp_path / "out.nii.gz"
    assert c2s("denoise", source, "-o", out, "--sigma", "60", "--device", "cpu") == 0
    said = capsys.readouterr().out
    assert "constant, and returned as they are: 2" in said
    assert "noise 60 (" in said and "Nothing was removed" not in said  # of the two others
    done = files.read(out)
    assert len(done) == 3 and not done[1].voxels.any() and done[2].voxels.any()


def test_zeros_of_a_noise_map_are_filled(model_file, scan_file, tmp_path, capsys):
    scan = files.read_one(scan_file)
    level = np.full_like(scan.voxels, 60)
    level[:, :10] = 0
    given = files.write(scan.with_voxels(level), tmp_path / "map.nii.gz")
    common = ("denoise", scan_file, "--model", model_file, "--noise", "gaussian", "--device", "cpu")
    assert c2s(*common, "-o", tmp_path / "a.nii.gz", "--sigma", given) == 0
    assert "the median of the others was taken" in capsys.readouterr().out
    whole = files.write(scan.with_voxels(0 * level + 60), tmp_path / "whole.nii.gz")
    assert c2s(*common, "-o", tmp_path / "b.nii.gz", "--sigma", whole) == 0
    assert np.array_equal(*(files.read_one(tmp_path / f"{n}.nii.gz").voxels for n in "ab"))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--sigma", "map.nii.gz"), "sigma has the value -60"),
        (("--noise", "rician"), "has negative voxels"),
        (("--aux", "map.nii.gz"), "reads 0 other contrasts"),
    ],
)
def test_all_frames_are_judged_before_any_work(model_file, tmp_path, capsys, monkeypatch, more, says):
    monkeypatch.setattr(denoising, "denoise", None)
    monkeypatch.setattr(scanjob, "adapted", None)
    monkeypatch.chdir(tmp_path)
    first, second = make_scan(0), make_scan(1)
    files.write([first, second.with_voxels(second.voxels - 100)], "series.nii.gz")
    level = first.with_voxels(np.full(first.voxels.shape, 60))
    files.write([level] if "--aux" in more else [level, level.with_voxels(-level.voxels)], "map.nii.gz")
    assert c2s("denoise", "series.nii.gz", "-o", "o.nii.gz", "--model", model_file, "--adapt", 1, *more) == 1
    assert says in capsys.readouterr().err


def test_sheared_scans_are_refused_for_nifti_before_the_work(model_file, scan_file, tmp_path, capsys):
    scan = files.read_one(scan_file)
    matrix = scan.ijk_to_ras.copy()
    matrix[0, 2] += 1
    source = files.write(dataclasses.replace(scan, ijk_to_ras=matrix), tmp_path / "sheared.mha")
    arguments = ("-o", tmp_path / "o.mha", "--residual", tmp_path / "r.nii.gz", "--model", model_file)
    assert c2s("denoise", source, *arguments) == 1
    assert "right angles" in capsys.readouterr().err and not (tmp_path / "o.mha").exists()


def test_the_same_image_twice_is_no_repetition(scan_file, capsys):
    assert c2s("noise", scan_file, scan_file, "--repetitions") == 2
    assert "same image" in capsys.readouterr().err


def test_whole_numbers_and_their_residual_give_the_source(model_file, tmp_path):
    scan = make_scan()
    source = files.write(scan, tmp_path / "in.nii.gz", np.int16)
    places = [tmp_path / "out.nii.gz", tmp_path / "removed.nii.gz"]
    arguments = ("-o", places[0], "--residual", places[1], "--dtype", "source", "--model", model_file, "--sigma", "60")
    assert c2s("denoise", source, *arguments, "--device", "cpu") == 0
    out, removed = (files.read_one(place).voxels for place in places)
    assert np.array_equal(out + removed, files.read_one(source).voxels)


def test_frames_bound_the_level_that_is_told(tmp_path, capsys):
    clean = make_scan(sigma=0).voxels
    rng = np.random.default_rng(0)
    frames = [make_scan().with_voxels(clean + 40 * rng.standard_normal(clean.shape)) for _ in range(3)]
    path = files.write(frames, tmp_path / "frames.nii.gz")
    assert c2s("noise", path, "--json") == 0
    told = [row["sigma"] for row in json.loads(capsys.readouterr().out)["scans"]]
    assert max(told) <= 40 * 1.05


def test_the_worker_takes_no_arguments(capsys):
    assert c2s("worker", "--help") == 0 and "usage: c2s worker" in capsys.readouterr().out
    assert c2s("worker", "nonsense") == 2


def test_a_closed_standard_error_is_no_obstacle(scan_file, model_file, tmp_path, monkeypatch):
    """As in daemons, and in Windows programs without a console."""
    monkeypatch.setattr(sys, "stderr", None)
    out = tmp_path / "out.nii.gz"
    assert c2s("denoise", scan_file, "-o", out, "--model", model_file, "--device", "cpu") == 0 and out.exists()
