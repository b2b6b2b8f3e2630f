"""DICOM series: order, geometry, slope, frames; several series, gaps and colours refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomfiles import UID, set_class, strip_mark, write_slice

from C2SCore import dicom, files, images
from C2SCore.errors import UserError


def volume(k: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1000, (k, 6, 8)).astype(np.int16)


def test_series_is_sorted_by_position(tmp_path):
    values = volume()
    folder = tmp_path / "series"
    for k in (2, 0, 3, 1):  # file names and instance numbers against the order in space
        write_slice(folder / f"{9 - k}.dcm", values[k], (10, 20, 30 + 2.5 * k), 9 - k)
    (scan,) = files.read(folder)
    assert np.array_equal(scan.voxels, values)
    assert scan.spacing == (0.5, 0.75, 2.5)
    assert scan.name == "series 1"
    expected = np.array([[-0.5, 0, 0, -10], [0, -0.75, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])
    np.testing.assert_allclose(scan.ijk_to_ras, expected, atol=1e-9)
    assert files.find_scans(tmp_path) == [folder]


def test_tilted_gantry_keeps_its_shear(tmp_path):
    for k in range(3):
        write_slice(tmp_path / f"{k}.dcm", volume()[k], (0, 0.5 * k, 2 * k), k + 1)
    (scan,) = files.read(tmp_path)
    np.testing.assert_allclose(scan.ijk_to_ras[:3, 2], [0, -0.5, 2], atol=1e-9)


def test_oblique_series(tmp_path):
    row = np.array([np.cos(0.4), np.sin(0.4), 0])
    for k in range(3):
        write_slice(tmp_path / f"{k}.dcm", volume()[k], (1, 2, 3 + 4 * k), k + 1, row=row)
    (scan,) = files.read(tmp_path)
    np.testing.assert_allclose(scan.ijk_to_ras[:3, 0], [-0.5 * row[0], -0.5 * row[1], 0], atol=1e-6)


def test_slices_of_several_orientations_are_refused(tmp_path):
    for k, angle in enumerate((0, 0.5)):  # along the normal of the first they lie like those of a scan
        write_slice(tmp_path / f"{k}.dcm", volume()[k], (0, 0, k), k + 1, row=(np.cos(angle), np.sin(angle), 0))
    with pytest.raises(UserError, match=r"several orientations \(a localizer\?\)"):
        files.read(tmp_path)
    write_slice(tmp_path / "1.dcm", volume()[1], (0, 0, 1), 2, row=(np.cos(5e-4), np.sin(5e-4), 0))
    assert files.read(tmp_path)[0].voxels.shape == (2, 6, 8)


@pytest.mark.parametrize(
    ("tag", "value"), [(0x00200013, "ANON"), (0x00200013, "nan"), (0x00200032, "1\\2"), (0x00200032, "nan\\0\\0")]
)
def test_places_and_numbers_that_are_none_are_refused(tag, value, tmp_path):
    for k in range(2):
        write_slice(tmp_path / f"{k}.dcm", volume()[k], (0, 0, k), k + 1)
        head = pydicom.dcmread(tmp_path / f"{k}.dcm")
        head.add_new(tag, "SH", value)
        head.save_as(tmp_path / f"{k}.dcm")
    with pytest.raises(UserError, match="must be three numbers and one"):
        files.read(tmp_path)


def test_slope_and_intercept(tmp_path):
    values = volume()
    for k in range(4):
        write_slice(tmp_path / f"{k}.dcm", values[k], (0, 0, k), k + 1)
    folder = tmp_path / "scaled"
    for k in range(4):  # the writer stores (value - intercept) / slope; reading gives the value back
        write_slice(folder / f"{k}.dcm", values[k] * 2 + 5, (0, 0, k), k + 1, slope=2, intercept=5)
    assert np.array_equal(files.read(folder)[0].voxels, values * 2 + 5)


@pytest.mark.parametrize("first", range(4))
def test_images_with_slopes_of_their_own_are_no_integers_where_one_is_none(first, tmp_path):
    for k in range(4):
        write_slice(tmp_path / f"{k}.dcm", volume()[k], (0, 0, k), k + 1)
        head = pydicom.dcmread(tmp_path / f"{k}.dcm")
        head.RescaleSlope = "1" if k == first else "47.5"
        head.save_as(tmp_path / f"{k}.dcm")
    assert files.read_one(tmp_path).dtype.kind == "f"


def test_every_position_twice_makes_two_frames(tmp_path):
    first, second = volume(), volume() + 1
    for k in range(4):
        write_slice(tmp_path / f"a{k}.dcm", first[k], (0, 0, k), k + 1)
        write_slice(tmp_path / f"b{k}.dcm", second[k], (0, 0, k), k + 5)
    frames = files.read(tmp_path)
    assert [np.array_equal(f.voxels, v) for f, v in zip(frames, (first, second), strict=True)] == [True, True]


def test_several_series_are_listed_and_can_be_named(tmp_path):
    for series in (1, 2):
        for k in range(2):
            write_slice(tmp_path / f"{series}{k}.dcm", volume()[k] + series, (0, 0, k), k + 1, series=series)
    with pytest.raises(UserError, match=r"2 series.*series 1, 2 files.*series 2, 2 files"):
        files.read(tmp_path)
    found = files.find_scans(tmp_path)
    assert len(found) == 2
    assert np.array_equal(files.read(found[1])[0].voxels, volume()[:2] + 2)
    with pytest.raises(UserError, match=r"no series 1\.2\.3"):
        files.read(f"{tmp_path}::1.2.3")


def test_a_folder_of_many_series_is_grouped_once(tmp_path, monkeypatch):
    asked = []
    name_files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames

    def counted(folder, uid):
        asked.append(uid)
        return name_files(folder, uid)

    monkeypatch.setattr(sitk.ImageSeriesReader, "GetGDCMSeriesFileNames", counted)
    for series in range(4):
        for k in range(2):
            write_slice(tmp_path / f"{series}{k}.dcm", volume()[k] + series, (0, 0, k), k + 1, series=series)
    for scan in files.find_scans(tmp_path):
        assert files.read(scan)[0].voxels.shape == (2, 6, 8)
    assert sorted(asked) == [f"{UID}{series}" for series in range(4)]
    write_slice(tmp_path / "12.dcm", volume()[2], (0, 0, 2), 3, series=1)
    assert files.read(f"{tmp_path}::{UID}1")[0].voxels.shape == (3, 6, 8)
    write_slice(tmp_path / "12.dcm", volume()[2], (0, 0, 2), 3, series=22)  # another series under an old name
    assert files.read(f"{tmp_path}::{UID}1")[0].voxels.shape == (2, 6, 8)


def test_missing_slice_is_noticed(tmp_path):
    for k in (0, 1, 3):
        write_slice(tmp_path / f"{k}.dcm", volume()[k], (0, 0, k), k + 1)
    with pytest.raises(UserError, match="1 to 2 mm apart"):
        files.read(tmp_path)
    write_slice(tmp_path / "again.dcm", volume()[2], (0, 0, 1), 9)
    with pytest.raises(UserError, match="between 1 and 2 images per slice position"):
        files.read(tmp_path)


def test_truncated_slice_is_refused(tmp_path):
    for k in range(3):
        write_slice(tmp_path / f"{k}.dcm", volume()[k], (0, 0, k), k + 1)
    whole = (tmp_path / "1.dcm").read_bytes()
    (tmp_path / "1.dcm").write_bytes(whole[:-20])
    with pytest.raises(UserError, match=r"1 unreadable DICOM files \(1\.dcm\)"):
        files.read(tmp_path)
    with pytest.raises(UserError, match=r"1\.dcm cannot be read"):
        files.read(tmp_path / "1.dcm")


def damage(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("element", "value", "says"),
    [("PixelData", b"\1\0" * 8, "holds 16 bytes of pixels; 128 are needed"), ("PixelSpacing", [-1, 1], "above 0")],
)
def test_slices_of_too_few_pixels_or_of_no_size_are_refused(element, value, says, tmp_path):
    for n in range(3):
        write_slice(path := tmp_path / f"{n}.dcm", np.full((8, 8), n), (0, 0, n), n)
        image = pydicom.dcmread(path)
        if n == 1 or element != "PixelData":
            setattr(image, element, value)
        image.save_as(path)
    for place in (tmp_path, tmp_path / "1.dcm"):
        with pytest.raises(UserError, match=says):
            files.read(place)


def test_pixels_are_looked_at_once_and_not_for_the_order_of_slices(tmp_path, monkeypatch):
    """A folder may lie on a slow network."""
    for n in range(3):
        write_slice(tmp_path / f"{n}.dcm", volume()[n], (0, 0, n), n)
    looked: list[str] = []
    monkeypatch.setattr(images, "_check_pixels", lambda image, path: looked.append(path.name))
    dicom.files_in_order(tmp_path)
    assert not looked
    files.read(tmp_path)
    files.read(tmp_path / "0.dcm")
    assert looked == ["0.dcm", "1.dcm", "2.dcm", "0.dcm"]


def test_nothing_in_whole_pixels_is_taken_for_their_beginning(tmp_path):
    # Of compressed ones that are cut short.
    mark = b"\xe0\x7f\x10\0OW\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\x7f"
    values = np.frombuffer(mark + bytes(128 - len(mark)), np.int16).reshape(8, 8)
    write_slice(tmp_path / "0.dcm", values, (0, 0, 0), 0)
    assert np.array_equal(files.read_one(tmp_path / "0.dcm").voxels[0], values)


@pytest.mark.parametrize("explicit", [False, True])
def test_a_damaged_slice_is_that_of_its_series_alone(tmp_path, explicit):
    for series in (1, 2):
        for k in range(3):
            write_slice(tmp_path / f"{series}{k}.dcm", volume()[k] + series, (0, 0, k), k + 1, series=series)
    path = tmp_path / "11.dcm"
    head = pydicom.dcmread(path)
    head.ReferencedSeriesSequence = [pydicom.Dataset()]  # stands before the file's own
    head.ReferencedSeriesSequence[0].SeriesInstanceUID = f"{UID}2"
    head["ReferencedSeriesSequence"].is_undefined_length = True
    if explicit:
        head.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    head.save_as(path)
    damage(path)
    assert files.find_scans(tmp_path) == [Path(f"{tmp_path}::{UID}{series}") for series in (1, 2)]
    assert np.array_equal(files.read(f"{tmp_path}::{UID}2")[0].voxels, volume()[:3] + 2)
    with pytest.raises(UserError, match=r"1 unreadable DICOM files \(11\.dcm\)"):
        files.read(f"{tmp_path}::{UID}1")
    with pytest.raises(UserError, match="holds 2 series"):
        files.read(tmp_path)
    write_object(tmp_path / "IM_0001", MR)  # breaks off before it names a series, and may be of any
    with pytest.raises(UserError, match=r"1 unreadable DICOM files \(IM_0001\)"):
        files.read(f"{tmp_path}::{UID}2")


def test_a_series_with_every_slice_damaged_is_listed(tmp_path):
    for series in (1, 2):
        for k in range(2):
            write_slice(tmp_path / f"{series}{k}.dcm", volume()[k], (0, 0, k), k + 1, series=series)
    damage(tmp_path / "20.dcm")
    damage(tmp_path / "21.dcm")
    assert files.find_scans(tmp_path) == [Path(f"{tmp_path}::{UID}{series}") for series in (1, 2)]
    assert files.read(f"{tmp_path}::{UID}1")[0].voxels.shape == (2, 6, 8)
    for scan in (f"{tmp_path}::{UID}2", tmp_path):  # nobody said which series is meant: there seemed to be one
        with pytest.raises(UserError, match=r"2 unreadable DICOM files \(20\.dcm, 21\.dcm\)"):
            files.read(scan)


def write_object(path, content: bytes):
    """A DICOM file of a class (0002,0002) that has no pixels, or a broken one; nothing of its body matters here."""
    version = b"\x02\0\x01\0OB\0\0\x02\0\0\0\0\x01"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + version + b"\x02\0\x02\0UI" + len(content).to_bytes(2, "little") + content)


MR = b"1.2.840.10008.5.1.4.1.1.4\0"
REPORT = b"1.2.840.10008.5.1.4.1.1.88.11\0"
STATE = b"1.2.840.10008.5.1.4.1.1.11.1"
RAW = b"1.2.840.10008.5.1.4.1.1.66"
SPECTRUM = b"1.2.840.10008.5.1.4.1.1.4.2\0"
PRIVATE = b"1.3.46.670589.11.0.0.12.2\0"
DIRECTORY = b"1.2.840.10008.1.3.10"


@pytest.mark.parametrize("content", [REPORT, STATE, RAW, SPECTRUM, PRIVATE])
def test_objects_without_pixels_are_passed_over(content, tmp_path):
    for k in range(3):
        write_slice(tmp_path / f"{k}.dcm", volume()[k], (0, 0, k), k + 1)
    write_object(tmp_path / "XX_0001", content)
    assert files.read(tmp_path)[0].voxels.shape == (3, 6, 8)
    write_object(tmp_path / "other" / "PS_0001", content)
    assert files.find_scans(tmp_path / "other") == []
    assert files.find_scans(tmp_path) == [tmp_path]


@pytest.mark.parametrize("content", [MR, b"1.2.840.10008.5.1.4.1.1.4.1", b""])
def test_image_that_belongs_to_no_series_is_refused(content, tmp_path):
    write_object(tmp_path / "IM_0001", content)
    assert files.find_scans(tmp_path) == [tmp_path]  # so that reading says why
    with pytest.raises(UserError, match=r"1 unreadable DICOM files \(IM_0001\)"):
        files.read(tmp_path)


STORAGE = "1.2.840.10008.5.1.4.1.1."


@pytest.mark.parametrize("number, name", [("481.2", ": RT dose"), ("7", ": secondary capture"), ("1", "")])
def test_folder_searches_leave_out_what_is_no_mr(number, name, tmp_path):
    reason = f"no MR image (SOP class {STORAGE}{number}{name})"
    for k in range(2):
        write_slice(tmp_path / "alone" / f"{k}.dcm", volume()[k], (0, 0, k), k + 1)
        set_class(tmp_path / "alone" / f"{k}.dcm", STORAGE + number)
    left_out = []
    assert files.find_scans(tmp_path, left_out) == []
    assert left_out == [(tmp_path / "alone", reason)]
    assert files.read(tmp_path / "alone")[0].voxels.shape == (2, 6, 8)  # somebody names it and means it
    write_slice(tmp_path / "alone" / "mr.dcm", volume()[0], (0, 0, 0), 1, series=2)
    left_out = []
    assert files.find_scans(tmp_path, left_out) == [Path(f"{tmp_path / 'alone'}::{UID}2")]
    assert left_out == [(Path(f"{tmp_path / 'alone'}::{UID}1"), reason)]


def test_folder_searches_leave_out_what_is_no_mr_where_it_is_damaged(tmp_path):
    for k in range(2):
        write_slice(tmp_path / f"{k}.dcm", volume()[k], (0, 0, k), k + 1)
        set_class(tmp_path / f"{k}.dcm", f"{STORAGE}2")
        damage(tmp_path / f"{k}.dcm")
    left_out = []
    assert files.find_scans(tmp_path, left_out) == []
    assert left_out == [(tmp_path, f"no MR image (SOP class {STORAGE}2: CT)")]
    write_slice(tmp_path / "mr.dcm", volume()[0], (0, 0, 0), 1, series=2)
    assert files.find_scans(tmp_path) == [Path(f"{tmp_path}::{UID}2")]


def test_the_first_file_of_a_series_tells_what_it_is(tmp_path):
    for k in range(2):
        write_slice(tmp_path / f"{k}.dcm", volume()[k], (0, 0, k), k + 1)
    set_class(tmp_path / "1.dcm", f"{STORAGE}7")
    assert files.find_scans(tmp_path) == [tmp_path]
    (tmp_path / "0.dcm").rename(tmp_path / "2.dcm")
    assert files.find_scans(tmp_path) == []


@pytest.mark.parametrize("number", ["4", "4.1", "4.3", "4.4"])
def test_folder_searches_find_every_kind_of_mr(number, tmp_path):
    write_slice(tmp_path / "1.dcm", volume()[0], (0, 0, 0), 1)
    set_class(tmp_path / "1.dcm", STORAGE + number)
    assert files.find_scans(tmp_path) == [tmp_path]


def test_table_of_contents_is_no_image(tmp_path):
    write_object(tmp_path / "DICOMDIR", DIRECTORY)
    for k in range(2):
        write_slice(tmp_path / "IMAGES" / f"{k}.dcm", volume()[k], (0, 0, k), k + 1)
    assert files.find_scans(tmp_path) == [tmp_path / "IMAGES"]
    with pytest.raises(UserError, match="no DICOM series"):
        files.read(tmp_path)


def test_truncated_compressed_slice_is_refused(tmp_path):
    write_slice(tmp_path / "a.dcm", volume()[0], (0, 0, 0), 1, compress=True)
    files.read(tmp_path / "a.dcm")
    (tmp_path / "a.dcm").write_bytes((tmp_path / "a.dcm").read_bytes()[:-12])
    with pytest.raises(UserError, match="cannot be read"):
        files.read(tmp_path / "a.dcm")


def test_single_file_without_extension(tmp_path):
    write_slice(tmp_path / "a.dcm", volume()[0], (0, 0, 0), 1)
    (tmp_path / "a.dcm").rename(tmp_path / "IM0001")
    assert np.array_equal(files.read(tmp_path / "IM0001")[0].voxels, volume()[:1])


@pytest.mark.parametrize("meta", [False, True])
@pytest.mark.parametrize("suffix", [".dcm", ".DCM"])
def test_files_without_the_mark_are_found_by_their_extension(suffix, meta, tmp_path):
    for k in range(3):
        path = tmp_path / f"{k}{suffix}"
        write_slice(tmp_path / "slice.dcm", volume()[k], (0, 0, k), k + 1)
        (tmp_path / "slice.dcm").rename(path)
        strip_mark(path, meta=meta)
    assert files.find_scans(tmp_path) == [tmp_path]
    assert np.array_equal(files.read(tmp_path)[0].voxels, volume()[:3])
    damage(tmp_path / f"1{suffix}")
    with pytest.raises(UserError, match=rf"1 unreadable DICOM files \(1\{suffix}\)"):
        files.read(tmp_path)
    (tmp_path / f"1{suffix}").write_text("no DICOM")
    assert files.read(tmp_path)[0].voxels.shape == (2, 6, 8)  # as beside files with the mark
    for k in (0, 2):
        (tmp_path / f"{k}{suffix}").unlink()
    assert files.find_scans(tmp_path) == []


def test_a_single_slice_without_the_mark(tmp_path):
    for series in (1, 2):
        write_slice(tmp_path / f"{series}.dcm", volume()[series], (0, 0, 0), 1, series=series)
        strip_mark(tmp_path / f"{series}.dcm")
    with pytest.raises(UserError, match=r"series 1, 1 files.*series 2, 1 files"):
        files.read(tmp_path)
    (tmp_path / "2.dcm").unlink()
    assert np.array_equal(files.read(tmp_path)[0].voxels, volume()[1:2])


def test_folder_without_series(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(UserError, match="no DICOM series"):
        files.read(tmp_path)
    assert files.find_scans(tmp_path) == []
