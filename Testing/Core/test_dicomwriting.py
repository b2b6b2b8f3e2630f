"""Results as DICOM series: values, geometry, what they say of themselves, and what they must not replace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomfiles import set_class, strip_mark, write_slice
from phantom import noisy, phantom

from C2SCore import dicomwriting, files
from C2SCore.cli import main
from C2SCore.dicomwriting import Derived
from C2SCore.errors import UserError

DERIVED = Derived("denoised", 1000, "Noise removed by a test.", "FILTERED", alike=True)
OTHER = Derived("removed noise", 2000, "Noise that was removed by a test.", "SUBTRACTION", alike=False)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """An oblique series whose file names and instance numbers run against the order in space."""
    return _series(tmp_path / "study" / "T1")


def _series(folder: Path, **more) -> Path:
    values = np.round(noisy(phantom((4, 40, 48)), 60, "rician"))
    for k in range(4):
        position = (1, 2, 3 + 4 * k)
        write_slice(folder / f"{9 - k}.dcm", values[k], position, 9 - k, row=(np.cos(0.4), np.sin(0.4), 0), **more)
    return folder


def _write(series: Path, volume: np.ndarray, derived: Derived = DERIVED) -> Path:
    sources = dicomwriting.check_source(series, "")
    return dicomwriting.write_series([volume], sources, series.parent.parent / "out" / "T1", derived)


def _heads(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(f) for f in sorted(folder.iterdir())]


def test_values_and_places_come_back(series: Path) -> None:
    scan = files.read_one(series)
    again = files.read_one(_write(series, scan.voxels + np.float32(0.4)))
    assert np.array_equal(again.voxels, scan.voxels)  # rounded
    np.testing.assert_array_equal(again.ijk_to_ras, scan.ijk_to_ras)
    assert again.spacing == scan.spacing


def test_slopes_are_kept(series: Path) -> None:
    for path in series.iterdir():
        head = pydicom.dcmread(path)
        head.RescaleSlope, head.RescaleIntercept = "2.5", "-7"
        head.save_as(path)
    scan = files.read_one(series)
    assert scan.voxels.max() > 2000
    again = files.read_one(_write(series, scan.voxels + 1))
    assert np.array_equal(again.voxels, scan.voxels)  # 1 is less than half a step


def test_compressed_images_become_plain(tmp_path: Path) -> None:
    series = _series(tmp_path / "study" / "T1", compress=True)
    scan = files.read_one(series)
    out = _write(series, scan.voxels)
    assert np.array_equal(files.read_one(out).voxels, scan.voxels)
    assert {head.file_meta.TransferSyntaxUID for head in _heads(out)} == {pydicom.uid.ExplicitVRLittleEndian}


def test_big_endian_sources_are_read_but_not_written(series: Path) -> None:
    values = files.read_one(series).voxels
    for path in series.iterdir():
        head = pydicom.dcmread(path)
        list(head.iterall())  # decoded, to be written in another order
        head.PixelData = np.frombuffer(head.PixelData, "<i2").byteswap().tobytes()
        head.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        pydicom.dcmwrite(path, head, implicit_vr=False, little_endian=False, force_encoding=True)
    assert np.array_equal(files.read_one(series).voxels, values)
    with pytest.raises(UserError, match="big-endian"):
        dicomwriting.check_source(series, "")


def test_sources_that_are_negatives_are_not_written(series: Path) -> None:
    for path in series.iterdir():
        head = pydicom.dcmread(path)
        head.PhotometricInterpretation = "MONOCHROME1"
        head.save_as(path)
    with pytest.raises(UserError, match="MONOCHROME1"):
        dicomwriting.check_source(series, "")


@pytest.mark.parametrize("meta", [False, True])
def test_what_lacks_the_mark_gets_it(series: Path, meta: bool) -> None:
    for path in series.iterdir():
        strip_mark(path, meta=meta)
    scan = files.read_one(series)
    out = _write(series, scan.voxels)
    assert np.array_equal(files.read_one(out).voxels, scan.voxels)
    assert {head.file_meta.MediaStorageSOPClassUID for head in _heads(out)} == {pydicom.uid.MRImageStorage}


def test_values_beyond_the_stored_type_are_clipped(series: Path) -> None:
    scan = files.read_one(series)
    volume = scan.voxels.copy()
    volume[0, 0, :2] = 1e9, -1e9
    head = pydicom.dcmread(series / "9.dcm")
    limits = (2**15 - 1, -(2**15)) if head.PixelRepresentation else (2**16 - 1, 0)
    assert files.read_one(_write(series, volume)).voxels[0, 0, :2].tolist() == list(limits)


def test_small_signed_values_keep_their_fractions(series: Path) -> None:
    small = np.random.default_rng(0).normal(0, 0.3, (4, 40, 48)).astype(np.float32)
    again = files.read_one(_write(series, small, OTHER))
    assert np.abs(again.voxels - small).max() < 1e-4
    zeros = files.read_one(_write(series, 0 * small, OTHER))
    assert not zeros.voxels.any()


def test_what_a_derived_series_says_of_itself(series: Path) -> None:
    sources = {str(head.SOPInstanceUID): head for head in _heads(series)}
    heads = _heads(_write(series, files.read_one(series).voxels))
    assert len({str(h.SeriesInstanceUID) for h in heads}) == 1
    assert len({str(h.SOPInstanceUID) for h in heads} - sources.keys()) == 4
    for head in heads:
        source = sources[head.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert head.StudyInstanceUID == source.StudyInstanceUID
        assert head.SeriesInstanceUID != source.SeriesInstanceUID
        assert head.ImagePositionPatient == source.ImagePositionPatient
        assert head.InstanceNumber == source.InstanceNumber
        assert head.ImageType[0] == "DERIVED" and head.ImageType[-1] == "DENOISED"
        assert head.SeriesDescription == "series 1 denoised"
        assert head.DerivationDescription == "Noise removed by a test."
        assert head.file_meta.MediaStorageSOPInstanceUID == head.SOPInstanceUID


def test_only_what_was_written_here_is_replaced(series: Path) -> None:
    scan = files.read_one(series)
    out = _write(series, scan.voxels)
    first = {str(h.SeriesInstanceUID) for h in _heads(out)}
    assert first.isdisjoint(str(h.SeriesInstanceUID) for h in _heads(_write(series, scan.voxels)))
    assert [f.name for f in out.parent.iterdir()] == ["T1"]  # nothing temporary is left
    (out / ".DS_Store").touch()  # as macOS does where a folder was looked at
    _write(series, scan.voxels)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt, which c2s did not write"):
        _write(series, scan.voxels)
    assert (out / "notes.txt").read_text() == "mine" and len(list(out.iterdir())) == 5


def test_a_failure_leaves_the_old_series(series: Path, monkeypatch) -> None:
    scan = files.read_one(series)
    out = _write(series, scan.voxels)
    before = {f.name: f.read_bytes() for f in out.iterdir()}

    def full(*arguments, **more) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    with pytest.raises(UserError, match="No space left"):
        _write(series, 0 * scan.voxels)
    assert {f.name: f.read_bytes() for f in out.iterdir()} == before
    assert [f.name for f in out.parent.iterdir()] == ["T1"]


def test_several_images_in_one_file_are_refused(series: Path) -> None:
    for path in list(series.iterdir())[1:]:
        path.unlink()
    (path,) = series.iterdir()
    head = pydicom.dcmread(path)
    head.NumberOfFrames, head.PixelData = 2, 2 * head.PixelData
    head.save_as(path)
    with pytest.raises(UserError, match="holds 2 images in one file"):
        dicomwriting.check_source(series, "")


def test_what_is_no_mr_image_is_refused(series: Path) -> None:
    for path in series.iterdir():
        set_class(path, "1.2.840.10008.5.1.4.1.1.2")
    assert files.read_one(series).voxels.shape == (4, 40, 48)
    with pytest.raises(UserError, match=r"is no MR image \(SOP class 1\.2\.840\.10008\.5\.1\.4\.1\.1\.2: CT\)"):
        dicomwriting.check_source(series, "")


def test_denoise_from_series_to_series(series: Path, model_file: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    common = (
        "denoise",
        str(series),
        "--model",
        str(model_file),
        "--sigma",
        "60",
        "--device",
        "cpu",
        "--quiet",
        "--dicom",
    )
    more = ("-o", str(out), "--residual", str(out), "--uncertainty", str(out), "--report", str(out / "report.json"))
    assert main([*common, *more]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["T1", "T1_residual", "T1_uncertainty", "report.json"]
    source, denoised, removed = (files.read_one(p) for p in (series, out / "T1", out / "T1_residual"))
    assert np.abs(source.voxels - denoised.voxels - removed.voxels).max() <= 0.01  # what was removed has a fine slope
    assert removed.voxels.max() > 0 and removed.name == "series 1 removed noise"
    assert json.loads((out / "report.json").read_text())["dicom"] is True
    before = sorted(series.iterdir())
    assert main([*common, "-o", str(series.parent)]) == 2  # there, the scan itself has that name
    assert "is an input" in capsys.readouterr().err and sorted(series.iterdir()) == before


def test_an_image_file_cannot_become_dicom(scan_file: Path, model_file: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    arguments = ("denoise", str(scan_file), "-o", str(out), "--dicom", "--model", str(model_file), "--quiet")
    assert main(list(arguments)) == 1
    assert "is no DICOM" in capsys.readouterr().err and not out.exists()


def test_batch_writes_each_kind_as_it_came(series: Path, scan_file: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["batch", str(series.parent), str(scan_file), "-o", str(out), "--dicom", "--model", str(model_file)]
    arguments += ["--sigma", "60", "--device", "cpu", "--quiet"]
    assert main(arguments) == 0
    assert len(list((out / "T1").iterdir())) == 4 and (out / scan_file.name).is_file()
    assert main([*arguments, "--resume"]) == 0
    states = {row["state"] for row in json.loads((out / "batch.json").read_text())}
    assert states == {"skipped"}


def test_an_old_pydicom_is_told_before_any_work(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom, "__version__", "2.4.4")
    with pytest.raises(UserError, match=r"needs pydicom 3, and this one is 2\.4\.4"):
        dicomwriting.check_source(series, "")
