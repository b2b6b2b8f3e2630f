"""NRRD, NIfTI, MetaImage and single DICOM files through SimpleITK, in and out, with exact geometry."""

from __future__ import annotations

import contextlib
import locale
import math
import mmap
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from C2SCore import headers, nifti
from C2SCore.errors import UserError
from C2SCore.scan import LPS_TO_RAS, Scan, check_range, geometry, to_image
from C2SCore.writing import atomic

NIFTI = (".nii.gz", ".nii")
READABLE = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd")
WRITABLE = (*NIFTI, ".nrrd", ".mha")
DICOM_IO = "GDCMImageIO"  # named, as SimpleITK by itself finds it for files with the DICOM mark alone
_SHEAR = 1e-4  # cosine between axes, from which they are not at right angles
# (7FE0,0010) and its length, explicit or implicit VR
_PIXEL_DATA = re.compile(rb"\xe0\x7f\x10\0(?:O[BW]\0\0)?(.{4})", re.DOTALL)
_PLACES = "axis 0 index values"  # where the frames of a list lie, as Slicer writes it for sequences

if sys.platform == "win32":
    # SimpleITK gives the C library names in UTF-8, which it takes for another encoding unless told: no umlaut would do.
    with contextlib.suppress(locale.Error):  # Windows 10 before 2018
        locale.setlocale(locale.LC_CTYPE, ".UTF8")


def suffix_of(path: str | Path) -> str:
    """The extension in lower case, `.nii.gz` as one; empty if there is none."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def stem_of(path: str | Path) -> str:
    """The file's name without folder and extension."""
    name = Path(path).name
    suffix = suffix_of(path)
    return name[: len(name) - len(suffix)] if suffix else name


def check_name(path: str | Path) -> None:
    """Raises `UserError` for a name that is not UTF-8: SimpleITK would end the whole process."""
    name = str(path).encode("utf-8", "backslashreplace").decode()
    if name != str(path):
        raise UserError(
            f"{name} is not a name in UTF-8 (its bytes are written as \\udc..); names of files and folders must be. "
            "Rename it, in plain letters."
        )


def open_image(path: Path) -> sitk.ImageFileReader:
    """A reader that has read the header and found one real number per voxel; raises `UserError` otherwise."""
    if suffix_of(path) in NIFTI:
        nifti.check_complete(path)
    elif suffix_of(path) in (*headers.META, *headers.NRRD):
        headers.check(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    if suffix_of(path) not in READABLE:
        reader.SetImageIO(DICOM_IO)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    components = reader.GetNumberOfComponents()
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelIDValue()):
        raise UserError(f"{path} holds complex numbers; a scan must hold real ones. Save its magnitude.")
    if components > 1 and headers.kind(path) != "list":
        raise UserError(
            f"{path} holds {components} numbers per voxel (colours or vectors); a scan must hold one. "
            "Convert it to greyscale, or save its frames as a 4-D image."
        )
    return reader


def _check_pixels(image: sitk.Image | sitk.ImageFileReader, path: Path) -> None:
    """Raises `UserError` where the pixels of a DICOM file are too few for the image, or cut short.

    GDCM fills up the former with whatever was in memory, before SimpleITK 2.5.4 the latter with zeros. Source of the
    layout: DICOM PS3.5, little endian, sections 7.1 (element) and A.4 (compressed pixels, in fragments).
    """
    bits = image.GetMetaData("0028|0100") if image.HasMetaDataKey("0028|0100") else ""
    needed = math.prod(image.GetSize()) * int(bits) // 8 if bits.strip().isdigit() else 0
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = 0
        while found := _PIXEL_DATA.search(content, end):  # several where there is an icon, too
            length, end = int.from_bytes(found[1], "little"), found.end()
            if length == 2**32 - 1:  # not told: compressed
                while content[end : end + 4] == b"\xfe\xff\x00\xe0":
                    end += 8 + int.from_bytes(content[end + 4 : end + 8], "little")
            elif length - needed in (0, 1):  # of an even number of bytes
                end += length
            elif length < needed and end + length == len(content):
                raise UserError(
                    f"{path} holds {length} bytes of pixels; {needed} are needed for its size. Export or copy it again."
                )
            if end > len(content):
                raise _incomplete(path)


