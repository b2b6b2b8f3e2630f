"""A scan: voxels, where they lie in the patient, and what they are called.

Axes follow Slicer: the array is (K, J, I), slice first; matrices and spacing are in (I, J, K) order.
Positions are RAS, in mm; SimpleITK and DICOM use LPS, which differs by the sign of the first two coordinates.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from C2SCore.errors import UserError

FLOAT32 = np.dtype(np.float32)
SMALLEST, LARGEST = 1e-9, 1e15  # intensity of the strongest voxel
SHIFT = 0.01  # of a voxel: grids whose corners differ by no more are the same
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Scan:
    """One 3-D image.

    Parameters
    ----------
    voxels : (K, J, I) float32, in the scan's own unit.
    spacing : distance of neighbouring voxels along I, J, K, in mm.
    ijk_to_ras : (4, 4) float64, from voxel indices (i, j, k, 1) to mm.
    name : a name for people, without folder or extension.
    dtype : type of the voxels at the source, before they became float32; float where its slope makes fractions.
    source : where it was read from.
    frame_start : place of the first frame of a 4-D file along its fourth axis; 0 otherwise.
    frame_step : distance to the next frame of a 4-D file in that file's own unit (as a rule seconds); 1 otherwise.
    """

    voxels: np.ndarray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ijk_to_ras: np.ndarray = dataclasses.field(default_factory=lambda: LPS_TO_RAS.copy())
    name: str = "scan"
    dtype: np.dtype = FLOAT32
    source: Path | None = None
    frame_start: float = 0.0
    frame_step: float = 1.0

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.voxels.size == 0:
            raise UserError(f"A scan of shape {self.voxels.shape} was given; it must be (K, J, I), none of them 0.")

    def with_voxels(self, voxels: np.ndarray, name: str | None = None) -> Scan:
        """The same place and kind, with other voxels (K, J, I)."""
        voxels = np.ascontiguousarray(voxels, dtype=np.float32)
        if voxels.shape != self.voxels.shape:
            raise UserError(f"Voxels of shape {voxels.shape} do not fit a scan of shape {self.voxels.shape}.")
        return dataclasses.replace(self, voxels=voxels, name=self.name if name is None else name)


def geometry(spacing: Sequence[float], axes: np.ndarray, origin: Sequence[float]) -> np.ndarray:
    """IJK-to-RAS matrix (4, 4) from spacing, LPS direction columns (3, 3) and LPS origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(axes) * np.asarray(spacing)
    matrix[:3, 3] = origin
    return LPS_TO_RAS @ matrix


def to_image(scan: Scan, voxels: np.ndarray | None = None) -> sitk.Image:
    """The scan (or other voxels on its grid) as a SimpleITK image, geometry included."""
    image = sitk.GetImageFromArray(scan.voxels if voxels is None else voxels)
    lps = LPS_TO_RAS @ scan.ijk_to_ras
    image.SetSpacing([float(s) for s in scan.spacing])
    image.SetOrigin([float(x) for x in lps[:3, 3]])
    image.SetDirection((lps[:3, :3] / np.asarray(scan.spacing)).ravel().tolist())
    return image


def same_grid(a: Scan, b: Scan) -> bool:
    """Whether two scans have the same voxels in the same places, to within SHIFT of a voxel at every corner."""
    if a.voxels.shape != b.voxels.shape:
        return False
    size = np.array(a.voxels.shape[::-1]) - 1
    corners = np.array([[*(size * [c >> n & 1 for n in range(3)]), 1] for c in range(8)]).T
    shift = (a.ijk_to_ras - b.ijk_to_ras) @ corners
    return bool(np.abs(shift).max() <= SHIFT * min(a.spacing))


def overlap(scan: Scan, reference: Scan) -> float:
    """Fraction of the reference's voxels that lie inside `scan` (0 to 1)."""
    inside = to_image(scan, np.ones(scan.voxels.shape, np.uint8))
    found = sitk.Resample(inside, to_image(reference), sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return float(sitk.GetArrayViewFromImage(found).mean())


def resample_to(scan: Scan, reference: Scan) -> Scan:
    """`scan` on the grid of `reference`: linear interpolation, 0 outside; `UserError` if they do not overlap."""
    if overlap(scan, reference) == 0:
        raise UserError(
            f"{scan.name} and {reference.name} do not overlap in space; scans used together must show one anatomy. "
            "Check that they are of one patient and session, or register them first."
        )
    image = sitk.Resample(to_image(scan), to_image(reference), sitk.Transform(), sitk.sitkLinear, 0.0)
    voxels = sitk.GetArrayFromImage(image)
    return dataclasses.replace(reference, voxels=voxels, name=scan.name, dtype=scan.dtype, source=scan.source)


def check_range(low: float, high: float, name: str) -> None:
    """Raises `UserError` where squares of intensities from `low` to `high` would not fit 32-bit numbers."""
    largest = max(high, -low)
    if largest > 0 and not SMALLEST <= largest <= LARGEST:
        raise UserError(
            f"The strongest voxel of {name} is {largest:.3g}; it must be between {SMALLEST:g} and {LARGEST:g}, so that "
            "squares can be computed. Multiply the scan by a constant."
        )


def check_voxels(voxels: np.ndarray, what: str) -> None:
    """Raises `UserError` where voxels are no numbers to compute with; `what` begins a sentence."""
    low, high = float(voxels.min()), float(voxels.max())
    if not math.isfinite(high - low):
        raise UserError(
            f"{what} has NaN or infinite voxels; every voxel must be a number. Replace them, for instance by 0."
        )
    check_range(low, high, what[0].lower() + what[1:])


def is_constant(scan: Scan) -> bool:
    """Whether every voxel is the same, as in a frame of a series whose acquisition broke off."""
    return bool(scan.voxels.min() == scan.voxels.max())


def check(scan: Scan) -> None:
    """Raises `UserError` where a scan cannot be denoised or learned from: NaN, infinite or constant voxels."""
    low, high = float(scan.voxels.min()), float(scan.voxels.max())
    if not math.isfinite(high - low):
        bad = int(np.count_nonzero(~np.isfinite(scan.voxels)))
        raise UserError(
            f"{scan.name} has {bad} voxels that are NaN or infinite; every voxel must be a finite number. "
            "Replace them (by 0 outside the body) and try again."
        )
    check_range(low, high, scan.name)
    if low == high:
        raise UserError(
            f"{scan.name} is constant (every voxel is {low:g}); there is neither signal nor noise in it. "
            "Check that the right file was chosen."
        )
