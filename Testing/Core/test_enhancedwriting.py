"""Enhanced DICOM files that are written: the frames of the source, with what was derived said of itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from enhancedfiles import MR, UID, echo, frame, item, place, volume, write
from phantom import noisy, phantom
from pydicom.uid import ExplicitVRLittleEndian

from C2SCore import dicomwriting, files
from C2SCore.cli import main
from C2SCore.dicomwriting import Derived
from C2SCore.errors import UserError

DERIVED = Derived("denoised", 1000, "Noise removed by a test.", "FILTERED", alike=True)
OTHER = Derived("removed noise", 2000, "Noise that was removed by a test.", "SUBTRACTION", alike=False)


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
