"""Formats in: voxels, geometry, frames, scans in folders, and every bad file refused with a reason."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicomfiles import write_slice
from grids import FORMATS, make_scan, oblique
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from C2SCore import files, scan
from C2SCore.errors import UserError
from C2SCore.scan import same_grid


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    flip=st.booleans(),
)
def test_oblique_and_left_handed_geometry_survives(suffix, angles, spacing, flip, tmp_path):
    scan = make_scan(oblique(angles, spacing, flip))
    (back,) = files.read(files.write(scan, tmp_path / f"scan{suffix}"))
    assert np.array_equal(back.voxels, scan.voxels)
    # NIfTI stores its matrix in single precision
    np.testing.assert_allclose(back.ijk_to_ras, scan.ijk_to_ras, rtol=0, atol=2e-4 if "nii" in suffix else 1e-9)
    np.testing.assert_allclose(back.spacing, scan.spacing, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_sheared_geometry_survives(suffix, tmp_path):
    matrix = np.array([[2, 0.4, 0, 5], [0, 2, 0.3, 6], [0, 0, 3, 7], [0, 0, 0, 1.0]])
    (back,) = files.read(files.write(make_scan(matrix), tmp_path / f"scan{suffix}"))
    np.testing.assert_allclose(back.ijk_to_ras, matrix, atol=1e-9)


@pytest.mark.parametrize("suffix", FORMATS)
def test_four_dimensions_come_back_as_frames(suffix, tmp_path):
    frames = [make_scan(seed=n) for n in range(3)]
    path = files.write(frames, tmp_path / f"series{suffix}")
    back = files.read(path)
    assert [s.name for s in back] == ["series_1", "series_2", "series_3"]
    for a, b in zip(frames, back, strict=True):
        assert np.array_equal(a.voxels, b.voxels)
        assert same_grid(a, b)
    with pytest.raises(UserError, match="3 frames"):
        files.read_one(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_places_of_frames_survive(suffix, tmp_path):
    frames = [dataclasses.replace(make_scan(seed=n), frame_start=7.0, frame_step=2.5) for n in range(3)]
    back = files.read(files.write(frames, tmp_path / f"a{suffix}"))
    assert [(f.frame_start, f.frame_step) for f in back] == [(7.0, 2.5)] * 3


def test_nrrd_of_frames_is_a_sequence(tmp_path):
    head = files.write([make_scan(seed=n) for n in range(3)], tmp_path / "a.nrrd").read_bytes()[:900]
    assert b"kinds: list " in head
    assert b"axis 0 index type:=numeric\naxis 0 index values:=0 1 2\n" in head


@pytest.mark.parametrize("values", ["one two", "", "3", "0 inf", "nan 1", "2 1"])
def test_frames_without_numbers_for_their_places(values, tmp_path):
    path = files.write([make_scan(seed=n) for n in range(2)], tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes().replace(b"values:=0 1", b"values:=" + values.encode()))
    assert (files.read(path)[0].frame_start, files.read(path)[0].frame_step) == (0, 1)


def test_two_dimensional_image_is_one_slice(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 6), np.float32)), str(tmp_path / "flat.mha"))
    assert files.read(tmp_path / "flat.mha")[0].voxels.shape == (1, 4, 6)


def test_integers_are_rounded_and_clipped(tmp_path):
    scan = make_scan(shape=(1, 1, 5)).with_voxels(np.array([[[-3, 0.6, 1.4, 254.7, 300]]]))
    back = files.read(files.write(scan, tmp_path / "a.nrrd", np.uint8))[0]
    assert back.voxels.ravel().tolist() == [0, 1, 1, 255, 255]
    assert back.dtype == np.uint8
    wide = files.read(files.write(scan.with_voxels(np.full((1, 1, 5), 1e30)), tmp_path / "b.nrrd", np.int64))[0]
    assert wide.voxels.min() > 9e18


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_truncated_files_are_refused(suffix, part, tmp_path):
    whole = files.write(make_scan(shape=(8, 40, 50)), tmp_path / f"whole{suffix}").read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(UserError, match="cut"):
        files.read(cut)


@pytest.mark.parametrize("suffix", [*FORMATS, ".h5"])
def test_files_that_are_no_images_are_refused(suffix, tmp_path):
    text, empty = tmp_path / f"text{suffix}", tmp_path / f"empty{suffix}"
    text.write_text("These are words, not voxels. " * 40)
    empty.touch()
    for path, rule in ((text, "text"), (empty, "0 bytes"), (tmp_path / f"missing{suffix}", "does not exist")):
        with pytest.raises(UserError, match=rule):
            files.read(path)


def test_unknown_extension_names_the_known_ones(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=r"\.nrrd.*DICOM"):
        files.read(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"must be one of .*\.nrrd"):
        files.write(make_scan(), tmp_path / "a.png")


@pytest.mark.parametrize("suffix", FORMATS)
def test_colours_and_complex_numbers_are_refused(suffix, tmp_path):
    colours = sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / f"rgb{suffix}"))
    with pytest.raises(UserError, match="3 numbers per voxel"):
        files.read(tmp_path / f"rgb{suffix}")
    if "nii" in suffix:
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 2), np.complex64), np.eye(4)), tmp_path / f"c{suffix}")
        with pytest.raises(UserError, match="complex"):
            files.read(tmp_path / f"c{suffix}")


@pytest.fixture
def foreign(tmp_path) -> Path:
    """A name that is not UTF-8, as old archives have them."""
    path = tmp_path / os.fsdecode(b"m\xfcller")
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    path.unlink()
    return path


def test_names_that_are_not_utf8_are_refused(foreign, tmp_path):
    image = files.write(make_scan(), tmp_path / "a.nii").rename(f"{foreign}.nii")
    with pytest.raises(UserError, match=r"m\\udcfcller\.nii is not a name in UTF-8.*Rename"):
        files.read(image)
    with pytest.raises(UserError, match="UTF-8"):
        files.write(make_scan(), f"{foreign}.nrrd")
    assert files.find_scans(tmp_path) == [image]


def test_dicom_below_names_that_are_not_utf8_is_refused(foreign, tmp_path):
    for folder, name in ((foreign, "1.dcm"), (tmp_path / "plain", foreign.name)):
        for k, file in enumerate(("0.dcm", name)):
            write_slice(tmp_path / "slice.dcm", np.ones((8, 8)), (0, 0, k), k)
            folder.mkdir(exist_ok=True)
            (tmp_path / "slice.dcm").rename(folder / file)
        with pytest.raises(UserError, match="UTF-8"):
            files.read(folder)
    assert sorted(files.find_scans(tmp_path)) == sorted([foreign, tmp_path / "plain"])


def test_find_scans_lists_what_read_takes(tmp_path):
    for name in ("b/two.nii.gz", "a.nrrd", ".hidden/c.nrrd", "b/.d.nii"):
        files.write(make_scan(), tmp_path / name)
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "brain.MGZ").write_bytes(b"0")
    left_out: list[tuple[Path, str]] = []
    assert files.find_scans(tmp_path, left_out) == [tmp_path / "a.nrrd", tmp_path / "b/two.nii.gz"]
    ((path, reason),) = left_out
    assert path.name == "brain.MGZ" and "FreeSurfer" in reason
    with pytest.raises(UserError, match="not a folder"):
        files.find_scans(tmp_path / "a.nrrd")


def test_linked_folders_are_searched_once(tmp_path):
    study = tmp_path / "study"
    for name in ("real/a.nii", "study/own/b.nii", "study/own/deep/c.nii", "beside/d.nii"):
        files.write(make_scan(), tmp_path / name)
    for name, target in (("p1", "real"), ("p2", "real"), ("again", "study/own"), ("loop", "study"), ("up", "")):
        (study / name).symlink_to(tmp_path / target)
    (tmp_path / "real" / "back").symlink_to(study)
    assert files.find_scans(study) == [study / "own/b.nii", study / "own/deep/c.nii", study / "p1/a.nii"]


def test_folder_that_cannot_be_listed_is_told(tmp_path, monkeypatch):
    scan = files.write(make_scan(), tmp_path / "a.nii")
    shut = tmp_path / "shut"
    shut.mkdir()
    listed = os.scandir

    def scandir(path):
        if Path(path) == shut:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert files.find_scans(tmp_path) == [scan, shut]
    with pytest.raises(UserError, match=r"shut cannot be opened \(Permission denied\)"):
        files.read(shut)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.h5"])
def test_file_that_may_not_be_read_is_told_so(name, tmp_path, monkeypatch):
    def refuse(path, *args):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / name).write_bytes(b"content")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"cannot be opened \(Permission denied\); .*rights"):
        files.read(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_pipes_are_not_waited_for(tmp_path):
    for name in ("pipe", "pipe.nii", "pipe.h5"):
        os.mkfifo(tmp_path / name)
    assert files.find_scans(tmp_path) == [tmp_path / "pipe.h5", tmp_path / "pipe.nii"]
    for name in ("pipe", "pipe.nii", "pipe.h5"):
        with pytest.raises(UserError, match="is a pipe"):
            files.read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_voxels_that_are_no_numbers_are_found_in_every_format(tmp_path, suffix, value, dtype):
    voxels = make_scan().voxels.astype(dtype)
    voxels[1, 2, 3] = voxels[2, 0, 0] = value
    path = tmp_path / f"bad{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    with pytest.raises(UserError, match="2 voxels that are NaN or infinite"):
        scan.check(files.read_one(path))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha"])
def test_damage_inside_a_compressed_file_is_found(name, tmp_path):
    path = files.write(make_scan(shape=(4, 64, 64)), tmp_path / name)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8] = bytes(255 - b for b in data[middle : middle + 8])
    path.write_bytes(data)
    with pytest.raises(UserError, match="is damaged"):
        files.read(path)
