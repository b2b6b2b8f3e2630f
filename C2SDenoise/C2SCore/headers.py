"""What the text headers of MetaImage and NRRD files say of the voxels: the files that hold them, and their kind.

SimpleITK passes over damage in compressed voxels, and leaves whatever was in memory where a MetaImage file names fewer
files than it has slices.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from C2SCore.errors import UserError

META, NRRD = (".mha", ".mhd"), (".nrrd", ".nhdr")
_LONGEST = 1 << 20  # bytes of a header
_PLACES = ("domain", "space", "time")  # kinds of axes along which voxels lie
_NUMBER = re.compile(r"%\d*[du]")  # stands for that of a file
_UNSAFE = re.compile(r"%[^%a-zA-Z]*[hlLqjzt]*[sn]")  # for it the C library looks in memory: SimpleITK crashes
_CHUNK = 1 << 14  # compressed bytes at a time: empty space unpacks to a thousand times as many
_ZLIB_OR_GZIP = zlib.MAX_WBITS + 32


@dataclass(frozen=True)
class _Header:
    """`fields` by their names in lower case, without spaces; `files` that hold the voxels, none where they follow at
    byte `end`.
    """

    fields: dict[str, str]
    files: list[Path]
    end: int


def data_files(path: Path) -> list[Path]:
    """The files besides itself that hold the voxels of a MetaImage or NRRD file, those that are there."""
    return [file for file in _read(path).files if file.is_file()]


def kind(path: Path) -> str:
    """What several numbers per voxel mean in a NRRD file: `list` for frames; empty where it is no such file, or its
    header does not tell. SimpleITK tells from 2.5.6 on.
    """
    kinds = _read(path).fields.get("kinds", "").split() if path.suffix.lower() in NRRD else []
    return next((word for word in kinds if word not in _PLACES), "")


def check(path: Path) -> None:
    """Raises `UserError` where a data file is missing, or compressed voxels are damaged."""
    header = _read(path)
    if _UNSAFE.search(named := header.fields.get("elementdatafile", "")):
        raise UserError(
            f"{path} has its voxels in {named}; in that name % may only stand for a number, as in slice%03d.raw. "
            "Rename that file, and change its name in the header."
        )
    needed = _needed(header) if header.files and path.suffix.lower() in META else len(header.files)
    if len(header.files) < needed:
        raise UserError(f"{path} names {len(header.files)} files of voxels; it must name {needed}. Copy it again.")
    for file in header.files[:needed]:
        if not file.is_file():
            raise UserError(
                f"{path} has its voxels in {file.name}, which is not there; header and data must stay together. "
                "Copy that file, too."
            )
    fields = {name: value.lower() for name, value in header.fields.items()}
    zipped = fields.get("encoding") in ("gzip", "gz") and fields.get("lineskip", "0") == "0"
    if zipped or fields.get("compresseddata") == "true":
        for file, start in [(file, 0) for file in header.files[:needed]] or [(path, header.end)]:
            _check_unpacks(file, start)


def _needed(header: _Header) -> int:
    """How many files a MetaImage header must name: one for each slice, or for so many dimensions as `LIST 2D` says."""
    word, *dimensions = header.fields["elementdatafile"].split()
    listed = word.startswith("LIST")
    if len(header.files) == 1 and not listed:
        return 1
    try:
        size = [int(n) for n in header.fields["dimsize"].split()]
        return math.prod(size[int(dimensions[0].rstrip("D")) if listed and dimensions else len(size) - 1 :])
    except (KeyError, ValueError):  # SimpleITK says what is wrong
        return len(header.files)


def _check_unpacks(path: Path, start: int) -> None:
    unpacking = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        with open(path, "rb") as file:
            file.seek(start)
            while not unpacking.eof and (chunk := file.read(_CHUNK)):
                unpacking.decompress(chunk)
    except (OSError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); it must be a complete image. Copy it again.") from error
    if not unpacking.eof:
        raise UserError(f"{path} is cut short; its compressed voxels must be complete. Copy it again.")


def _read(path: Path) -> _Header:
    """Source: the MetaIO and NRRD file formats; lines are `Key = value`, and `field: value` or `own key:=value`."""
    mark, names_files, last = ("=", "elementdatafile", "elementdatafile")
    if path.suffix.lower() in NRRD:
        mark, names_files, last = (":", "datafile", "")
    fields: dict[str, str] = {}
    told, listed, rest = "", False, b""
    with open(path, "rb") as file:
        for line in iter(lambda: file.readline(_LONGEST), b""):
            if file.tell() > _LONGEST:  # no header
                return _Header({}, [], 0)
            name, _, value = _text(line).partition(mark)
            if mark == ":" and value.startswith("="):  # anything that somebody wanted to keep
                continue
            fields[name := "".join(name.lower().split())] = value = value.strip()
            if name == names_files:
                told, listed = value, value.startswith("LIST")
            if name == last or listed:
                break
        end = file.tell()
        if listed:
            rest = file.read(_LONGEST)
    names = [name.strip() for name in _text(rest).splitlines()] if listed else _numbered(told, fields)
    return _Header(fields, [path.parent / name for name in names if name and name.upper() != "LOCAL"], end)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def _numbered(told: str, fields: dict[str, str]) -> list[str]:
    """`slice%03d.raw 1 20 1` as the names of 20 files; first, last and step may be left off."""
    pattern, *numbers = told.split() or [""]
    place = _NUMBER.search(pattern)
    if place is None:  # one file; other characters may follow a %, as in `T1%20scan.raw`
        return [told]
    usual = ["1", *fields.get("dimsize", "1").split()[-1:], "1"]
    try:
        first, last, step = map(int, [*numbers, *usual[len(numbers) :]][:3])
        count = range(first, last + (1 if step > 0 else -1), step)
    except ValueError:  # SimpleITK says what is wrong
        return [told]
    number = place[0][:-1] + "d"
    return [pattern[: place.start()] + number % n + pattern[place.end() :] for n in count]
