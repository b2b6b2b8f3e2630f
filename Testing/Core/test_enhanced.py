"""Enhanced DICOM files, of many frames each, are read as volumes whatever the order of the frames."""

from __future__ import annotations

import sys

import numpy as np
import pydicom
import pytest
from enhancedfiles import LEGACY, MR, echo, frame, item, place, volume, write

from C2SCore import files
from C2SCore.errors import UserError

ORDERS = {"ordered": (0, 1, 2, 3), "reversed": (3, 2, 1, 0), "scrambled": (2, 0, 3, 1)}


def assert_axial(scan) -> None:
    expected = np.array([[-0.5, 0, 0, -10], [0, -0.75, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])
    np.testing.assert_allclose(scan.ijk_to_ras, expected, atol=1e-9)
    assert scan.spacing == (0.5, 0.75, 2.5)


@pytest.mark.parametrize("content", [MR, LEGACY])
@pytest.mark.parametrize("order", ORDERS)
def test_slices_are_sorted_by_position(order, content, tmp_path):
    values = volume()
    path = write(tmp_path / "a.dcm", [frame(values[k], place(k)) for k in ORDERS[order]], content=content)
    (scan,) = files.read(path)
    assert np.array_equal(scan.voxels, values)
    assert_axial(scan)
    assert (scan.name, scan.dtype) == ("a", np.uint16)
    (scan,) = files.read(tmp_path)
    assert np.array_equal(scan.voxels, values)
    assert (scan.name, scan.source) == ("enhanced", tmp_path)
    assert files.find_scans(tmp_path) == [tmp_path]


def test_groups_may_be_shared(tmp_path):
    values = volume()
    shared = ("PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence")
    frames = [frame(values[k], place(k), slope=0.5, intercept=-3) for k in (1, 0, 2, 3)]
    (scan,) = files.read(write(tmp_path / "a.dcm", frames, shared=shared))
    assert np.array_equal(scan.voxels, 0.5 * values - 3)
    assert_axial(scan)


def test_oblique_and_sheared_stacks(tmp_path):
    c, s = np.cos(0.4), np.sin(0.4)
    directions = np.array([c, s, 0, -s * c, c * c, s])
    normal = np.cross(directions[:3], directions[3:])
    values = volume()
    step = 4 * normal + 0.5 * directions[3:]  # a tilted gantry
    frames = [frame(values[k], np.array([1, 2, 3]) + k * step, directions=directions) for k in (3, 1, 0, 2)]
    (scan,) = files.read(write(tmp_path / "a.dcm", frames))
    assert np.array_equal(scan.voxels, values)
    lps = np.diag([-1, -1, 1]) @ scan.ijk_to_ras[:3]
    expected = np.stack([0.5 * directions[:3], 0.75 * directions[3:], step, [1, 2, 3]], axis=1)
    np.testing.assert_allclose(lps, expected, atol=1e-9)


def test_one_slice_takes_its_depth_from_the_file(tmp_path):
    (scan,) = files.read(write(tmp_path / "a.dcm", [frame(volume()[0], place(0), slope=2)]))
    assert np.array_equal(scan.voxels, 2 * volume()[:1])
    assert scan.spacing == (0.5, 0.75, 7)
    np.testing.assert_allclose(scan.ijk_to_ras[:3, 2], [0, 0, 7])


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("slopes", [(1.5, 0.25, 3.7, 1e-4), (3, 1, 2, 5)])
def test_every_frame_has_its_own_slope(slopes, compress, tmp_path):
    values, intercepts = volume(), (-7, 0, 0.3, 100)
    frames = [frame(values[k], place(k), slope=slopes[k], intercept=intercepts[k]) for k in range(4)]
    path = write(tmp_path / "a.dcm", frames, compress=compress)
    (scan,) = files.read(path)
    expected = np.stack([values[k] * slopes[k] + intercepts[k] for k in range(4)])
    np.testing.assert_allclose(scan.voxels, expected, rtol=1e-6)
    assert scan.dtype == np.float32


def test_echoes_become_frames_however_they_are_stored(tmp_path):
    volumes = [volume(n) for n in range(3)]
    each = [(n, k) for k in range(4) for n in range(3)]  # all echoes of a slice, then the next slice
    by_echo = sorted(each)
    mixed = [each[n] for n in np.random.default_rng(0).permutation(len(each))]
    for number, order in enumerate((each, by_echo, mixed)):
        frames = [frame(volumes[n][k], place(k), dims=(k + 1, n + 1), **echo(10 + 12 * n)) for n, k in order]
        scans = files.read(write(tmp_path / f"{number}.dcm", frames))
        assert len(scans) == 3
        for scan, expected in zip(scans, volumes, strict=True):
            assert np.array_equal(scan.voxels, expected)
            assert_axial(scan)


def test_echoes_are_told_apart_without_dimensions(tmp_path):
    first, second = volume(1), volume(2)
    frames = []
    for k in range(4):  # the order of the echoes changes from slice to slice
        pair = [frame(first[k], place(k), **echo(9)), frame(second[k], place(k), **echo(110))]
        frames += pair[:: 1 if k % 2 == 0 else -1]
    scans = files.read(write(tmp_path / "a.dcm", frames))
    assert [np.array_equal(s.voxels, v) for s, v in zip(scans, (first, second), strict=True)] == [True, True]


def test_converted_files_tell_echoes_elsewhere(tmp_path):
    first, second = volume(1), volume(2)
    names = "UnassignedPerFrameConvertedAttributesSequence"
    frames = [frame(second[k], place(k), **{names: {"EchoTime": 90}}) for k in (3, 0, 1, 2)]
    frames += [frame(first[k], place(k), **{names: {"EchoTime": 30}}) for k in range(4)]
    scans = files.read(write(tmp_path / "a.dcm", frames, content=LEGACY))
    assert [np.array_equal(s.voxels, v) for s, v in zip(scans, (second, first), strict=True)] == [True, True]


def test_times_follow_the_dimensions(tmp_path):
    volumes = [volume(n) for n in range(12)]  # more than 9: as words, 10 would come before 2
    frames = [frame(volumes[n][k], place(k), dims=(1, k + 1, n + 1)) for n in range(11, -1, -1) for k in range(4)]
    scans = files.read(write(tmp_path / "a.dcm", frames))
    assert [np.array_equal(s.voxels, v) for s, v in zip(scans, volumes, strict=True)] == [True] * 12


def test_b_values_become_frames(tmp_path):
    volumes = [volume(n) for n in range(3)]
    groups = [
        {"DiffusionBValue": float(b), "DiffusionGradientDirectionSequence": [item(DiffusionGradientOrientation=d)]}
        for b, d in ((0, [0.0, 0, 0]), (800, [1.0, 0, 0]), (800, [0, 1.0, 0]))
    ]
    frames = []
    for k in range(4):
        turned = np.roll(range(3), k)
        frames += [frame(volumes[n][k], place(k), MRDiffusionSequence=groups[n]) for n in turned]
    scans = files.read(write(tmp_path / "a.dcm", frames))
    assert [np.array_equal(s.voxels, v) for s, v in zip(scans, volumes, strict=True)] == [True] * 3


def test_several_files_make_one_series(tmp_path):
    volumes = [volume(n) for n in range(3)]
    for n in range(3):  # one volume per file; names against the order
        write(tmp_path / f"{9 - n}.dcm", [frame(volumes[n][k], place(k)) for k in (1, 0, 3, 2)], instance=n + 1)
    scans = files.read(tmp_path)
    assert [np.array_equal(s.voxels, v) for s, v in zip(scans, volumes, strict=True)] == [True] * 3
    assert [s.name for s in scans] == ["enhanced_1", "enhanced_2", "enhanced_3"]
    for k in range(4):  # one slice per file
        write(tmp_path / "slices" / f"{k}.dcm", [frame(volumes[0][k], place(k), slope=k + 1)], instance=9 - k)
    (scan,) = files.read(tmp_path / "slices")
    assert np.array_equal(scan.voxels, volumes[0] * np.arange(1, 5)[:, None, None])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda n, k: {"component": "PHASE"} if n else {}, "mixes magnitude and phase images"),
        (lambda n, k: echo(10 if n == (k == 3) else 20 if k < 3 else 30), "other echo times"),
        (lambda n, k: {"directions": (0, 1, 0, 0, 0, -1)} if k > 1 else {}, "several orientations"),
        (lambda n, k: {"PixelMeasuresSequence": {"PixelSpacing": [1, 1 + n]}}, "pixels of several sizes"),
        (lambda n, k: {"PlanePositionSequence": {}}, "does not say where its image 1 lies"),
        (lambda n, k: {"PixelMeasuresSequence": {"SliceThickness": 2}}, "how large its pixels are"),
    ],
)
def test_what_is_no_scan_is_refused(change, message, tmp_path):
    frames = [frame(volume(n)[k], place(k), **change(n, k)) for n in range(2) for k in range(4)]
    with pytest.raises(UserError, match=message):
        files.read(write(tmp_path / "a.dcm", frames))


