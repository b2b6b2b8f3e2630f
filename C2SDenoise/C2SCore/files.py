"""Scans in and out of files: which format, which reader, and what a folder holds.

A path may name one of several scans in a file or folder after `::`, as in `patient.h5::kspace_GRE`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from C2SCore import dicom, hdf5, images
from C2SCore.errors import UserError
from C2SCore.scan import Scan

PART = "::"
# Formats of MR images that are not read, as users know them; others are not mentioned, such as pictures and tables.
_FOREIGN = {
    ".mgz": "FreeSurfer",
    ".mgh": "FreeSurfer",
    ".mnc": "MINC",
    ".par": "Philips PAR/REC",
    ".hdr": "Analyze, or NIfTI in two files",
}


def split_part(path: str | Path) -> tuple[Path, str]:
    """A path and the part named after `::` (empty if none)."""
    text = str(path)
    file, mark, part = text.rpartition(PART)
    return (Path(file), part) if mark else (Path(text), "")


def with_part(file: str | Path, part: str) -> str:
    """The inverse of `split_part`."""
    return f"{file}{PART}{part}" if part else str(file)


def absolute(path: str | Path) -> str:
    """The scan as it is called from every folder. Its part is kept apart: for Windows, `.::1.2` begins with a drive."""
    file, part = split_part(path)
    return with_part(os.path.abspath(file), part)


def read(path: str | Path) -> list[Scan]:
    """The frames of a scan: one for a 3-D image or an HDF5 file, n for a 4-D image.

    Reads NRRD, NIfTI, MetaImage, a DICOM file, a folder with a DICOM series, and M4Raw, fastMRI and similar HDF5.
    Raises `UserError` for anything that is missing, empty, damaged, not an image, or not one number per voxel.
    """
    file, part = split_part(path)
    images.check_name(file)
    _check_openable(file)
    if file.is_dir():
        return dicom.read_series(file, part)
    if images.suffix_of(file) in hdf5.SUFFIXES:
        return hdf5.read_hdf5(file, part)
    if part:
        raise UserError(f"{path} names the part {part!r}, but only HDF5 files and folders have parts. Leave it off.")
    if images.suffix_of(file) in images.READABLE:
        return images.read_image(file)
    if not dicom.is_dicom(file):
        raise UserError(
            f"{file} is not an image of a known kind; known are {', '.join((*images.READABLE, *hdf5.SUFFIXES))} "
            "and DICOM. Convert it, or correct its extension."
        )
    return dicom.read_file(file)


def _check_openable(path: Path) -> None:
    """Raises `UserError` unless there is a folder that can be listed, or a file that can be opened and is not empty."""
    try:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            os.scandir(path).close()
            return
        if not stat.S_ISREG(facts.st_mode):  # a pipe: whoever opens it may wait for ever
            raise UserError(f"{path} is a pipe or a device; a scan must be a file or a DICOM folder. Save it as one.")
        path.open("rb").close()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise UserError(
                f"{path} does not exist; a scan must be a file or a DICOM folder. Check the path."
            ) from error
        raise UserError(
            f"{path} cannot be opened ({error.strerror or error}); a scan must be open to reading. "
            "Change its rights, or copy it to a place of your own."
        ) from error
    if facts.st_size == 0:
        raise UserError(f"{path} is empty (0 bytes); it must hold an image. Copy or export it again.")


def read_one(path: str | Path) -> Scan:
    """The scan of a file that must have a single frame; raises `UserError` if it has several."""
    frames = read(path)
    if len(frames) > 1:
        raise UserError(f"{path} has {len(frames)} frames; here it must be a 3-D scan. Save the frame that is meant.")
    return frames[0]


def write(scans: Scan | Sequence[Scan], path: str | Path, dtype: np.dtype | type | None = None) -> Path:
    """Writes one scan (3-D) or several frames (4-D) as NRRD, NIfTI or MetaImage, by the extension; returns the path.

    The file appears whole or not at all. `dtype` None writes float32. An integer type rounds to nearest and clips to
    the type's range; no slope is stored. A 4-D NRRD is written as a list of frames, which Slicer opens as a sequence.
    """
    frames = [scans] if isinstance(scans, Scan) else list(scans)
    return images.write_image(frames, Path(path), None if dtype is None else np.dtype(dtype))


def find_scans(folder: str | Path, left_out: list[tuple[Path, str]] | None = None) -> list[Path]:
    """Every scan in a folder and the folders below it, sorted; one entry per DICOM series and per HDF5 contrast.

    Hidden files and folders are passed over; linked folders are followed. A file or folder that cannot be opened is
    listed too, so that reading it says why. DICOM series of anything but MR, and formats of MR images that are not
    read, go to `left_out`, with the reason.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; scans are looked for in a folder. Check the path.")
    closed: list[Path] = []
    left_out = [] if left_out is None else left_out
    found = [scan for place, names in _folders(folder, closed) for scan in _scans_among(place, names, left_out)]
    return sorted(found + closed)


def _folders(top: Path, closed: list[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Every folder from `top` down with the names of its files; those that cannot be listed go to `closed`.

    Links come last, so that a folder has its own name where it can be reached by both. None is visited twice, and links
    that lead back above `top` are not followed: they would make everything there a part of it.
    """
    seen: set[str] = set()
    root = Path(os.path.realpath(top))
    waiting = [str(top)]
    while waiting:
        for here, folders, names in os.walk(waiting.pop(0), onerror=lambda e: closed.append(Path(e.filename))):
            real = os.path.realpath(here)
            if real in seen or (Path(real) != root and root.is_relative_to(real)):
                folders.clear()
                continue
            seen.add(real)
            shown = sorted(f for f in folders if not f.startswith("."))
            folders[:] = [f for f in shown if not os.path.islink(os.path.join(here, f))]
            waiting += [os.path.join(here, f) for f in shown if f not in folders]
            yield Path(here), sorted(n for n in names if not n.startswith("."))


def _scans_among(place: Path, names: list[str], left_out: list[tuple[Path, str]]) -> Iterator[Path]:
    marked = False
    for file in (place / name for name in names):
        suffix = images.suffix_of(file)
        if suffix in hdf5.SUFFIXES:
            yield from _parts(file)
        elif suffix in images.READABLE:
            yield file
        elif suffix in _FOREIGN:
            left_out.append((file, f"a format that is not read ({_FOREIGN[suffix]}); convert it to NIfTI"))
        elif not marked:
            marked = dicom.may_be_dicom(file)
    if marked:
        yield from _series(place, left_out)


def _series(place: Path, left_out: list[tuple[Path, str]]) -> Iterator[Path]:
    """The DICOM series of a folder; the folder where reading it says what is wrong with them."""
    try:
        series = dicom.series_in(place)
    except UserError:
        yield place
        return
    for uid, reason in series.items():
        scan = place if len(series) < 2 else Path(with_part(place, uid))
        if reason:
            left_out.append((scan, reason))
        else:
            yield scan


def _parts(file: Path) -> list[Path]:
    if not os.path.isfile(file):
        return [file]
    try:
        names = hdf5.datasets_in(file)
    except UserError:
        return [file]
    if len(names) < 2 or names[0] in hdf5.STORED:
        return [file]
    return [Path(with_part(file, name)) for name in names]
