"""NIfTI files as other programs leave them: odd headers, units and names."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantom import make_scan

from C2SCore import files
from C2SCore.errors import UserError

nibabel = pytest.importorskip("nibabel")

AFFINE = np.array([[-1, 0, 0, 5], [0, 1, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1.0]])


def _saved(path: Path, voxels: np.ndarray | None = None, unit: str = "mm") -> Path:
    image = nibabel.Nifti1Image((make_scan().voxels if voxels is None else voxels).T, AFFINE)
    image.header.set_xyzt_units(unit, "sec")
    nibabel.save(image, path)
    return path


def _put(path: Path, place: int, kinds: str, *values: Any) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into("<" + kinds, content, place, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("unit", "size"), [("mm", 1.0), ("micron", 1e-3), ("meter", 1e3)])
def test_places_are_kept_in_every_unit(unit, size, tmp_path):
    scan = files.read_one(_saved(tmp_path / "a.nii", unit=unit))
    made = nibabel.load(files.write(scan, tmp_path / "b.nii"))
    assert made.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(made.affine[:3], AFFINE[:3] * size, rtol=1e-6)
    np.testing.assert_allclose(made.header.get_zooms(), np.array([1, 1, 3]) * size, rtol=1e-6)


@pytest.mark.parametrize(("place", "value"), [(80, -1.0), (280, np.nan), (292, np.inf)])
def test_sizes_and_places_must_be_numbers(place, value, tmp_path):
    path = _put(_saved(tmp_path / "a.nii"), place, "f", value)
    with pytest.raises(UserError, match=r"Correct its header|at right angles"):
        files.read(path)


@pytest.mark.parametrize("step", [-2.0, 0.0, np.nan])
@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_a_senseless_time_between_frames_is_no_obstacle(step, suffix, tmp_path):
    frames = np.stack([make_scan(n).voxels for n in range(3)])
    found = files.read(_put(_saved(tmp_path / "a.nii", frames), 92, "f", step))
    back = files.read(files.write(found, tmp_path / f"b{suffix}"))
    assert [f.frame_step for f in back] == [1.0] * 3
    assert np.array_equal([f.voxels for f in back], frames)


def test_what_a_browser_has_unpacked_is_read(tmp_path):
    whole = _saved(tmp_path / "a.nii").read_bytes()
    (path := tmp_path / "b.nii.gz").write_bytes(whole)
    assert np.array_equal(files.read_one(path).voxels, make_scan().voxels)


def test_a_compressed_file_without_gz_in_its_name_is_told_so(tmp_path):
    path = _saved(tmp_path / "a.nii")
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(UserError, match=r"must end in \.nii\.gz\. Rename it"):
        files.read(path)


@pytest.mark.parametrize("factor", [1e60, 1e-60])
def test_numbers_beyond_32_bits_are_told_as_what_they_are(factor, tmp_path):
    path = _saved(tmp_path / "a.nii", make_scan().voxels.astype(np.float64) * factor)
    with pytest.raises(UserError, match="strongest voxel"):
        files.read(path)
