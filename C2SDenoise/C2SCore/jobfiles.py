"""Which files a scan lies in, and that no output replaces an input."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Hashable, Iterable
from pathlib import Path

from C2SCore import dicom, headers
from C2SCore.errors import UserError
from C2SCore.files import split_part, with_part
from C2SCore.images import WRITABLE, suffix_of


def resolved(path: str | Path) -> str:
    """A name that is the same from every folder, through links and, on Windows and macOS, in whatever case."""
    return folded(os.path.realpath(path))  # `Path.resolve` fails where links lead in a circle


def folded(path: str | Path) -> str:
    """A name in one case, where the system's own file systems take those that differ by it for the same; on macOS also
    with its umlauts as one character each, since Finder makes two of them.
    """
    name = os.path.normcase(path)
    return unicodedata.normalize("NFC", name.casefold()) if sys.platform == "darwin" else name


def resolved_scan(path: str | Path) -> str:
    """`resolved`, with the part that is named after `::`."""
    file, part = split_part(path)
    return with_part(resolved(file), part)


def files_of(path: str | Path) -> list[Path]:
    """Every file that a scan is read from: itself, the data of a detached header, or all DICOM files of a folder."""
    file = split_part(path)[0]
    try:
        if file.is_dir():
            return sorted(f for f in file.iterdir() if f.is_file() and dicom.may_be_dicom(f))
        detached = suffix_of(file) in (*headers.META, *headers.NRRD) and file.is_file()
        return [file, *headers.data_files(file)] if detached else [file]
    except OSError:  # it may not be listed, or not be opened: reading it says so
        return [file]


def check_outputs(inputs: Iterable[str | Path], outputs: Iterable[str | Path]) -> None:
    """Raises `UserError` where an output is a file of an input, under whatever name, or the folder of one, or is named
    for two outputs.
    """
    files = {file for scan in inputs for file in files_of(scan)}
    read = {mark for place in files | {file.parent for file in files} for mark in _marks(place)}
    named: set[str] = set()
    for path in outputs:
        if not read.isdisjoint(_marks(path)):
            raise UserError(f"{path} is an input; outputs must not replace inputs. Choose another name.")
        if resolved(path) in named:
            raise UserError(f"{path} is named for two outputs; each needs its own file. Change one of them.")
        named.add(resolved(path))


def check_image_name(path: str | Path) -> None:
    """Raises `UserError` for an output that no image format has the extension of."""
    if suffix_of(path) not in WRITABLE:
        raise UserError(f"The output {path} must end in one of {', '.join(WRITABLE)}. Change its name.")


def _marks(path: str | Path) -> list[Hashable]:
    """What tells a file from all others: its name, and its place on the disk, which hard links share."""
    try:
        facts = os.stat(path)
    except OSError:
        return [resolved(path)]
    return [resolved(path), (facts.st_dev, facts.st_ino)] if facts.st_ino else [resolved(path)]