def read_image(path: Path) -> list[Scan]:
    """All frames of a 2-D, 3-D or 4-D image file; those of a 4-D NRRD may lie along a `list` axis, as in Slicer."""
    reader = open_image(path)
    if suffix_of(path) not in READABLE:
        _check_pixels(reader, path)
    view = _voxels(reader, path)
    if reader.GetNumberOfComponents() > 1:
        view = np.moveaxis(view, -1, 0)
    elif view.ndim < 4:
        view = view[None]
    if view.ndim == 3:  # a 2-D image is a volume of one slice
        view = view[:, None]
    if view.ndim != 4:
        raise UserError(f"{path} has {reader.GetDimension()} dimensions; a scan has 2, 3 or 4. Save one part of it.")
    spacing, matrix = image_geometry(reader, path)
    name = stem_of(path)
    if view.dtype == np.float64:  # in 32 bits they might be 0 or infinite
        low, high = float(view.min()), float(view.max())
        if math.isfinite(high - low):
            check_range(low, high, name)
    start, step = _frame_places(reader)
    dtype = _type_at_source(reader, view) if suffix_of(path).startswith(".nii") else np.dtype(view.dtype)
    return [
        Scan(
            voxels=frame.astype(np.float32, order="C", copy=len(view) > 1),  # each frame can be let go
            spacing=spacing,
            ijk_to_ras=matrix,
            name=name if len(view) == 1 else f"{name}_{n + 1}",
            dtype=dtype,
            source=path,
            frame_start=start,
            frame_step=step,
        )
        for n, frame in enumerate(view)
    ]


def dicom_image(path: Path) -> sitk.Image:
    """A DICOM file with its pixels; raises `UserError` where they cannot be read."""
    try:
        image = sitk.ReadImage(str(path), imageIO=DICOM_IO)
    except RuntimeError as error:
        raise _incomplete(path) from error
    _check_pixels(image, path)
    return image


def _incomplete(path: Path) -> UserError:
    return UserError(f"{path} cannot be read; it must be a complete DICOM image. Export it again.")


def _voxels(reader: sitk.ImageFileReader, path: Path) -> np.ndarray:
    """The voxels as they are stored, in an array that nobody else holds."""
    if suffix_of(path) in NIFTI and reader.GetNumberOfComponents() == 1:
        plain = nifti.plain_voxels(path, reader.GetSize()[::-1])
        if plain is not None:
            return plain
    try:
        voxels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    if suffix_of(path) in NIFTI and not voxels.all():  # NaN would be 0
        nifti.check_finite(path)
    return voxels


def _type_at_source(reader: sitk.ImageFileReader, view: np.ndarray) -> np.dtype:
    """The type of a NIfTI file's voxels. SimpleITK reads integers with a slope as floats: they count as integers where
    slope and intercept are whole numbers and the type holds the results, as otherwise it could not be written again.
    """
    stored = nifti.INTEGERS.get(int(reader.GetMetaData("datatype")) if reader.HasMetaDataKey("datatype") else 0)
    if stored is None or view.dtype.kind != "f":
        return np.dtype(view.dtype)
    whole = all(float(reader.GetMetaData(key)).is_integer() for key in ("scl_slope", "scl_inter"))
    limits = np.iinfo(stored)
    return np.dtype(stored if whole and limits.min <= view.min() <= view.max() <= limits.max else view.dtype)


