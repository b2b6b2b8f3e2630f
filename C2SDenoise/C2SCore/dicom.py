"""DICOM series: which ones a folder holds, and the volume (or the frames) that one of them makes."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from C2SCore import enhanced, stacks
from C2SCore.errors import UserError
from C2SCore.images import (
    DICOM_IO,
    check_name,
    dicom_image,
    image_geometry,
    open_image,
    read_image,
    stem_of,
    suffix_of,
)
from C2SCore.scan import FLOAT32, Scan

# Images of every modality that a scan may be stored as, by DICOM PS3.4 section B.5: X-ray, CT, ultrasound, MR,
# secondary capture, angiography, nuclear medicine, PET. MR spectra have a number among them, but no pixels.
_IMAGES = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(1|2|3|4|6|7|12|13|20|128|130)(\.\d+)*")
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_SPECTROSCOPY = f"{_STORAGE}4.2"
_MR = frozenset(f"{_STORAGE}{n}" for n in ("4", "4.1", "4.3", "4.4"))  # MR, enhanced MR, in colour, legacy converted
# Many images in one file, each with its own place: enhanced MR, CT and PET, also as converted from single ones.
_ENHANCED = frozenset(f"{_STORAGE}{n}" for n in ("4.1", "4.3", "4.4", "2.1", "2.2", "128.1", "130"))
_OTHERS = {  # what else is met in a study of MR, for messages
    "2": "CT",
    "2.1": "enhanced CT",
    "4.2": "MR spectroscopy",
    "6.1": "ultrasound",
    "7": "secondary capture",
    "7.1": "secondary capture",
    "7.2": "secondary capture",
    "7.3": "secondary capture",
    "7.4": "secondary capture",
    "20": "nuclear medicine",
    "30": "parametric map",
    "66.4": "segmentation",
    "128": "PET",
    "130": "enhanced PET",
    "481.2": "RT dose",
}
_HEAD = 2**16  # bytes; class and series stand among the first elements
# Elements (0020,000D) and (0020,000E), explicit VR ("UI", length in two bytes) or implicit (in four), little endian.
_SERIES = rb"\x20\0\x0e\0(?:UI)?(..)(?:\0\0)?([ -~]{1,64})"
_CLASS = rb"\x08\0\x16\0(?:UI)?(..)(?:\0\0)?([ -~]{1,64})"  # (0008,0016)
_STUDY_AND_SERIES = rb"\x20\0\x0d\0(?:UI)?..(?:\0\0)?[ -~]{0,64}?\0?" + _SERIES
_INSTANCE, _POSITION, _DESCRIPTION = "0020|0013", "0020|0032", "0008|103e"


def is_dicom(path: Path) -> bool:
    """Whether a file carries the DICOM mark (bytes 128 to 131 are `DICM`); not the table of contents, DICOMDIR."""
    return path.name.upper() != "DICOMDIR" and _head(path, 132)[128:] == b"DICM"


def may_be_dicom(path: Path) -> bool:
    """Whether a file carries the DICOM mark, or is named `.dcm`: GDCM also reads what lacks the 132 bytes before."""
    return suffix_of(path) == ".dcm" or is_dicom(path)


def _head(path: Path, size: int) -> bytes:
    """The first bytes of a file; none of what is not a file (a pipe would never answer) or cannot be opened."""
    if not os.path.isfile(path):
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


@dataclass(frozen=True)
class _Head:
    """What the first bytes of a DICOM file tell, also where the rest is damaged."""

    content: str  # class; empty where they break off before it
    series: frozenset[str]  # its own, or all that are named; empty where none is

    @property
    def is_image(self) -> bool:
        return not self.content or (_IMAGES.fullmatch(self.content) is not None and self.content != _SPECTROSCOPY)


def _series_of(head: bytes) -> frozenset[str]:
    """The series that a file belongs to, by its head; all that it names where its own is not known among them.

    Its own follows the study; others are named by what it refers to, which stands before and rarely says the study.
    """
    found = list(re.finditer(_STUDY_AND_SERIES, head, re.DOTALL))[-1:] or re.finditer(_SERIES, head, re.DOTALL)
    return frozenset(filter(None, (_value(m) for m in found)))


def _value(found: re.Match[bytes]) -> str:
    """That of an element, from its length and its beginning; empty where the bytes end before it does."""
    start, length = found.start(2), int.from_bytes(found[1], "little")
    value = found.string[start : start + length]
    return value.decode("ascii", "replace").strip(" \0") if len(value) == length else ""


def _class_of(head: bytes) -> str:
    """Media Storage SOP Class UID (0002,0002), or SOP Class UID (0008,0016); empty where there is none.

    Source of the layout: DICOM PS3.10 section 7.1 and PS3.5 section 7.1.2: group 2 is explicit VR, little endian.
    """
    place = 132 if head[128:132] == b"DICM" else 0
    while place + 8 <= len(head) and head[place : place + 2] == b"\x02\0":
        element, kind, length = struct.unpack_from("<H2sH", head, place + 2)
        place += 8
        if kind in (b"OB", b"UN"):  # two empty bytes, and the length in four
            length = int.from_bytes(head[place : place + 4], "little")
            place += 4
        if element == 2:
            return head[place : place + length].decode("ascii", "replace").strip(" \0")
        place += length
    found = re.search(_CLASS, head, re.DOTALL)  # nothing that may refer to others stands before it
    return _value(found) if found else ""


class _Folder:
    """The series among the files directly in a folder. GDCM reads all of them for each question: it is asked once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, list[Path]] = {}

    @cached_property
    def series(self) -> list[str]:
        if not self.heads:
            return []
        with _quiet():
            return [str(uid) for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(self._path))]

    def files(self, uid: str) -> list[Path]:
        if uid not in self._files:
            with _quiet():
                names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(self._path), uid)
            for name in names:
                check_name(name)
            self._files[uid] = [Path(name) for name in names]
        return self._files[uid]

    @cached_property
    def heads(self) -> dict[str, _Head]:
        """Those of the DICOM files, by name."""
        heads = {}
        for path in filter(may_be_dicom, sorted(self._path.iterdir())):
            first = _head(path, _HEAD)
            head = _Head(_class_of(first), _series_of(first))
            if head.series or is_dicom(path):
                heads[path.name] = head
        return heads

    def lost(self, uid: str = "") -> list[str]:
        """The images that belong to no series, as GDCM passes over damaged ones without a word; with `uid`, those that
        name it or none. Reports, presentation states and the like belong to none either, and have no voxels to lose.
        """
        names = [n for n, h in self.heads.items() if h.is_image and (not uid or not h.series or uid in h.series)]
        for series in sorted(self.series, key=lambda s: s != uid):  # once all names are known, the rest is not asked
            if names:
                known = {f.name for f in self.files(series)}
                names = [n for n in names if n not in known]
        return names

    def content(self, uid: str) -> str:
        """The class of the first file of a series; with no `uid`, of the first of the lost ones."""
        own = frozenset([uid])
        names = [n for n, head in self.heads.items() if head.series == own] if uid else self.lost()
        if not names and uid in self.series:  # GDCM has read what the first bytes do not tell
            names = [f.name for f in self.files(uid)]
        return self.heads[names[0]].content if names and names[0] in self.heads else ""

    @cached_property
    def lost_series(self) -> list[str]:
        """Those of which every image is damaged."""
        found = frozenset(self.series)
        if all(found & head.series for head in self.heads.values() if head.is_image and head.series):
            return []
        return sorted({uid for name in self.lost() for uid in self.heads[name].series} - found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """GDCM warns on the terminal of files that are no images, such as reports."""
    loud = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(loud)


def _folder(path: Path) -> _Folder:
    check_name(path)
    facts = []
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                fact = entry.stat()
                facts.append((entry.name, fact.st_size, fact.st_mtime_ns))
            except OSError:  # a link that leads nowhere
                facts.append((entry.name, -1, -1))
    return _folder_as_it_is(path, tuple(sorted(facts)))


@functools.lru_cache(maxsize=8)
def _folder_as_it_is(path: Path, facts: tuple[tuple[str, int, int], ...]) -> _Folder:
    return _Folder(path)


def series_in(folder: Path) -> dict[str, str]:
    """The series (unique identifiers) among the files directly in `folder`, also those that are damaged, and why each
    is no scan (see `why_not_mr`).

    An empty one stands for damaged images that do not tell theirs, where there is nothing else.
    """
    held = _folder(folder)
    found = [*held.series, *held.lost_series] or [""] * bool(held.lost())
    return {uid: why_not_mr(content) if (content := held.content(uid)) else "" for uid in found}


def why_not_mr(content: str) -> str:
    """Why what has this SOP class is no image of MR, in words; empty where it is one."""
    if content in _MR:
        return ""
    name = _OTHERS.get(content.removeprefix(_STORAGE))
    return f"no MR image (SOP class {content or 'not stated'}{f': {name}' if name else ''})"


def read_series(folder: Path, uid: str = "") -> list[Scan]:
    """The volume of a series, slope and intercept applied; several frames where positions were imaged several times.

    `uid` chooses among several series; without it there must be one.
    """
    files = _files_of_one(folder, uid)
    first = open_image(files[0])
    name = _tag(first, _DESCRIPTION) or stem_of(folder)
    if _is_enhanced(files[0]):
        return enhanced.read(files, folder, name)
    if len(files) == 1:
        return [dataclasses.replace(s, name=name, source=folder) for s in read_image(files[0])]
    volumes = stacks.in_order([_describe(f) for f in files], folder)
    kinds: set[np.dtype] = set()  # images with slopes of their own differ by them

    def voxels_of(image: stacks.Slice) -> np.ndarray:
        stored = sitk.GetArrayFromImage(dicom_image(image.path))
        kinds.add(stored.dtype)
        return stored.astype(np.float32)

    made = stacks.scans(volumes, voxels_of, *image_geometry(first, files[0]), name, FLOAT32, folder)
    return [dataclasses.replace(s, dtype=np.result_type(*kinds)) for s in made]


def read_file(path: Path) -> list[Scan]:
    """The volume of a single file, or its frames."""
    if not _is_enhanced(path):
        return read_image(path)
    open_image(path)  # says what is wrong with a damaged one, and with colours
    return enhanced.read([path], path, stem_of(path))


def files_in_order(place: Path, uid: str = "") -> list[list[tuple[Path, int]]]:
    """The images of a series or of a single DICOM file, as `read_series` makes frames and slices of them: each with its
    file, and its number there.
    """
    files = _files_of_one(place, uid) if place.is_dir() else [place]
    if _is_enhanced(files[0]):
        volumes: Sequence[Sequence[stacks.Slice]] = enhanced.in_order(files, place)
    elif len(files) == 1:
        return [[(files[0], 0)]]
    else:
        volumes = stacks.in_order([_describe(f) for f in files], place)
    return [[(s.path, s.number) for s in volume] for volume in volumes]


def _is_enhanced(path: Path) -> bool:
    return _class_of(_head(path, _HEAD)) in _ENHANCED


def _files_of_one(folder: Path, uid: str) -> list[Path]:
    """The files of the one series that is meant; raises `UserError` where there is none or several."""
    held = _folder(folder)
    found = held.series
    if uid or len(found) < 2:  # else one is to be named first: what is damaged may be of others
        _refuse_damaged(folder, held.lost(uid))
    if not found:
        raise UserError(
            f"{folder} holds no DICOM series; a folder given as one scan must. Name its files, or use "
            "c2s batch, which searches folders."
        )
    if uid and uid not in found:
        raise UserError(f"{folder} has no series {uid}; it has {_listed(held)}. Choose one of them.")
    if not uid and len(found) > 1:
        raise UserError(
            f"{folder} holds {len(found)} series, and a scan is one: {_listed(held)}. "
            f"Name one, as in {folder}::{found[0]}."
        )
    return list(held.files(uid or found[0]))


def _refuse_damaged(folder: Path, lost: list[str]) -> None:
    if lost:
        raise UserError(
            f"{folder} has {len(lost)} unreadable DICOM files ({', '.join(lost[:3])}{', ...' * (len(lost) > 3)}); "
            "all must be complete. Export or copy the series again."
        )


def _listed(held: _Folder) -> str:
    rows = []
    for uid in held.series:
        files = held.files(uid)
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(files[0]))
        reader.SetImageIO(DICOM_IO)
        reader.ReadImageInformation()
        rows.append(f"{uid} ({_tag(reader, _DESCRIPTION) or 'no description'}, {len(files)} files)")
    return "; ".join(rows)


def _describe(path: Path) -> stacks.Slice:
    reader = open_image(path)
    position, number = _tag(reader, _POSITION), _tag(reader, _INSTANCE)
    if not position:
        raise UserError(f"{path} does not say where its slice lies (tag 0020,0032). Export the series as MR images.")
    try:
        place = np.array(position.split("\\"), dtype=float)
        order = int(float(number or 0))
    except (ValueError, OverflowError):
        place, order = np.empty(0), 0
    if place.shape != (3,) or not np.isfinite(place).all():
        raise UserError(
            f"{path} has the place {position!r} (tag 0020,0032) and the number {number!r} (tag 0020,0013); these must "
            "be three numbers and one. Export the series again, as MR images."
        )
    return stacks.Slice(path, tuple(place.tolist()), tuple(reader.GetDirection()), (order,))


def _tag(reader: sitk.ImageFileReader, key: str) -> str:
    """A tag's text without padding; empty where it is absent."""
    return str(reader.GetMetaData(key)).strip(" \0") if reader.HasMetaDataKey(key) else ""