@pytest.mark.parametrize(
    "places, message",
    [
        ([(0, 0, 0), (0, 0, 2), (0, 0, 7), (0, 0, 9)], "2 to 5 mm apart"),
        ([(0, 0, 0), (0, 0, 2), (0, 0, 4), (0, 0, 4)], "between 1 and 2 images per slice position"),
        ([(0, 0, 0), (0, 0, 2), (40, 0, 4), (40, 0, 6)], "mm beside a line"),
        ([(0, 0, 0), (0, 0, 2), (9, 0, 0), (9, 0, 2)], "9 mm beside a line"),  # two stacks side by side
    ],
)
def test_stacks_that_are_none_are_refused(places, message, tmp_path):
    path = write(tmp_path / "a.dcm", [frame(volume()[k], places[k]) for k in range(4)])
    with pytest.raises(UserError, match=message):
        files.read(path)


def test_damaged_files_are_refused(tmp_path):
    path = write(tmp_path / "a.dcm", [frame(volume()[k], place(k)) for k in range(4)])
    head = pydicom.dcmread(path)
    path.write_bytes(path.read_bytes()[:-20])
    for scan in (path, tmp_path):
        with pytest.raises(UserError, match=r"a\.dcm"):
            files.read(scan)
    del head.PerFrameFunctionalGroupsSequence[-1]
    head.save_as(path)
    with pytest.raises(UserError, match="says of 3 images where they lie and holds 4"):
        files.read(path)


def test_without_pydicom_it_is_asked_for(tmp_path, monkeypatch):
    path = write(tmp_path / "a.dcm", [frame(volume()[k], place(k)) for k in range(4)])
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"To read enhanced DICOM files needs pydicom.*pip install pydicom"):
        files.read(path)
