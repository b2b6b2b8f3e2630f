"""A result as a DICOM series, derived from that of the scan: in the same study, for an archive to hold beside it.

What a derived image must say follows DICOM PS3.3: Image Type (C.7.6.1.1.2), derivation and source image (C.7.6.1.1.3,
C.7.6.1.1.4), contributing equipment (C.12.1.1.5); the codes are those of PS3.16. All else stays as in the source.
Enhanced files, of many frames, say it of each: Frame Type (C.8.16.1), derivation and source image (C.7.6.16.2.6), slope
(C.7.6.16.2.9); and once where the sources are found (C.8.13.2.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from C2SCore import __version__, enhanced
from C2SCore.dicom import files_in_order, is_dicom, why_not_mr
from C2SCore.errors import UserError
from C2SCore.images import as_type
from C2SCore.writing import atomic_folder, check_writable

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

IMPLEMENTATION = "C2SDENOISE"  # in the head of every file: what was written here may be replaced
LONGEST = 64  # characters of a description (LO)
_SIGNED = 2**15 - 1
# Of the source's pixels and not of ours, or not valid any more; some change their type with the sign of the pixels.
_STALE = (
    "SmallestImagePixelValue LargestImagePixelValue SmallestPixelValueInSeries LargestPixelValueInSeries "
    "IconImageSequence DigitalSignaturesSequence MACParametersSequence"
).split()
_OF_THE_SOURCE = (
    "WindowCenter WindowWidth WindowCenterWidthExplanation PixelPaddingValue PixelPaddingRangeLimit "
    "RealWorldValueMappingSequence"
).split()
_OF_THE_SYSTEM = (".DS_Store", "Thumbs.db", "desktop.ini")  # left by macOS and Windows in folders that were looked at
_OF_ITS_FRAMES = "FrameVOILUTSequence RealWorldValueMappingSequence PixelValueTransformationSequence".split()


@dataclass(frozen=True)
class Derived:
    """One series that is made of another: what is added to its description and to its number, and how it was made.

    `contrast`: how its pixels were derived, in the terms of DICOM (PS3.3 C.8.16.1.4, which others may be added to), for
    enhanced files.
    `alike`: whether its values are such as the source's, and stored in its type, rounded and clipped; others are stored
    as signed 16-bit numbers with a slope of their own.
    """

    name: str
    number: int
    derivation: str
    contrast: str
    alike: bool


def check_source(scan: Path, part: str) -> list[list[tuple[Path, int]]]:
    """The images of a scan, frame by frame, as `dicom.files_in_order` gives them; raises `UserError` unless they are
    DICOM and MR, and every image of their files is among them.
    """
    pydicom = enhanced.need_pydicom("To write DICOM", 3)
    if not scan.is_dir() and not is_dicom(scan):
        raise UserError(f"{scan} is no DICOM; only what was read as DICOM can be written so. Leave --dicom out.")
    frames = files_in_order(scan, part)
    for path, known in Counter(path for frame in frames for path, _ in frame).items():
        wanted = ["SOPClassUID", "NumberOfFrames", "ConcatenationUID", "PhotometricInterpretation"]
        head = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted, force=True)
        if reason := why_not_mr(str(head.get("SOPClassUID") or "")):
            raise UserError(f"{path} is {reason}; only those of MR can be written as DICOM. Leave --dicom out.")
        if not head.original_encoding[1]:  # pydicom would leave the bytes of some elements in their old order
            raise UserError(
                f"{path} is big-endian; to be written as DICOM, it must be little-endian, as nearly all are. Leave "
                "--dicom out, or have the series exported again."
            )
        if head.get("PhotometricInterpretation") == "MONOCHROME1":  # read as it is shown, dark where numbers are large
            raise UserError(
                f"{path} shows large numbers dark (MONOCHROME1); to be written as DICOM, it must show them bright. "
                "Leave --dicom out, or have the series exported as MONOCHROME2."
            )
        if (count := int(head.get("NumberOfFrames") or 1)) != known:
            raise UserError(
                f"{path} holds {count} images in one file that is no enhanced one; to be written as DICOM, each must "
                "have its own. Leave --dicom out, or have the series exported as single images."
            )
        if "ConcatenationUID" in head:
            raise UserError(
                f"{path} is one of several parts of an image (a concatenation); to be written as DICOM, it must be "
                "whole. Leave --dicom out, or have it exported as one file."
            )
    return frames


def check_folder(folder: Path) -> None:
    """Raises `UserError` if a series cannot be written as `folder`: only one that was written here is replaced."""
    check_writable(folder / "1.dcm")
    if not folder.is_dir():
        return
    foreign = next((entry.name for entry in sorted(folder.iterdir()) if not _is_ours(entry)), None)
    if foreign is not None:
        raise UserError(
            f"{folder} has {foreign}, which c2s did not write; a DICOM series gets a folder of its own. Name another "
            "place, or move what is there."
        )


def write_series(
    frames: Sequence[np.ndarray], images: Sequence[Sequence[tuple[Path, int]]], folder: Path, derived: Derived
) -> Path:
    """Volumes (K, J, I), in the unit of the scan that was read from `images` (see `check_source`), as a series in
    `folder`, which appears whole or not at all.
    """
    pydicom = enhanced.need_pydicom("To write DICOM", 3)
    check_folder(folder)
    series, now = pydicom.uid.generate_uid(prefix=None), datetime.now()
    largest = max(float(np.abs(frame).max()) for frame in frames)
    planes: dict[Path, dict[int, np.ndarray]] = {}
    for frame, places in zip(frames, images, strict=True):
        for plane, (path, number) in zip(frame, places, strict=True):
            planes.setdefault(path, {})[number] = plane
    try:
        with atomic_folder(folder) as temporary:
            for n, (path, of_file) in enumerate(planes.items(), 1):
                image = pydicom.dcmread(path, stop_before_pixels=True, force=True)
                _derive(image, derived, series, now)
                _set_pixels(image, [of_file[number] for number in sorted(of_file)], largest, derived.alike)
                image.save_as(temporary / f"{n:05d}.dcm", enforce_file_format=True)
    except OSError as error:
        raise UserError(
            f"{folder} could not be written ({error.strerror or error}); all of it must fit. Free some space or choose "
            "another place."
        ) from error
    return folder


def _derive(image: Dataset, derived: Derived, series: str, now: datetime) -> None:
    """What a derived image says of itself, in place of what the source does."""
    from pydicom import uid

    equipment = _item(
        Manufacturer="C2SDenoise", SoftwareVersions=__version__, ContributionDateTime=f"{now:%Y%m%d%H%M%S}"
    )
    equipment.PurposeOfReferenceCodeSequence = [_code("109102", "Processing Equipment")]
    equipment.ContributionDescription = derived.derivation[:1024]
    for name in _STALE + ([] if derived.alike else _OF_THE_SOURCE):
        if name in image:
            delattr(image, name)
    if "PerFrameFunctionalGroupsSequence" in image:
        _derive_frames(image, derived)
    else:
        kinds = [str(kind) for kind in image.get("ImageType") or []]
        kinds = ["DERIVED", "SECONDARY", *(kinds[2:] or ["OTHER"]), derived.name.upper().replace(" ", "_")[:16]]
        image.ImageType = kinds
        image.DerivationDescription = derived.derivation[:1024]
        image.SourceImageSequence = [_source(image)]
    described = str(image.get("SeriesDescription") or "MR")[: LONGEST - 1 - len(derived.name)]
    image.SeriesDescription = f"{described} {derived.name}"
    image.SeriesNumber = int(image.get("SeriesNumber") or 0) + derived.number
    image.SeriesInstanceUID, image.SOPInstanceUID = series, uid.generate_uid(prefix=None)
    image.SeriesDate = image.InstanceCreationDate = f"{now:%Y%m%d}"
    image.SeriesTime = image.InstanceCreationTime = f"{now:%H%M%S}"
    image.ContributingEquipmentSequence = [*(image.get("ContributingEquipmentSequence") or []), equipment]
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    image.file_meta.ImplementationVersionName = IMPLEMENTATION


def _derive_frames(image: Dataset, derived: Derived) -> None:
    """The same for an enhanced image, before it gets another identifier: type and source of every frame."""
    frames = image.PerFrameFunctionalGroupsSequence
    for groups in _all_groups(image):
        groups.pop("DerivationImageSequence", None)
        for kind in groups.get("MRImageFrameTypeSequence") or []:
            kind.FrameType = _frame_type(kind.get("FrameType"), derived)
    for number, groups in enumerate(frames, 1):
        source = _source(image)
        source.ReferencedFrameNumber = number
        made = _item(DerivationDescription=derived.derivation[:1024], SourceImageSequence=[source])
        made.DerivationCodeSequence = [_code("110001", "Image Processing")]
        groups.DerivationImageSequence = [made]
    known = _item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    held = _item(SeriesInstanceUID=image.SeriesInstanceUID, ReferencedSOPSequence=[known])
    held = _item(StudyInstanceUID=image.StudyInstanceUID, ReferencedSeriesSequence=[held])
    image.SourceImageEvidenceSequence = [held]
    image.ImageType = _frame_type(image.get("ImageType"), derived)
    image.ContentQualification = "RESEARCH"


def _frame_type(kinds: Sequence[str] | None, derived: Derived) -> list[str]:
    """Four values, of which the third (what kind of image) is kept, and the second is always the same."""
    return ["DERIVED", "PRIMARY", *(list(kinds or [])[2:3] or ["OTHER"]), derived.contrast]


def _all_groups(image: Dataset) -> list[Dataset]:
    return [*(image.get("SharedFunctionalGroupsSequence") or []), *image.PerFrameFunctionalGroupsSequence]


def _source(image: Dataset) -> Dataset:
    source = _item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    source.PurposeOfReferenceCodeSequence = [_code("121322", "Source image for image processing operation")]
    return source


def _set_pixels(image: Dataset, planes: Sequence[np.ndarray], largest: float, alike: bool) -> None:
    """The pixels (J, I) of each frame, in the scan's unit, as the stored numbers of the image."""
    if alike:
        kind = np.dtype(f"{'iu'[image.PixelRepresentation == 0]}{image.BitsAllocated // 8}")
        signed, bits = image.PixelRepresentation, image.BitsStored
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    else:
        kind, low, high = np.dtype("i2"), -_SIGNED, _SIGNED
        image.PixelRepresentation, image.BitsAllocated, image.BitsStored, image.HighBit = 1, 16, 16, 15
        _set_slope(image, f"{largest / _SIGNED or 1.0:.9e}")
    rescales = [enhanced.rescale(value) for value in enhanced.values(image)]
    if not rescales:
        rescales = [(float(image.get("RescaleSlope") or 1), float(image.get("RescaleIntercept") or 0))]
    stored = [
        as_type(np.clip((plane - intercept) / slope, low, high), kind).astype(kind.newbyteorder("<")).tobytes()
        for plane, (slope, intercept) in zip(planes, rescales, strict=True)
    ]
    image.PixelData = b"".join(stored) + b"\0" * (sum(map(len, stored)) % 2)
    image["PixelData"].VR = "OW" if kind.itemsize > 1 else "OB"


def _set_slope(image: Dataset, slope: str) -> None:
    """One for all frames, and no intercept."""
    place = image
    if "PerFrameFunctionalGroupsSequence" in image:
        place = _item()
        for groups in _all_groups(image):
            for name in _OF_ITS_FRAMES:
                groups.pop(name, None)
        for groups in image.PerFrameFunctionalGroupsSequence:
            groups.PixelValueTransformationSequence = [place]
    place.RescaleSlope, place.RescaleIntercept = slope, "0"
    place.RescaleType = place.get("RescaleType") or "US"


def _is_ours(path: Path) -> bool:
    if path.name in _OF_THE_SYSTEM:
        return True
    if not path.is_file() or not is_dicom(path):
        return False
    head = enhanced.need_pydicom("To write DICOM", 3).filereader.read_file_meta_info(path)
    return head.get("ImplementationVersionName") == IMPLEMENTATION


def _item(**values: Any) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def _code(value: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)
