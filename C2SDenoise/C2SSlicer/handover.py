"""Voxels out to the worker and back, in pieces: a scan of 256 x 256 x 256 takes too long in one go.

A piece is some slices, about a megabyte. Files are `.npy`, float32, (K, J, I).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from C2SCore.errors import UserError
from C2SSlicer import volumes

PIECE = 2**18  # voxels


def slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Ranges of slices, each of about `PIECE` voxels."""
    step = max(1, PIECE // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def save(volume: Any, path: str | Path, copy: np.ndarray | None = None) -> Iterator[None]:
    """Write the voxels of a volume to a file, and into `copy`, (K, J, I) float32, if that is given.

    Raises `UserError` when the volume changes meanwhile.
    """
    volumes.check_scalar(volume)
    image = volume.GetImageData()
    began = image.GetMTime()
    for _ in save_array(slicer.util.arrayFromVolume(volume), path, copy):
        yield
        if volume.GetImageData() is not image or image.GetMTime() != began:
            raise UserError(f"{volume.GetName()} was changed while it was being read. Try again.")


def save_array(voxels: np.ndarray, path: str | Path, copy: np.ndarray | None = None) -> Iterator[None]:
    """The same for an array (K, J, I) of any type."""
    with open(path, "wb") as file:
        header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": voxels.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for slab in slabs(voxels.shape):
            piece = np.ascontiguousarray(voxels[slab], dtype=np.float32)
            file.write(piece.data)
            if copy is not None:
                copy[slab] = piece
            yield


def digests(voxels: np.ndarray) -> Iterator[str]:
    """A checksum of the voxels as float32 so far, piece by piece: the last is that of all."""
    checksum = 0
    for slab in slabs(voxels.shape):
        checksum = zlib.crc32(np.ascontiguousarray(voxels[slab], dtype=np.float32), checksum)
        yield f"{checksum:08x}"


def load(path: str | Path, into: np.ndarray) -> Iterator[slice]:
    """Read a file that the worker wrote into an array of its shape; yields the slices that have just been read.

    ValueError where the file holds something else.
    """
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if shape != into.shape or fortran or dtype != into.dtype:
            raise ValueError(f"{path} holds {shape} {dtype}, expected {into.shape} {into.dtype}")
        for slab in slabs(shape):
            piece = into[slab]
            if file.readinto(piece.reshape(-1).view(np.uint8).data) != piece.nbytes:
                raise ValueError(f"{path} is cut short")
            yield slab


def empty_image(shape: tuple[int, ...]) -> tuple[Any, np.ndarray]:
    """A new float image without a node, and its voxels as an array (K, J, I) to be filled."""
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(shape))
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    return image, vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)


def temporary_folder() -> str:
    """Slicer's folder for temporary files."""
    folder = slicer.app.temporaryPath
    Path(folder).mkdir(parents=True, exist_ok=True)
    return folder
