"""Enhanced DICOM files, of many frames each: read as volumes whatever the order of the frames, and written again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from phantom import noisy, phantom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from C2SCore import dicomwriting, files
from C2SCore.cli import main
from C2SCore.dicomwriting import Derived
from C2SCore.errors import UserError

UID = "1.2.826.0.1.3680043.2.1125.2."
MR, LEGACY = "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"
AXIAL = (1, 0, 0, 0, 1, 0)
ORDERS = {"ordered": (0, 1, 2, 3), "reversed": (3, 2, 1, 0), "scrambled": (2, 0, 3, 1)}
DERIVED = Derived("denoised", 1000, "Noise removed by a test.", "FILTERED", alike=True)
OTHER = Derived("removed noise", 2000, "Noise that was removed by a test.", "SUBTRACTION", alike=False)


def item(**values) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def frame(values, position, *, directions=AXIAL, slope=1.0, intercept=0.0, component="MAGNITUDE", dims=(), **more):
    """The values of a frame and its functional groups; `more`: further ones, each with its attributes."""
    groups = item(
        FrameContentSequence=[item(StackID="1", DimensionIndexValues=list(dims))],
        PlanePositionSequence=[item(ImagePositionPatient=[float(x) for x in position])],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[f"{x:.12g}" for x in directions])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.75, 0.5], SpacingBetweenSlices=7, SliceThickness=2)],
        PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")],
        MRImageFrameTypeSequence=[
            item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], ComplexImageComponent=component)
        ],
    )
    for name, attributes in more.items():
        setattr(groups, name, [item(**attributes)])
    return values, groups


def echo(time):
    return {"MREchoSequence": {"EffectiveEchoTime": float(time)}}


def write(path: Path, frames, *, instance=1, content=MR, shared=(), compress=False, signed=0) -> Path:
    """Frames as one file; the groups named in `shared` are taken from the first of them for all."""
    head = item(file_meta=FileMetaDataset(), SOPClassUID=content, SOPInstanceUID=f"{UID}1.{instance}", Modality="MR")
    head.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    head.file_meta.MediaStorageSOPClassUID, head.file_meta.MediaStorageSOPInstanceUID = content, head.SOPInstanceUID
    head.StudyInstanceUID, head.SeriesInstanceUID, head.SeriesDescription = f"{UID}9", f"{UID}1", "enhanced"
    head.ImageType, head.InstanceNumber, head.SeriesNumber = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], instance, 3
    pixels = np.stack([values for values, _ in frames]).astype("i2" if signed else "u2")
    head.NumberOfFrames, head.Rows, head.Columns = pixels.shape
    head.SamplesPerPixel, head.PhotometricInterpretation, head.PixelRepresentation = 1, "MONOCHROME2", signed
    head.BitsAllocated, head.BitsStored, head.HighBit = 16, 16, 15
    groups = [groups for _, groups in frames]
    head.SharedFunctionalGroupsSequence = [item(**{name: groups[0][name].value for name in shared})]
    for own in groups:
        for name in shared:
            delattr(own, name)
    head.PerFrameFunctionalGroupsSequence = groups
    head.PixelData = pixels.tobytes()
    head["PixelData"].VR = "OW"
    if compress:
        head.compress(RLELossless)
    path.parent.mkdir(parents=True, exist_ok=True)
    head.save_as(path, enforce_file_format=True)
    return path


def volume(seed: int = 0, k: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1000, (k, 6, 8))


def place(k: int) -> tuple[float, float, float]:
    return 10, 20, 30 + 2.5 * k


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


@pytest.fixture
def two_echoes(tmp_path: Path) -> Path:
    """Two noisy echoes, interleaved, the slices from top to bottom, each image with a slope of its own."""
    frames = []
    values = [noisy(phantom((4, 40, 48)), 60, "rician", seed=n) for n in range(2)]
    for k in (3, 2, 1, 0):
        for n in range(2):
            slope = 1 + n + k
            stored = np.round((values[n][k] - n) / slope).clip(0)
            frames.append(frame(stored, place(k), slope=slope, intercept=n, dims=(4 - k, n + 1), **echo(10 + n)))
    return write(tmp_path / "study" / "T2.dcm", frames)


def written(source: Path, volumes, derived: Derived = DERIVED) -> Path:
    images = dicomwriting.check_source(source, "")
    return dicomwriting.write_series(volumes, images, source.parent.parent / "out" / "T2", derived)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("compress", [False, True])
def test_written_frames_are_those_of_the_source(two_echoes, compress, signed, tmp_path):
    head = pydicom.dcmread(two_echoes)
    pixels = head.pixel_array.astype(int) - 100 * signed
    frames = list(zip(pixels, head.PerFrameFunctionalGroupsSequence, strict=True))
    write(two_echoes, frames, compress=compress, signed=signed)
    scans = files.read(two_echoes)
    out = written(two_echoes, [s.voxels + np.float32(0.4) for s in scans])
    (path,) = out.iterdir()
    again = pydicom.dcmread(path)
    assert again.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(again.pixel_array, pixels)  # the stored numbers, as 0.4 is less than half a slope
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(path))).shape == (8, 40, 48)
    for scan, result in zip(scans, files.read(out), strict=True):
        assert np.array_equal(result.voxels, scan.voxels)
        np.testing.assert_array_equal(result.ijk_to_ras, scan.ijk_to_ras)
    for old, new in zip(head.PerFrameFunctionalGroupsSequence, again.PerFrameFunctionalGroupsSequence, strict=True):
        for name in ("FrameContentSequence", "PlanePositionSequence", "MREchoSequence", "PixelMeasuresSequence"):
            assert new[name] == old[name]


def test_what_a_derived_file_says_of_itself(two_echoes):
    head = pydicom.dcmread(two_echoes)
    out = written(two_echoes, [s.voxels for s in files.read(two_echoes)])
    (again,) = map(pydicom.dcmread, out.iterdir())
    assert again.SOPClassUID == again.file_meta.MediaStorageSOPClassUID == MR
    assert again.SOPInstanceUID == again.file_meta.MediaStorageSOPInstanceUID != head.SOPInstanceUID
    assert again.StudyInstanceUID == head.StudyInstanceUID and again.SeriesInstanceUID != head.SeriesInstanceUID
    assert again.ImageType == ["DERIVED", "PRIMARY", "VOLUME", "FILTERED"]
    assert again.SeriesDescription == "enhanced denoised" and again.SeriesNumber == 1003
    assert again.ContributingEquipmentSequence[0].Manufacturer == "C2SDenoise"
    series = again.SourceImageEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == head.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == head.SOPInstanceUID
    for number, groups in enumerate(again.PerFrameFunctionalGroupsSequence, 1):
        made = groups.DerivationImageSequence[0]
        assert groups.MRImageFrameTypeSequence[0].FrameType == ["DERIVED", "PRIMARY", "VOLUME", "FILTERED"]
        assert made.DerivationDescription == "Noise removed by a test."
        assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == head.SOPInstanceUID
        assert made.SourceImageSequence[0].ReferencedFrameNumber == number


def test_shared_types_and_derivations_are_replaced(tmp_path):
    values = volume()
    older = item(DerivationDescription="Averaged.", SourceImageSequence=[])
    frames = [frame(values[k], place(k), DerivationImageSequence={}) for k in range(4)]
    for _, groups in frames:
        groups.DerivationImageSequence = [older]
    path = write(tmp_path / "a" / "T2.dcm", frames, shared=("DerivationImageSequence", "MRImageFrameTypeSequence"))
    (again,) = map(pydicom.dcmread, written(path, [files.read_one(path).voxels]).iterdir())
    shared = again.SharedFunctionalGroupsSequence[0]
    assert shared.MRImageFrameTypeSequence[0].FrameType[0] == "DERIVED" and "DerivationImageSequence" not in shared
    described = [g.DerivationImageSequence[0].DerivationDescription for g in again.PerFrameFunctionalGroupsSequence]
    assert described == ["Noise removed by a test."] * 4


@pytest.mark.parametrize("shared", [(), ("PixelValueTransformationSequence", "FrameVOILUTSequence")])
def test_small_signed_values_keep_their_fractions(shared, tmp_path):
    window = {"WindowCenter": 500, "WindowWidth": 1000}
    frames = [frame(volume()[k], place(k), slope=3, FrameVOILUTSequence=window) for k in (2, 1, 0, 3)]
    path = write(tmp_path / "a" / "T2.dcm", frames, shared=shared)
    small = np.random.default_rng(0).normal(0, 0.3, (4, 6, 8)).astype(np.float32)
    out = written(path, [small], OTHER)
    assert np.abs(files.read_one(out).voxels - small).max() < 1e-4
    (again,) = map(pydicom.dcmread, out.iterdir())
    assert again.PixelRepresentation == 1 and "FrameVOILUTSequence" not in str(again)
    (window,) = map(pydicom.dcmread, written(path, [files.read_one(path).voxels]).iterdir())
    assert "Window Center" in str(window) and "Window Center" not in str(again)


def test_every_file_of_a_series_is_written(tmp_path):
    volumes = [volume(n) for n in range(3)]
    folder = tmp_path / "study" / "T2"
    for n in range(3):
        write(folder / f"{9 - n}.dcm", [frame(volumes[n][k], place(k)) for k in (1, 0, 3, 2)], instance=n + 1)
    out = written(folder, [v + 1 for v in volumes])
    assert [np.array_equal(s.voxels, v + 1) for s, v in zip(files.read(out), volumes, strict=True)] == [True] * 3
    heads = [pydicom.dcmread(f) for f in sorted(out.iterdir())]
    assert [h.InstanceNumber for h in heads] == [1, 2, 3] and len({h.SOPInstanceUID for h in heads}) == 3
    sources = [h.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0] for h in heads]
    assert [s.ReferencedSOPInstanceUID for s in sources] == [f"{UID}1.{n}" for n in (1, 2, 3)]


def test_a_slope_may_stand_where_single_images_have_it(tmp_path):
    source = write(tmp_path / "study" / "T2" / "a.dcm", [frame(volume()[k], place(k)) for k in range(4)])
    head = pydicom.dcmread(source)
    for groups in head.PerFrameFunctionalGroupsSequence:
        del groups.PixelValueTransformationSequence
    head.RescaleSlope, head.RescaleIntercept = "4", "-3"
    head.save_as(source)
    (scan,) = files.read(source)
    assert np.array_equal(scan.voxels, 4 * volume() - 3)
    assert np.array_equal(files.read_one(written(source.parent, [scan.voxels])).voxels, scan.voxels)


def test_parts_of_a_concatenation_are_read_but_not_written(tmp_path):
    values = volume()
    for n in range(2):
        frames = [frame(values[k], place(k)) for k in (2 * n, 2 * n + 1)]
        head = pydicom.dcmread(write(tmp_path / f"{n}.dcm", frames, instance=n + 1))
        head.ConcatenationUID, head.InConcatenationNumber = f"{UID}5", n + 1
        head.save_as(tmp_path / f"{n}.dcm")
    assert np.array_equal(files.read_one(tmp_path).voxels, values)
    with pytest.raises(UserError, match="a concatenation"):
        dicomwriting.check_source(tmp_path, "")


def test_denoise_and_batch_from_enhanced_to_enhanced(two_echoes, model_file, tmp_path):
    out = tmp_path / "out"
    common = ["--model", str(model_file), "--sigma", "60", "--device", "cpu", "--quiet", "--dicom"]
    more = ["-o", str(out), "--residual", str(out), "--uncertainty", str(out)]
    assert main(["denoise", str(two_echoes), *common, *more]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["T2", "T2_residual", "T2_uncertainty"]
    source, denoised, removed = (files.read(p) for p in (two_echoes, out / "T2", out / "T2_residual"))
    assert [len(frames) for frames in (source, denoised, removed)] == [2, 2, 2]
    for whole, *parts in zip(source, denoised, removed, strict=True):
        rest = whole.voxels - parts[0].voxels - parts[1].voxels
        assert np.abs(rest).max() <= 0.51 * 5  # rounded in steps of the largest slope
        assert parts[1].voxels.std() > 10
    batch = ["batch", str(two_echoes.parent), "-o", str(tmp_path / "many"), *common]
    assert main(batch) == 0
    (result,) = (path for path in (tmp_path / "many").iterdir() if path.is_dir())
    assert np.array_equal(files.read(result)[1].voxels, denoised[1].voxels)
    assert main([*batch, "--resume"]) == 0
    assert {row["state"] for row in json.loads((tmp_path / "many" / "batch.json").read_text())} == {"skipped"}
