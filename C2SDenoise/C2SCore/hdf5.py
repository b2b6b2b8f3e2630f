"""HDF5 with k-space or stored reconstructions: M4Raw, fastMRI, files of several contrasts (`kspace_*`); in only.

Chain from k-space: centred orthonormal inverse 2-D FFT, magnitude, root of the sum of squares over coils (rss).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np

from C2SCore.errors import UserError
from C2SCore.scan import Scan

SUFFIXES = (".h5", ".hdf5")
STORED = ("reconstruction_rss", "reconstruction_esc")
HEADER = "ismrmrd_header"


@dataclass(frozen=True)
class _Space:
    """Matrix and field of view in mm of one space of the ISMRMRD header, as (x readout, y phase, z)."""

    matrix: tuple[int, int, int]
    view: tuple[float, float, float]


def datasets_in(path: Path) -> list[str]:
    """Names of the data sets that `read_hdf5` could turn into a scan: stored reconstructions first, then k-space."""
    with _open(path) as file:
        return _scans_in(file)


def read_hdf5(path: Path, dataset: str = "") -> list[Scan]:
    """The scan in an HDF5 file.

    Without `dataset`, the stored reconstruction if there is one, else the only k-space. With `dataset` (`kspace`,
    `kspace_GRE`, `reconstruction_rss`, ...) that one. Raises `UserError` if there is none, or several to choose from.
    """
    with _open(path) as file:
        found = _scans_in(file)
        if not found:
            names = ", ".join(f"{n} {_shape(_item(file, n))}" for n in file) or "nothing"
            raise UserError(
                f"{path} holds {names}; a scan needs `{STORED[0]}`, `kspace` or `kspace_*` (complex) "
                "of 3 or 4 dimensions. Check that it is an M4Raw or fastMRI file."
            )
        if dataset and dataset not in found:
            raise UserError(f"{path} has no data set {dataset!r}; it has {', '.join(found)}. Choose one of them.")
        if not dataset and found[0] not in STORED and len(found) > 1:
            raise UserError(
                f"{path} holds {len(found)} scans: {', '.join(found)}. Name one, as in {path.name}::{found[0]}."
            )
        name = dataset or found[0]
        encoded, recon = _spaces(file)
        try:
            voxels = np.abs(file[name][()]).astype(np.float32) if name in STORED else reconstruct(file[name])
        except OSError as error:
            raise UserError(f"{path} is damaged ({error}); {name} must be complete. Copy it again.") from error
    space = recon if name in STORED else encoded
    if name == "kspace" and recon is not None:
        voxels, space = _crop(voxels, recon, encoded)
    spacing = _spacing(space, voxels.shape)
    return [
        Scan(
            voxels=np.ascontiguousarray(voxels),
            spacing=spacing,
            ijk_to_ras=_nominal(spacing, voxels.shape),
            name=path.stem if not dataset else f"{path.stem}_{dataset}",
            source=path,
        )
    ]


def reconstruct(kspace: np.ndarray | h5py.Dataset) -> np.ndarray:
    """Magnitude images (K, J, I) float32 from centred k-space (slice, H, W) or (slice, coil, H, W).

    One slice is read at a time, so that memory stays near that of the result.
    """
    image = np.empty((kspace.shape[0], *kspace.shape[-2:]), np.float32)
    for n, target in enumerate(image):
        coils = kspace[n].reshape(-1, *kspace.shape[-2:])
        shifted = np.fft.ifftshift(coils, axes=(-2, -1))
        complex_ = np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=(-2, -1))
        target[:] = np.sqrt(np.sum(complex_.real**2 + complex_.imag**2, axis=0))
    return image


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); it must be a complete HDF5 file. Copy it again.") from error


def _item(file: h5py.File, name: str) -> Any:
    """What stands under a name; None for a link that leads nowhere."""
    try:
        return file.get(name)
    except (KeyError, OSError):
        return None


def _scans_in(file: h5py.File) -> list[str]:
    def usable(name: str) -> bool:
        item = _item(file, name)
        if not isinstance(item, h5py.Dataset) or item.ndim not in (3, 4) or item.size == 0:
            return False
        if name in STORED:
            return item.ndim == 3 and item.dtype.kind in "iufc"
        return (name == "kspace" or name.startswith("kspace_")) and item.dtype.kind == "c"

    return sorted((n for n in file if usable(n)), key=lambda n: (n not in STORED, n))


def _shape(item: Any) -> str:
    return "(broken link)" if item is None else str(getattr(item, "shape", "(group)"))


def _spaces(file: h5py.File) -> tuple[_Space | None, _Space | None]:
    """Encoded and reconstructed space of the ISMRMRD header; None where there is no (readable) header.

    M4Raw's headers do not follow the schema in every detail, so only the needed elements are looked for.
    """
    header = _item(file, HEADER)
    if not isinstance(header, h5py.Dataset):
        return None, None
    text = header[()]
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, TypeError, ValueError):
        return None, None
    return _space(root, "encodedSpace"), _space(root, "reconSpace")


def _space(root: ElementTree.Element, kind: str) -> _Space | None:
    node = root.find(f".//{{*}}{kind}")
    if node is None:
        return None
    try:
        values = [
            [float(node.findtext(f"{{*}}{part}/{{*}}{axis}", "")) for axis in "xyz"]
            for part in ("matrixSize", "fieldOfView_mm")
        ]
    except ValueError:
        return None
    (mx, my, mz), (vx, vy, vz) = values
    if not all(0 < v < math.inf for v in (mx, my, mz, vx, vy, vz)):
        return None
    return _Space((int(mx), int(my), int(mz)), (vx, vy, vz))


def _crop(voxels: np.ndarray, recon: _Space, encoded: _Space | None) -> tuple[np.ndarray, _Space | None]:
    """The centre of the image that fastMRI's own reconstruction shows (readout oversampling off), and its space.

    Where the image has fewer columns than that, fastMRI crops a square of that many columns.
    """
    height, width = voxels.shape[1:]
    rows, columns = recon.matrix[0], recon.matrix[1]
    if width < columns:
        rows = columns = width
    if rows > height or (rows, columns) == (height, width):
        return voxels, encoded or recon
    top, left = (height - rows) // 2, (width - columns) // 2
    scale = (rows / recon.matrix[0], columns / recon.matrix[1])
    view = (recon.view[0] * scale[0], recon.view[1] * scale[1], recon.view[2])
    return voxels[:, top : top + rows, left : left + columns], _Space((rows, columns, recon.matrix[2]), view)


def _spacing(space: _Space | None, shape: tuple[int, ...]) -> tuple[float, float, float]:
    """(I, J, K) in mm: rows are readout (x), columns phase encoding (y). The header knows no gap between slices."""
    if space is None:
        return (1.0, 1.0, 1.0)
    return (space.view[1] / shape[2], space.view[0] / shape[1], space.view[2] / space.matrix[2])


def _nominal(spacing: tuple[float, float, float], shape: tuple[int, ...]) -> np.ndarray:
    """IJK-to-RAS of axial slices around the origin: these files do not tell where and how the patient lay."""
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return matrix
