"""M4Raw and fastMRI HDF5: small files of the documented shape, with a known image behind the k-space."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from C2SCore import files
from C2SCore.errors import UserError

HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>{ex}</x><y>{ey}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{fx}</x><y>{fy}</y><z>4.5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{rx}</x><y>{ry}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{gx}</x><y>{gy}</y><z>4.5</z></fieldOfView_mm></reconSpace></encoding></ismrmrdHeader>"""


def to_kspace(images: np.ndarray) -> np.ndarray:
    """Centred orthonormal forward FFT of the last two axes."""
    shifted = np.fft.ifftshift(images, axes=(-2, -1))
    return np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1)).astype(np.complex64)


def coil_images(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def rss(images: np.ndarray) -> np.ndarray:
    return np.sqrt((np.abs(images) ** 2).sum(axis=1))


def write(path: Path, header: str = "", **datasets) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
        if header:
            file["ismrmrd_header"] = header.encode()
    return path


def test_m4raw_kspace_gives_the_stored_reconstruction(tmp_path):
    images = coil_images((3, 4, 16, 16))
    header = HEADER.format(ex=16, ey=16, fx=240, fy=240, rx=16, ry=16, gx=240, gy=240)
    path = write(tmp_path / "2022_T101.h5", header, kspace=to_kspace(images), reconstruction_rss=rss(images))
    (stored,) = files.read(path)
    (computed,) = files.read(f"{path}::kspace")
    assert stored.name == "2022_T101"
    np.testing.assert_allclose(computed.voxels, stored.voxels, rtol=1e-4)
    np.testing.assert_allclose(stored.voxels, rss(images), rtol=1e-6)
    assert stored.spacing == computed.spacing == (15, 15, 4.5)
    centre = stored.ijk_to_ras @ [7.5, 7.5, 1, 1]
    np.testing.assert_allclose(centre[:3], 0, atol=1e-9)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 2, 6, 4), (2, 1, 1, 9)])
def test_any_size_including_odd(shape, tmp_path):
    images = coil_images(shape)
    (scan,) = files.read(write(tmp_path / "a.h5", kspace=to_kspace(images)))
    np.testing.assert_allclose(scan.voxels, rss(images), rtol=1e-4)
    assert scan.spacing == (1, 1, 1)


def test_fastmri_is_cropped_like_its_reconstruction(tmp_path):
    images = coil_images((2, 3, 32, 20))
    header = HEADER.format(ex=32, ey=20, fx=320, fy=200, rx=16, ry=16, gx=160, gy=160)
    cropped = rss(images)[:, 8:24, 2:18]
    path = write(tmp_path / "file1.h5", header, kspace=to_kspace(images), reconstruction_rss=cropped)
    (stored,), (computed,) = files.read(path), files.read(f"{path}::kspace")
    np.testing.assert_allclose(computed.voxels, stored.voxels, rtol=1e-4)
    assert computed.spacing == stored.spacing == (10, 10, 4.5)


def test_fastmri_narrower_than_its_matrix(tmp_path):
    images = coil_images((1, 2, 32, 12))
    header = HEADER.format(ex=32, ey=12, fx=320, fy=120, rx=16, ry=16, gx=160, gy=160)
    (scan,) = files.read(write(tmp_path / "a.h5", header, kspace=to_kspace(images), mask=np.ones(12)))
    np.testing.assert_allclose(scan.voxels, rss(images)[:, 10:22], rtol=1e-4)
    assert scan.spacing == (10, 10, 4.5)


def test_single_coil(tmp_path):
    images = coil_images((2, 8, 10))
    path = write(tmp_path / "a.h5", kspace=to_kspace(images), reconstruction_esc=np.abs(images))
    (stored,), (computed,) = files.read(path), files.read(f"{path}::kspace")
    np.testing.assert_allclose(computed.voxels, stored.voxels, rtol=1e-4)


def test_several_contrasts_must_be_named(tmp_path):
    gre, flair = coil_images((4, 8, 6)), coil_images((4, 8, 10), seed=1)
    path = write(tmp_path / "hku.h5", kspace_GRE=to_kspace(gre), kspace_FLAIR=to_kspace(flair))
    with pytest.raises(UserError, match="kspace_FLAIR, kspace_GRE"):
        files.read(path)
    (scan,) = files.read(f"{path}::kspace_GRE")
    np.testing.assert_allclose(scan.voxels, np.abs(gre), rtol=1e-4)
    assert scan.name == "hku_kspace_GRE"
    assert [str(p) for p in files.find_scans(tmp_path)] == [f"{path}::kspace_FLAIR", f"{path}::kspace_GRE"]
    with pytest.raises(UserError, match=r"no data set 'kspace_T9'; it has kspace_FLAIR"):
        files.read(f"{path}::kspace_T9")


@pytest.mark.parametrize("header", ["<broken", "<ismrmrdHeader/>", HEADER])
def test_unusable_header_gives_unit_spacing(header, tmp_path):
    (scan,) = files.read(write(tmp_path / "a.h5", header, kspace=to_kspace(coil_images((2, 8, 8)))))
    assert scan.spacing == (1, 1, 1)


def test_files_without_scans_say_what_they_hold(tmp_path):
    with pytest.raises(UserError, match=r"holds weights \(3,\)"):
        files.read(write(tmp_path / "a.h5", weights=np.zeros(3)))
    with pytest.raises(UserError, match=r"holds kspace \(2, 8, 8\)"):  # real numbers are no k-space
        files.read(write(tmp_path / "b.h5", kspace=np.zeros((2, 8, 8))))
    with pytest.raises(UserError, match="holds nothing"):
        files.read(write(tmp_path / "c.h5"))


def test_truncated_file_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", kspace=to_kspace(coil_images((4, 2, 32, 32))))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UserError, match="cannot be read"):
        files.read(path)


@pytest.mark.parametrize("link", [h5py.SoftLink("/gone"), h5py.ExternalLink("gone.h5", "/kspace")])
def test_links_that_lead_nowhere_are_passed_over(link, tmp_path):
    path = write(tmp_path / "a.h5", kspace=to_kspace(coil_images((2, 1, 8, 8))), reconstruction_rss=link)
    with h5py.File(path, "a") as file:
        file["ismrmrd_header"] = link
    assert files.read(path)[0].voxels.shape == (2, 8, 8)
    only = write(tmp_path / "b.h5", kspace=link)
    assert files.find_scans(tmp_path) == [path, only]
    with pytest.raises(UserError, match=r"kspace \(broken link\)"):
        files.read(only)
