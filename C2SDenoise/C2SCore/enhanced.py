"""Enhanced DICOM: many images in one file, each with its own place, contrast and slope in "functional groups".

What the groups hold is in DICOM PS3.3: place, size and slope of a pixel in C.7.6.16.2, contrast in C.8.13.5, what is
left of single images that were converted in C.7.6.16.2.25. SimpleITK decompresses the pixels, but takes the place and
slope of the first image for all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from C2SCore import stacks
from C2SCore.errors import UserError
from C2SCore.images import dicom_image
from C2SCore.scan import FLOAT32, Scan, geometry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# What is the same all over a volume. Times of acquisition, inversion and heart beat are not.
_CONTRAST = (
    ("MRImageFrameTypeSequence", "FrameType"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("MRDiffusionSequence", "DiffusionGradientDirectionSequence"),
    ("UnassignedPerFrameConvertedAttributesSequence", "EchoTime"),
)
# Complex Image Component (C.8.13.3.1.1), and what classic images that were converted say in its place.
_COMPONENTS = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}
_COMPONENTS |= {name.upper(): name for name in _COMPONENTS.values()}

Value = Callable[[str, str], Any]  # by the names of its sequence and its own; `None` where the frame has none


@dataclass(frozen=True)
class _Image(stacks.Slice):
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)  # I, J, and K where there is one slice
    rescale: tuple[float, float] = (1.0, 0.0)  # slope and intercept
    component: str = "magnitude"


def read(files: Sequence[Path], place: Path, name: str) -> list[Scan]:
    """The volumes of a series of enhanced files, each image with its own slope and intercept applied."""
    volumes = in_order(files, place)
    images = [image for volume in volumes for image in volume]
    applied = {image.path: image.rescale for image in images if image.number == 0}  # by SimpleITK, to the whole file
    stored = functools.cache(lambda path: sitk.GetArrayFromImage(dicom_image(path)))

    def voxels_of(image: _Image) -> np.ndarray:
        voxels = stored(image.path)[image.number][None]
        if image.rescale != applied[image.path]:
            slope, intercept = applied[image.path]
            voxels = np.rint((voxels.astype(np.float64) - intercept) / slope) * image.rescale[0] + image.rescale[1]
        return voxels.astype(np.float32)

    first = volumes[0][0]
    matrix = geometry(first.spacing, np.reshape(first.axes, (3, 3)), first.position)
    dtype = stored(first.path).dtype if len({image.rescale for image in images}) == 1 else FLOAT32
    return stacks.scans(volumes, voxels_of, first.spacing, matrix, name, dtype, place)


def in_order(files: Sequence[Path], place: Path) -> list[list[_Image]]:
    """The images of enhanced files as slices of volumes; raises `UserError` where they make no scan."""
    images = [image for path in files for image in _images_in(path)]
    if len(kinds := {image.component for image in images}) > 1:
        raise UserError(
            f"{place} mixes {' and '.join(sorted(kinds))} images; a scan has one kind. Have them exported as separate "
            "series."
        )
    if len({image.spacing[:2] for image in images}) > 1:
        raise UserError(f"{place} has pixels of several sizes; a scan has one. Have each exported as its own series.")
    volumes = stacks.in_order(images, place)
    places = np.array([[image.position for image in volume] for volume in volumes])
    line = np.linspace(places[0, 0], places[0, -1], places.shape[1])
    step = np.linalg.norm(line[-1] - line[0]) / max(len(line) - 1, 1)
    if (off := float(np.abs(places - line).max())) > stacks.UNEVEN * step + stacks.ROUNDED:  # as along the normal
        raise UserError(
            f"The slices in {place} lie up to {off:.3g} mm beside a line; those of a scan make one stack. "
            "Several stacks are mixed: have each exported as its own series."
        )
    return volumes


def _images_in(path: Path) -> list[_Image]:
    image = need_pydicom("To read enhanced DICOM files").dcmread(path, stop_before_pixels=True, force=True)
    groups, count = values(image), int(image.get("NumberOfFrames") or 1)
    if len(groups) != count:
        raise UserError(
            f"{path} says of {len(groups)} images where they lie and holds {count}; it must of each. Export it again."
        )
    instance = int(image.get("InstanceNumber") or 0)
    return [_image(path, number, instance, value) for number, value in enumerate(groups)]


def _image(path: Path, number: int, instance: int, value: Value) -> _Image:
    position = value("PlanePositionSequence", "ImagePositionPatient")
    directions = value("PlaneOrientationSequence", "ImageOrientationPatient")
    size = value("PixelMeasuresSequence", "PixelSpacing")
    if not (position and directions and size):
        raise UserError(
            f"{path} does not say where its image {number + 1} lies and how large its pixels are. Export the series "
            "again, as MR images."
        )
    across, down = (d / np.linalg.norm(d) for d in np.reshape(directions, (2, 3)).astype(float))
    depth = value("PixelMeasuresSequence", "SpacingBetweenSlices") or value("PixelMeasuresSequence", "SliceThickness")
    places = value("FrameContentSequence", "DimensionIndexValues")  # along all axes: of slices, echoes, times, ...
    moment = value("FrameContentSequence", "TemporalPositionIndex")
    kinds = [value("MRImageFrameTypeSequence", "ComplexImageComponent")]
    kinds += value("MRImageFrameTypeSequence", "FrameType") or []
    return _Image(
        path=path,
        position=tuple(float(x) for x in position),
        axes=tuple(np.stack([across, down, np.cross(across, down)], axis=1).ravel().tolist()),
        order=(instance, *(int(n) for n in np.atleast_1d(places or [])), int(moment or 0), number),
        contrast=tuple(str(value(*names) or "") for names in _CONTRAST),
        number=number,
        spacing=(float(size[1]), float(size[0]), float(depth or 1)),
        rescale=rescale(value),
        component=next((_COMPONENTS[kind] for kind in kinds if kind in _COMPONENTS), "magnitude"),
    )


def values(image: Dataset) -> list[Value]:
    """What tells an attribute of a frame, for each frame."""
    shared = list(image.get("SharedFunctionalGroupsSequence") or [])
    single = {"PixelValueTransformationSequence": [image]}  # some files say the slope as those of single images do
    return [_value_in([own, *shared, single]) for own in image.get("PerFrameFunctionalGroupsSequence") or []]


def _value_in(groups: Sequence[Any]) -> Value:
    return lambda sequence, name: next((g[sequence][0].get(name) for g in groups if g.get(sequence)), None)


def rescale(value: Value) -> tuple[float, float]:
    """Slope and intercept of a frame."""
    name = "PixelValueTransformationSequence"
    return float(value(name, "RescaleSlope") or 1), float(value(name, "RescaleIntercept") or 0)


def need_pydicom(what: str, oldest: int = 2) -> Any:
    """The package pydicom; raises `UserError`, which says `what` it is for, where it is missing or older than the
    version `oldest`.
    """
    try:
        import pydicom
        import pydicom.uid
    except ImportError as error:
        raise UserError(f"{what} needs pydicom, which is missing: pip install pydicom") from error
    if int(pydicom.__version__.partition(".")[0]) < oldest:
        raise UserError(
            f"{what} needs pydicom {oldest}, and this one is {pydicom.__version__}: pip install --upgrade pydicom"
        )
    return pydicom
