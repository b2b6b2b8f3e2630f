"""Single DICOM files for tests: slices of a series, and what makes them odd."""

from __future__ import annotations

import numpy as np
import pydicom
import SimpleITK as sitk

UID = "1.2.826.0.1.3680043.2.1125.1."


def write_slice(path, values, position, instance, *, series=1, slope=1.0, intercept=0.0, row=None, compress=False):
    """One MR slice; `row` and a column perpendicular to it orient it (default: axial)."""
    row = np.array([1.0, 0, 0]) if row is None else np.asarray(row, float)
    column = np.cross([0, 0, 1.0], row)
    image = sitk.GetImageFromArray(values[None].astype(np.int16))
    image.SetSpacing((0.5, 0.75, 1.0))
    tags = {
        "0008|0060": "MR",
        "0008|103e": f"series {series}",
        "0020|000d": UID + "9",
        "0020|000e": f"{UID}{series}",
        "0008|0018": f"{UID}{series}.{instance}",
        "0020|0013": str(instance),
        "0020|0032": "\\".join(f"{x:g}" for x in position),
        "0020|0037": "\\".join(f"{x:.10g}" for x in (*row, *column)),
        "0028|1052": f"{intercept:g}",
        "0028|1053": f"{slope:g}",
    }
    for key, value in tags.items():
        image.SetMetaData(key, value)
    axes = np.stack([row, column, np.cross(row, column)], axis=1)
    image.SetDirection(axes.ravel().tolist())
    image.SetOrigin([float(x) for x in position])
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    if compress:
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
    writer.Execute(image)


def set_class(path, content):
    head = pydicom.dcmread(path)
    head.SOPClassUID = head.file_meta.MediaStorageSOPClassUID = content
    head.save_as(path)


def strip_mark(path, *, meta=False):
    """Takes the 132 bytes before the elements off, with `meta` also those of group 2."""
    content = path.read_bytes()
    path.write_bytes(content[content.index(b"\x08\0") if meta else 132 :])