def _frame_places(reader: sitk.ImageFileReader) -> tuple[float, float]:
    """Place of the first frame along the fourth axis and distance to the next; 0 and 1 where they are not told."""
    try:
        if reader.GetDimension() == 4:
            first, step = float(reader.GetOrigin()[3]), float(reader.GetSpacing()[3])
        else:
            first, second, *_ = map(
                float, reader.GetMetaData(_PLACES).split() if reader.HasMetaDataKey(_PLACES) else ()
            )
            step = second - first
    except ValueError:  # none, or words
        return 0.0, 1.0
    return (first, step) if math.isfinite(first) and 0 < step < math.inf else (0.0, 1.0)


def image_geometry(reader: sitk.ImageFileReader, path: Path) -> tuple[tuple[float, float, float], np.ndarray]:
    """Spacing (I, J, K) in mm and IJK-to-RAS matrix of an image of 2 to 4 dimensions.

    Raises `UserError` where they are no numbers, or spacing is not above 0.
    """
    dimensions = reader.GetDimension()
    kept = min(dimensions, 3)
    axes, origin, spacing = np.eye(3), np.zeros(3), np.ones(3)
    axes[:kept, :kept] = np.reshape(reader.GetDirection(), (dimensions, dimensions))[:kept, :kept]
    origin[:kept] = reader.GetOrigin()[:kept]
    spacing[:kept] = reader.GetSpacing()[:kept]
    matrix = geometry(spacing.tolist(), axes, origin.tolist())
    lengths = np.linalg.norm(axes, axis=0)  # not 1 in MetaImage files with shear
    spacing = np.where(np.abs(lengths - 1) < 1e-6, spacing, spacing * lengths)
    if not (np.isfinite(matrix).all() and min(spacing) > 0):
        raise UserError(
            f"{path} has voxels of {' x '.join(f'{s:g}' for s in spacing)} mm; their sizes must be above 0, and sizes, "
            "directions and places finite numbers. Correct its header."
        )
    return (float(spacing[0]), float(spacing[1]), float(spacing[2])), matrix


def write_image(scans: Sequence[Scan], path: Path, dtype: np.dtype | None) -> Path:
    """Writes one scan as 3-D, several as 4-D; see `files.write`."""
    check_name(path)
    suffix = suffix_of(path)
    if suffix not in WRITABLE:
        raise UserError(f"{path} has the extension {suffix or '(none)'!r}; it must be one of {', '.join(WRITABLE)}.")
    first = scans[0]
    if any(s.voxels.shape != first.voxels.shape for s in scans):
        raise UserError("The frames of a 4-D image must have the same shape; write them to separate files.")
    check_fits(first, path)
    arrays = [as_type(s.voxels, dtype) for s in scans]
    step = first.frame_step or 1.0
    listed = len(scans) > 1 and suffix == ".nrrd"
    if len(scans) == 1:
        image = to_image(first, arrays[0])
    elif listed:
        image = to_image(first, arrays[0])  # for its geometry
        frames = sitk.GetImageFromArray(np.stack(arrays, axis=-1), isVector=True)
        frames.CopyInformation(image)
        frames.SetMetaData("axis 0 index type", "numeric")
        frames.SetMetaData(_PLACES, " ".join(f"{first.frame_start + n * step:.9g}" for n in range(len(arrays))))
        image = frames
    else:
        image = sitk.JoinSeries([to_image(first, a) for a in arrays], first.frame_start, step)
    with atomic(path, suffix) as temporary:
        try:
            if suffix in NIFTI:
                _write_nifti(image, first, temporary)
            else:
                sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise UserError(f"{path} could not be written: {_reason(error)} Choose another place.") from error
        except OSError as error:
            raise _cut_short(path) from error
        _check_written(temporary, path, sum(a.nbytes for a in arrays))
        if listed:
            _mark_as_list(temporary)
    return path


def check_fits(scan: Scan, path: str | Path) -> None:
    """Raises `UserError` where the format of `path` cannot hold the geometry of a scan."""
    if suffix_of(path) in NIFTI and _is_sheared(scan):
        raise UserError(
            f"{scan.name} has axes that are not at right angles, which NIfTI written here cannot hold. "
            "Choose a .nrrd or .mha file."
        )


