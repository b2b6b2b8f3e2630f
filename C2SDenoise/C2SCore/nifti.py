"""Is a NIfTI file complete? SimpleITK fills the missing part of a truncated one with zeros or stale memory."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

from C2SCore.errors import UserError

_CHUNK = 1 << 22


def check_complete(path: Path) -> None:
    """Raises `UserError` unless the file holds all the voxels that its header promises.

    Source of the layout: the NIfTI-1 and NIfTI-2 standards (nifti1.h, nifti2.h): `dim`, `bitpix`, `vox_offset`.
    """
    compressed = path.suffix.lower() == ".gz"
    opener = gzip.open if compressed else open
    try:
        with opener(path, "rb") as file:
            expected = _expected_size(file.read(540), path)
        found = _uncompressed_size(path, expected) if compressed else path.stat().st_size
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); it must be a complete NIfTI file. Copy it again.") from error
    if found < expected:
        raise UserError(f"{path} is cut short: its header promises {expected} bytes, it holds {found}. Copy it again.")


def _expected_size(header: bytes, path: Path) -> int:
    """Bytes from the start of the file to the end of the voxels."""
    for order in "<>":
        if len(header) >= 348 and header[:4] == struct.pack(order + "i", 348):
            dim: tuple[int, ...] = struct.unpack_from(order + "8h", header, 40)
            (bits,) = struct.unpack_from(order + "h", header, 72)
            offset = int(struct.unpack_from(order + "f", header, 108)[0])
        elif len(header) >= 540 and header[:4] == struct.pack(order + "i", 540):
            dim = struct.unpack_from(order + "8q", header, 16)
            (bits,) = struct.unpack_from(order + "h", header, 14)
            (offset,) = struct.unpack_from(order + "q", header, 168)
        else:
            continue
        return offset + math.prod(max(n, 1) for n in dim[1 : 1 + dim[0]]) * bits // 8
    raise UserError(f"{path} does not begin like a NIfTI file; it must be a NIfTI-1 or NIfTI-2 image. Copy it again.")


def gzip_length(path: Path) -> int:
    """What the last gzip member of a file says that it unpacks to, in bytes modulo 2^32 (its last four bytes)."""
    with open(path, "rb") as file:
        file.seek(-4, 2)
        return int(struct.unpack("<I", file.read(4))[0])


def _uncompressed_size(path: Path, expected: int) -> int:
    """Length of the content of a gzip file; `EOFError` if it is cut.

    The last four bytes of a gzip member are its length modulo 2^32 (RFC 1952): where they are what the header promises
    nothing needs to be unpacked. Otherwise (several members, padding, or a cut) the whole file is.
    """
    if gzip_length(path) == expected % 2**32:
        return expected
    total = 0
    with gzip.open(path, "rb") as unpacked:
        while chunk := unpacked.read(_CHUNK):
            total += len(chunk)
    return total
