"""MetaImage and NRRD files whose voxels lie elsewhere or are compressed: nothing that is damaged or missing is read."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
from phantom import make_scan

from C2SCore import files, headers
from C2SCore.errors import UserError
from C2SCore.scan import to_image

SHAPE = (4, 32, 32)
SLICES = "ObjectType = Image\nNDims = 3\nDimSize = 32 32 4\nElementType = MET_SHORT\nElementDataFile = "
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 32 32 4\nendian: little\n"


@pytest.fixture
def slices(tmp_path):
    """Files of one slice each, and their voxels."""
    voxels = make_scan(shape=SHAPE).voxels.astype(np.int16)
    for n, plane in enumerate(voxels):
        (tmp_path / f"{n}.raw").write_bytes(plane.tobytes())
    return voxels


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
def test_damage_in_compressed_voxels_is_found(name, tmp_path):
    voxels = make_scan(shape=SHAPE).voxels.astype(np.int16)  # damaged floats would often be NaN, which is found anyway
    sitk.WriteImage(to_image(make_scan(shape=SHAPE), voxels), str(path := tmp_path / name), useCompression=True)
    assert np.array_equal(files.read_one(path).voxels, voxels)
    (data,) = headers.data_files(path) or [path]
    whole = data.read_bytes()
    for place in range(len(whole) // 2, len(whole) - 12, 97):
        data.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(UserError, match=rf"{data.name} is (damaged|cut short)"):
            files.read(path)
    data.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=rf"{data.name} is cut short"):
        files.read(path)


@pytest.mark.parametrize(
    "named", ["LIST\n0.raw\n1.raw\n2.raw\n3.raw\n", "LIST 2\n0.raw\n1.raw\n2.raw\n3.raw\n", "%d.raw 0 9 1"]
)
def test_slices_in_files_of_their_own_are_read(named, slices, tmp_path):
    (path := tmp_path / "a.mhd").write_text(SLICES + named)
    assert np.array_equal(files.read_one(path).voxels, slices)


@pytest.mark.parametrize("named", ["LIST\n0.raw\n1.raw\n2.raw\n", "LIST 2D\n0.raw\n1.raw\n2.raw\n", "%d.raw 0 2 1"])
def test_a_list_of_fewer_files_than_slices_is_refused(named, slices, tmp_path):
    (path := tmp_path / "a.mhd").write_text(SLICES + named)
    with pytest.raises(UserError, match="names 3 files of voxels; it must name 4"):
        files.read(path)


def test_a_data_file_that_is_missing_is_named(slices, tmp_path):
    (path := tmp_path / "a.mhd").write_text(SLICES + "%d.raw 0 3 1")
    (tmp_path / "2.raw").unlink()
    with pytest.raises(UserError, match=r"2\.raw, which is not there"):
        files.read(path)
    sitk.WriteImage(to_image(make_scan()), str(path := tmp_path / "b.nhdr"))
    headers.data_files(path)[0].unlink()
    with pytest.raises(UserError, match="which is not there"):
        files.read(path)


@pytest.mark.parametrize("name", ["T1%20scan.raw", "50%raw.raw", "list of slices.raw"])
def test_data_files_of_odd_names_are_found(name, slices, tmp_path):
    (tmp_path / name).write_bytes(slices.tobytes())
    (path := tmp_path / "a.nhdr").write_text(f"{NRRD}encoding: raw\ndata file: {name}\n\n")
    assert np.array_equal(files.read_one(path).voxels, slices)
    assert headers.data_files(path) == [tmp_path / name]


def test_a_name_that_would_crash_simpleitk_is_refused(slices, tmp_path):
    (tmp_path / "T1%20scan.raw").write_bytes(slices.tobytes())
    (path := tmp_path / "a.mhd").write_text(f"{SLICES}T1%20scan.raw\n")
    with pytest.raises(UserError, match="% may only stand for a number"):
        files.read(path)


def test_slices_that_are_counted_down_are_all_found(slices, tmp_path):
    (path := tmp_path / "a.nhdr").write_text(f"{NRRD}encoding: raw\ndata file: %d.raw 3 0 -1\n\n")
    assert headers.data_files(path) == [tmp_path / f"{n}.raw" for n in (3, 2, 1, 0)]
    assert np.array_equal(files.read_one(path).voxels, slices[::-1])


def test_what_somebody_kept_in_a_nrrd_header_names_no_data_file(slices, tmp_path):
    own = "data file:=scanner/17.dat\nencoding:=gzip\n"
    (path := tmp_path / "a.nrrd").write_bytes(f"{NRRD}encoding: raw\n{own}\n".encode() + slices.tobytes())
    assert np.array_equal(files.read_one(path).voxels, slices)


@pytest.mark.parametrize("skip", ["line skip", "lineskip"])
def test_compressed_voxels_behind_a_line_are_read(skip, slices, tmp_path):
    (tmp_path / "a.raw.gz").write_bytes(b"a line\n" + gzip.compress(slices.tobytes()))
    (path := tmp_path / "a.nhdr").write_text(f"{NRRD}encoding: gzip\n{skip}: 1\ndata file: a.raw.gz\n\n")
    assert np.array_equal(files.read_one(path).voxels, slices)


def test_empty_space_is_unpacked_part_by_part(tmp_path):
    size = 1 << 27
    (path := tmp_path / "a.nrrd").write_bytes(f"{NRRD}encoding: gzip\n\n".encode() + gzip.compress(bytes(size)))
    tracemalloc.start()
    headers.check(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < size / 2


def test_compressed_voxels_that_cannot_be_read_are_told(slices, tmp_path, monkeypatch):
    (tmp_path / "a.raw.gz").write_bytes(gzip.compress(slices.tobytes()))
    (path := tmp_path / "a.nhdr").write_text(f"{NRRD}encoding: gzip\ndata file: a.raw.gz\n\n")

    def opened(name, mode):
        if name != path:
            raise OSError(5, "Input/output error")
        return open(name, mode)

    monkeypatch.setattr(headers, "open", opened, raising=False)
    with pytest.raises(UserError, match=r"a\.raw\.gz is damaged .*Input/output error"):
        files.read(path)


def test_no_address_and_no_old_error_stands_in_the_reason(tmp_path):
    sitk.WriteImage(to_image(make_scan()), str(path := tmp_path / "a.mhd"))
    (tmp_path / "a.raw").write_bytes(b"12")
    with pytest.raises(UserError, match="cannot be read") as error:
        files.read(path)
    assert "0x" not in str(error.value) and "No such file" not in str(error.value)