def _write_nifti(image: sitk.Image, scan: Scan, path: Path) -> None:
    """With the transforms of the file that the scan came from, if that was NIfTI, too."""
    plain = path.with_name(path.name.removesuffix(".gz")) if path.suffix == ".gz" else path
    try:
        sitk.WriteImage(image, str(plain), useCompression=False)
        if scan.source is not None and suffix_of(scan.source) in NIFTI:
            nifti.copy_orientation(scan.source, plain)
        if plain != path:
            nifti.compress(plain, path)
    finally:
        if plain != path:
            plain.unlink(missing_ok=True)


def _check_written(temporary: Path, path: Path, size: int) -> None:
    """Raises `UserError` where a full disk cut the file short, as SimpleITK says nothing of it.

    `size` is that of the voxels in bytes. MetaImage needs no look: its writer raises.
    """
    suffix = suffix_of(path)
    try:
        if suffix.startswith(".nii"):
            nifti.check_complete(temporary)
        elif suffix == ".nrrd" and nifti.gzip_length(temporary) != size % 2**32:
            raise EOFError
    except (UserError, OSError, EOFError) as error:
        raise _cut_short(path) from error


def _cut_short(path: Path) -> UserError:
    return UserError(
        f"{path} could not be written: only a part of it arrived, as where the disk or a quota is full; "
        "all of it must fit. Free some space or choose another place."
    )


def as_type(voxels: np.ndarray, dtype: np.dtype | None) -> np.ndarray:
    """`voxels` as `dtype`: float32 for None; integers are rounded to nearest and clipped to the type's range."""
    if dtype is None or dtype.kind not in "iu":
        return np.ascontiguousarray(voxels, dtype=np.float32 if dtype is None else dtype)
    limits = np.iinfo(dtype)
    high = float(limits.max)
    if int(high) > limits.max:  # the largest 64-bit integers have no float: take the next one below
        high = float(np.nextafter(high, 0))
    return np.clip(np.rint(voxels.astype(np.float64)), float(limits.min), high).astype(dtype)


def _is_sheared(scan: Scan) -> bool:
    axes = (LPS_TO_RAS @ scan.ijk_to_ras)[:3, :3] / np.asarray(scan.spacing)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > _SHEAR)


def _mark_as_list(path: Path) -> None:
    """Renames the kind of a NRRD's first axis from SimpleITK's `vector` to `list`, which makes a sequence in Slicer."""
    with open(path, "r+b") as file:
        header = file.read(4096)
        place = header.index(b"kinds: vector")
        file.seek(place, os.SEEK_SET)
        file.write(b"kinds: list  ")


def _unreadable(path: Path, error: RuntimeError) -> UserError:
    if "orthonormal" in str(error):
        return UserError(
            f"{path} is sheared: the axes of its matrix are not at right angles, and those of a NIfTI file must be. "
            "Resample it to perpendicular axes, or save it as .nrrd, which can hold them."
        )
    if suffix_of(path) in NIFTI and nifti.is_second(path):
        return UserError(
            f"{path} is a NIfTI-2 file, which SimpleITK cannot read; it must be NIfTI-1. Save it as that, or as .nrrd."
        )
    return UserError(f"{path} cannot be read: {_reason(error)} It must be a complete image. Copy it again.")


def _reason(error: Exception) -> str:
    """The part of an ITK message that says something."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    if lines[-1].startswith("Reason: No such file"):  # left over from another file: this one is there
        lines.pop()
    said = next((line for line in lines if line.startswith("ITK ERROR:")), lines[-1])
    if lines[-1].startswith(("[nrrd]", "Reason:")):  # the last of several is the most exact
        said = lines[-1]
    said = re.sub(r"^(sitk::ERROR: *|ITK ERROR: *|\w+\(0x[0-9a-fA-F]+\): *)+", "", said)
    return said if said.endswith(".") else said + "."
