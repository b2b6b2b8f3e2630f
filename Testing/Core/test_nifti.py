"""NIfTI: geometry, slopes, orders of bytes, and headers, as nibabel and SimpleITK read them."""

from __future__ import annotations

import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from grids import make_scan, oblique

from C2SCore import files, nifti
from C2SCore.errors import UserError


def test_sheared_geometry_is_refused_by_nifti(tmp_path):
    matrix = np.array([[2, 0.4, 0, 5], [0, 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1.0]])
    with pytest.raises(UserError, match="right angles"):
        files.write(make_scan(matrix), tmp_path / "scan.nii")
    assert not list(tmp_path.iterdir())
    for shear in (0.4, 0.004):
        matrix[0, 1] = shear
        nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 4), np.int16), matrix), tmp_path / "in.nii")
        with pytest.raises(UserError, match=r"not at right angles.*\.nrrd"):
            files.read(tmp_path / "in.nii")


def test_nifti_lies_where_nibabel_says(tmp_path):
    matrix = oblique((0.3, -0.2, 0.5), (1.5, 2, 3), False)
    values = np.arange(6 * 5 * 4, dtype=np.int16).reshape(6, 5, 4)
    nibabel.save(nibabel.Nifti1Image(values, matrix), tmp_path / "in.nii.gz")
    (scan,) = files.read(tmp_path / "in.nii.gz")
    np.testing.assert_allclose(scan.ijk_to_ras, matrix, atol=1e-4)
    assert np.array_equal(scan.voxels, values.transpose(2, 1, 0))
    assert scan.dtype == np.int16
    assert scan.name == "in"
    files.write(scan, tmp_path / "out.nii.gz", np.int16)
    out = nibabel.load(tmp_path / "out.nii.gz")
    assert np.array_equal(np.asarray(out.dataobj), values)
    np.testing.assert_allclose(out.affine, matrix, atol=1e-4)


def test_nifti_slope_and_intercept_are_applied(tmp_path):
    image = nibabel.Nifti1Image(np.full((4, 4, 2), 10, np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / "in.nii")
    assert (files.read(tmp_path / "in.nii")[0].voxels == 10 * 0.5 + 3).all()


@pytest.mark.parametrize(
    ("slope", "intercept", "value", "expected"),
    [
        (2, 0, 10, "i2"),
        (2, -5, 10, "i2"),
        (1, 0, 10, "i2"),
        (0.5, 0, 10, "f4"),
        (2, 0, 20000, "f4"),
        (1, 0.5, 10, "f4"),
    ],
)
def test_integers_with_a_slope_stay_integers_where_they_can(slope, intercept, value, expected, tmp_path):
    image = nibabel.Nifti1Image(np.full((4, 4, 2), value, np.int16), np.eye(4))
    image.header.set_slope_inter(slope, intercept)
    nibabel.save(image, tmp_path / "in.nii")
    (scan,) = files.read(tmp_path / "in.nii")
    assert scan.dtype == np.dtype(expected)
    assert np.array_equal(files.read(files.write(scan, tmp_path / "out.nii", scan.dtype))[0].voxels, scan.voxels)


def test_compressed_nifti_of_several_members_is_read(tmp_path):
    import gzip

    plain = files.write(make_scan(), tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(plain[:400]) + gzip.compress(plain[400:]))
    assert np.array_equal(files.read(tmp_path / "b.nii.gz")[0].voxels, make_scan().voxels)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
def test_voxels_that_are_no_numbers_are_found_in_either_order_of_bytes(tmp_path, kind, order):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.float32)
    voxels = make_scan().voxels.T.copy()
    for name in ("good", "bad"):
        nibabel.save(kind(voxels, np.eye(4), header), tmp_path / f"{name}.nii")
        voxels[0, 0, 0] = np.nan
    nifti.check_finite(tmp_path / "good.nii")
    with pytest.raises(UserError, match="1 voxels that are NaN or infinite"):
        nifti.check_finite(tmp_path / "bad.nii")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "f4", "f8"])
def test_voxels_that_lie_plainly_in_a_file_are_those_of_simpleitk(kind, order, tmp_path):
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(kind).newbyteorder(order))
    voxels = make_scan().voxels.astype(kind)
    nibabel.save(nibabel.Nifti1Image(voxels.T, np.eye(4), header), path := tmp_path / "plain.nii")
    assert nifti.plain_voxels(path, voxels.shape).dtype == kind
    found, expected = files.read_one(path), sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert np.array_equal(found.voxels, expected.astype(np.float32)) and found.dtype == expected.dtype


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_2_is_read_or_named(tmp_path, suffix):
    scan = make_scan()
    nibabel.save(nibabel.Nifti2Image(scan.voxels.T, np.eye(4)), path := tmp_path / f"second{suffix}")
    try:  # newer versions of ITK may read it
        assert np.array_equal(files.read_one(path).voxels, scan.voxels)
    except UserError as error:
        assert "NIfTI-2" in str(error) and "NIfTI-1" in str(error)


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_both_transforms_of_a_nifti_file_are_kept(name, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    scanner = np.diag([1.5, 1.5, 3, 1.0])
    atlas = np.array([[1.4, 0.3, 0, -60], [-0.3, 1.4, 0, -80], [0, 0, 3.1, 12], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(np.random.default_rng(0).normal(100, 5, (10, 12, 4)).astype(np.float32), None)
    image.set_qform(scanner, "scanner")
    image.set_sform(atlas, "mni")
    nibabel.save(image, tmp_path / "in.nii.gz")
    scan = files.read_one(tmp_path / "in.nii.gz")
    made = nibabel.load(files.write(scan.with_voxels(scan.voxels + 1), tmp_path / name))
    np.testing.assert_allclose(made.get_qform(), scanner, atol=1e-5)
    np.testing.assert_allclose(made.get_sform(), atlas, atol=1e-5)
    assert (int(made.header["qform_code"]), int(made.header["sform_code"])) == (1, 4)
    np.testing.assert_allclose(made.get_fdata(), image.get_fdata() + 1, atol=1e-3)
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted(["in.nii.gz", name])


def test_voxels_without_an_offset_begin_behind_the_header(tmp_path):
    content = bytearray(files.write(make_scan(), tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", content, 108, 0.0)
    (path := tmp_path / "b.nii").write_bytes(content)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert np.array_equal(files.read_one(path).voxels, expected)
    struct.pack_into("<f", content, 108, np.nan)
    path.write_bytes(content)
    with pytest.raises(UserError, match="Copy it again"):
        files.read(path)
