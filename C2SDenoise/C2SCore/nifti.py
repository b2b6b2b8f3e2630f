"""What SimpleITK does not say of a NIfTI file: it fills the missing part of a truncated one with zeros or stale memory,
and takes NaN and infinite voxels for 0.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from C2SCore.errors import UserError

_CHUNK = 1 << 22
_LEVEL = 3  # of gzip: of floats it makes no larger files than 6, and takes a fifth less time; of integers a third of it
INTEGERS = {2: "u1", 4: "i2", 8: "i4", 256: "i1", 512: "u2", 768: "u4"}  # by the code of a type (nifti1.h: DT_*)
_FLOATS = {16: "f4", 64: "f8"}
_REAL = INTEGERS | _FLOATS


@dataclass(frozen=True)
class _Layout:
    """Where the voxels are (bytes from the start of the file), and what they are: a code of NIfTI's, `order` < or >."""

    first: int
    end: int
    kind: int
    order: str


def check_complete(path: Path) -> None:
    """Raises `UserError` unless the file holds all the voxels that its header promises."""
    with _opened(path) as file:
        expected = _layout(file.read(540), path).end
    with _damage_told(path):
        compressed = _compressed(path)
        found = _uncompressed_size(path) if compressed else path.stat().st_size
    if compressed and path.suffix.lower() != ".gz":  # SimpleITK goes by the name
        raise UserError(f"{path} is compressed; the name of a compressed NIfTI file must end in .nii.gz. Rename it.")
    if found < expected:
        raise UserError(f"{path} is cut short: its header promises {expected} bytes, it holds {found}. Copy it again.")


def is_second(path: Path) -> bool:
    """Whether a file is of the standard's second version."""
    with _opened(path) as file:
        return 540 in struct.unpack("<i", first := file.read(4)) + struct.unpack(">i", first)


def check_finite(path: Path) -> None:
    """Raises `UserError` where voxels of a complete file are NaN or infinite."""
    with _opened(path) as file:
        layout = _layout(file.read(540), path)
        if layout.kind not in _FLOATS:
            return
        kind = np.dtype(layout.order + _FLOATS[layout.kind])
        file.seek(layout.first)
        left, bad = layout.end - layout.first, 0
        while left > 0 and (chunk := file.read(min(left, _CHUNK))):
            bad += int(np.count_nonzero(~np.isfinite(np.frombuffer(chunk, kind, len(chunk) // kind.itemsize))))
            left -= len(chunk)
    if bad:
        raise UserError(
            f"{path} has {bad} voxels that are NaN or infinite; every voxel must be a finite number. "
            "Replace them (by 0 outside the body) and try again."
        )


def plain_voxels(path: Path, shape: Sequence[int]) -> np.ndarray | None:
    """The voxels of a complete file, of a `shape` that ends with (J, I), where they lie in it as they are; None where
    they are compressed, or have a slope. SimpleITK gives the same, much more slowly.
    """
    if _compressed(path):
        return None
    with _opened(path) as file:
        header = file.read(540)
    layout = _layout(header, path)
    slope, intercept = struct.unpack_from(layout.order + "2f", header, 112)
    if slope not in (0, 1) or intercept != 0 or layout.kind not in _REAL or header[344:348] != b"n+1\0":
        return None
    kind = np.dtype(layout.order + _REAL[layout.kind])
    if math.prod(shape) * kind.itemsize != layout.end - layout.first:
        return None
    found = np.fromfile(path, kind, math.prod(shape), offset=layout.first)
    if not np.isfinite([found.min(), found.max()]).all():
        check_finite(path)
    return found.astype(kind.newbyteorder("="), copy=False).reshape(shape)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The content of a file, unpacked where it is compressed."""
    with _damage_told(path), gzip.open(path, "rb") if _compressed(path) else open(path, "rb") as file:
        yield cast(BinaryIO, file)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); it must be a complete NIfTI file. Copy it again.") from error


def _compressed(path: Path) -> bool:
    """By the content, as some browsers unpack what they load and leave the name as it was."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _layout(header: bytes, path: Path) -> _Layout:
    """Source: the NIfTI-1 and NIfTI-2 standards (nifti1.h, nifti2.h): `dim`, `datatype`, `bitpix`, `vox_offset`."""
    for order in "<>":
        if len(header) >= 348 and header[:4] == struct.pack(order + "i", 348):
            dim: tuple[int, ...] = struct.unpack_from(order + "8h", header, 40)
            kind, bits = struct.unpack_from(order + "2h", header, 70)
            place: float = struct.unpack_from(order + "f", header, 108)[0]
            if not math.isfinite(place):
                break
            # Some writers leave the offset at 0: voxels then begin behind the header, as in SimpleITK.
            offset = max(int(place), 348)
        elif len(header) >= 540 and header[:4] == struct.pack(order + "i", 540):
            dim = struct.unpack_from(order + "8q", header, 16)
            kind, bits = struct.unpack_from(order + "2h", header, 12)
            (offset,) = struct.unpack_from(order + "q", header, 168)
        else:
            continue
        size = math.prod(max(n, 1) for n in dim[1 : 1 + dim[0]]) * bits // 8
        return _Layout(offset, offset + size, kind, order)
    raise UserError(f"{path} does not begin like a NIfTI file; it must be a NIfTI-1 or NIfTI-2 image. Copy it again.")


def gzip_length(path: Path) -> int:
    """What the last gzip member of a file says that it unpacks to, in bytes modulo 2^32 (its last four bytes)."""
    with open(path, "rb") as file:
        file.seek(-4, 2)
        return int(struct.unpack("<I", file.read(4))[0])


def _uncompressed_size(path: Path) -> int:
    """Length of the content of a gzip file. All of it is unpacked, since only then its checksum shows damage, of which
    SimpleITK says nothing; `OSError`, `EOFError` or `zlib.error` where there is some.
    """
    total = 0
    with gzip.open(path, "rb") as unpacked:
        while chunk := unpacked.read(_CHUNK):
            total += len(chunk)
    return total


# Where a NIfTI-1 header says how voxels lie in space (nifti1.h): qfac, the codes of both transforms, and these.
_QFAC, _CODES, _TRANSFORMS = (76, "f"), (252, "2h"), (256, "18f")
_UNITS, _METRES, _MICROMETRES = 123, 1, 3


def copy_orientation(source: Path, target: Path) -> None:
    """Take both transforms and their codes from the header of one file into that of another, which is not compressed
    and little-endian: SimpleITK writes one of them twice, and forgets what they mean. Nothing is done for NIfTI-2, and
    for files in metres or micrometres, as SimpleITK writes millimetres.
    """
    with _opened(source) as file:
        header = file.read(348)
    order = next((o for o in "<>" if header[:4] == struct.pack(o + "i", 348)), None)
    if order is None or header[_UNITS] & 7 in (_METRES, _MICROMETRES):
        return
    with open(target, "r+b") as file:
        if file.read(4) != struct.pack("<i", 348):
            return
        for place, kinds in (_QFAC, _CODES, _TRANSFORMS):
            file.seek(place)
            file.write(struct.pack("<" + kinds, *struct.unpack_from(order + kinds, header, place)))


def compress(source: Path, target: Path) -> None:
    """The content of one file as another, by gzip."""
    with (
        open(source, "rb") as plain,
        open(target, "wb") as file,
        gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed,
    ):
        while chunk := plain.read(_CHUNK):
            packed.write(chunk)
