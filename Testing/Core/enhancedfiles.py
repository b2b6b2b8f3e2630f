"""Enhanced DICOM files for tests, made frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

UID = "1.2.826.0.1.3680043.2.1125.2."
MR, LEGACY = "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"
AXIAL = (1, 0, 0, 0, 1, 0)


def item(**values) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def frame(values, position, *, directions=AXIAL, slope=1.0, intercept=0.0, component="MAGNITUDE", dims=(), **more):
    """The values of a frame and its functional groups; `more`: further ones, each with its attributes."""
    groups = item(
        FrameContentSequence=[item(StackID="1", DimensionIndexValues=list(dims))],
        PlanePositionSequence=[item(ImagePositionPatient=[float(x) for x in position])],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[f"{x:.12g}" for x in directions])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.75, 0.5], SpacingBetweenSlices=7, SliceThickness=2)],
        PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")],
        MRImageFrameTypeSequence=[
            item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], ComplexImageComponent=component)
        ],
    )
    for name, attributes in more.items():
        setattr(groups, name, [item(**attributes)])
    return values, groups


def echo(time):
    return {"MREchoSequence": {"EffectiveEchoTime": float(time)}}


def write(path: Path, frames, *, instance=1, content=MR, shared=(), compress=False, signed=0) -> Path:
    """Frames as one file; the groups named in `shared` are taken from the first of them for all."""
    head = item(file_meta=FileMetaDataset(), SOPClassUID=content, SOPInstanceUID=f"{UID}1.{instance}", Modality="MR")
    head.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    head.file_meta.MediaStorageSOPClassUID, head.file_meta.MediaStorageSOPInstanceUID = content, head.SOPInstanceUID
    head.StudyInstanceUID, head.SeriesInstanceUID, head.SeriesDescription = f"{UID}9", f"{UID}1", "enhanced"
    head.ImageType, head.InstanceNumber, head.SeriesNumber = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], instance, 3
    pixels = np.stack([values for values, _ in frames]).astype("i2" if signed else "u2")
    head.NumberOfFrames, head.Rows, head.Columns = pixels.shape
    head.SamplesPerPixel, head.PhotometricInterpretation, head.PixelRepresentation = 1, "MONOCHROME2", signed
    head.BitsAllocated, head.BitsStored, head.HighBit = 16, 16, 15
    groups = [groups for _, groups in frames]
    head.SharedFunctionalGroupsSequence = [item(**{name: groups[0][name].value for name in shared})]
    for own in groups:
        for name in shared:
            delattr(own, name)
    head.PerFrameFunctionalGroupsSequence = groups
    head.PixelData = pixels.tobytes()
    head["PixelData"].VR = "OW"
    if compress:
        head.compress(RLELossless)
    path.parent.mkdir(parents=True, exist_ok=True)
    head.save_as(path, enforce_file_format=True)
    return path


def volume(seed: int = 0, k: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1000, (k, 6, 8))


def place(k: int) -> tuple[float, float, float]:
    return 10, 20, 30 + 2.5 * k
