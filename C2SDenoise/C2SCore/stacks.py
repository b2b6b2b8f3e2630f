"""Slices of DICOM files in space: sorted along their normal, and the volumes (frames of a scan) that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from C2SCore.errors import UserError
from C2SCore.scan import LPS_TO_RAS, Scan

_PARALLEL = 1e-3  # direction cosines that differ by no more count as the same: some are stored with few digits
UNEVEN, ROUNDED = 0.1, 0.02  # share of the step between slices, and mm, by which their places may differ from even ones


@dataclass(frozen=True)
class Slice:
    """An image of a DICOM file; of several at one place, `order` tells which belongs to an earlier volume."""

    path: Path
    position: tuple[float, ...]  # LPS, mm
    axes: tuple[float, ...]  # direction cosines, as SimpleITK gives them
    order: tuple[int, ...]
    contrast: tuple[str, ...] = ()  # what all slices of a volume have in common
    number: int = 0  # among the images of its file


S = TypeVar("S", bound=Slice)


def in_order(slices: Sequence[S], place: Path) -> list[list[S]]:
    """Slices sorted along their normal; one list per volume.

    Raises `UserError` unless they have one orientation and even steps, and every position was imaged equally often, in
    the same ways.
    """
    axes = np.array([s.axes for s in slices])
    if np.abs(axes - axes[0]).max() > _PARALLEL:  # the places along one normal may still look like those of a scan
        raise UserError(
            f"{place} has slices of several orientations (a localizer?); a scan has one. Leave it out, or split it."
        )
    across, down = axes[0].reshape(3, 3).T[:2]
    normal = np.cross(across, down)
    return _volumes(slices, normal / np.linalg.norm(normal), place)


def _volumes(slices: Sequence[S], normal: np.ndarray, place: Path) -> list[list[S]]:
    """Slices sorted along `normal` (LPS, unit length)."""
    places: dict[float, list[S]] = {}
    for s in sorted(slices, key=lambda s: (s.contrast, s.order)):
        places.setdefault(round(float(np.dot(s.position, normal)), 2), []).append(s)
    counts = {len(at) for at in places.values()}
    if len(counts) > 1:
        raise UserError(
            f"{place} has between {min(counts)} and {max(counts)} images per slice position; a scan has equally many. "
            "The series is incomplete or holds several scans: export it again, or split it."
        )
    heights = sorted(places)
    gaps = np.diff(heights)
    if len(gaps) and gaps.max() > (1 + UNEVEN) * gaps.min() + ROUNDED:
        raise UserError(
            f"The slices in {place} are {gaps.min():g} to {gaps.max():g} mm apart; a scan has even steps. "
            "Slices are missing or several stacks are mixed: export the series again, or split it."
        )
    volumes = [[places[h][n] for h in heights] for n in range(counts.pop())]
    if any(s.contrast != volume[0].contrast for volume in volumes for s in volume):
        raise UserError(
            f"{place} has other echo times, b-values or kinds of image at some slice positions than at others; every "
            "volume of a scan has one. The series is incomplete or holds several scans: export it again, or split it."
        )
    return sorted(volumes, key=lambda volume: volume[0].order)


def scans(
    volumes: Sequence[Sequence[S]],
    voxels_of: Callable[[S], np.ndarray],
    spacing: tuple[float, float, float],
    matrix: np.ndarray,
    name: str,
    dtype: np.dtype,
    place: Path,
) -> list[Scan]:
    """What sorted slices make. `voxels_of` one is (1, J, I); `spacing` and `matrix` are those of a single slice."""
    made = []
    for n, volume in enumerate(volumes):
        matrix = matrix.copy()
        matrix[:3, 3] = LPS_TO_RAS[:3, :3] @ np.array(volume[0].position)
        depth = spacing[2]
        if len(volume) > 1:  # the step between slices as it is, also of a tilted gantry
            step = (np.array(volume[-1].position) - np.array(volume[0].position)) / (len(volume) - 1)
            matrix[:3, 2] = LPS_TO_RAS[:3, :3] @ step
            depth = float(np.linalg.norm(step))
        planes = [voxels_of(s) for s in volume]
        if len({p.shape for p in planes}) > 1:
            raise UserError(f"{place} mixes slices of different sizes; a scan has one. Export the series again.")
        made.append(
            Scan(
                voxels=np.concatenate(planes),
                spacing=(spacing[0], spacing[1], depth),
                ijk_to_ras=matrix,
                name=name if len(volumes) == 1 else f"{name}_{n + 1}",
                dtype=dtype,
                source=place,
            )
        )
    return made
