"""What a denoising may need besides the scan, brought onto its grid: other contrasts, maps of the noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from C2SCore import files, scan
from C2SCore.errors import UserError
from C2SCore.scan import Scan

Level = str | float | np.ndarray  # "auto", a number, or a map


def on_grid(moving: Scan, fixed: Scan, messages: list[str]) -> Scan:
    """`moving` on the grid of `fixed`; resampling is said in `messages`. Raises `UserError` if they are apart."""
    if scan.same_grid(moving, fixed):
        return moving
    moved = scan.resample_to(moving, fixed)
    cover = scan.overlap(moving, fixed)
    messages.append(f"{moving.name} was resampled to the grid of {fixed.name}, of which it covers {cover:.0%}.")
    return moved


def levels_on_grid(given: str | float, frames: Sequence[Scan], axis: int, messages: list[str]) -> list[Level]:
    """The noise of every frame, in the scan's unit: "auto", a number, or an array on the grid of the frames.

    `given`: "auto", a number, or the file of a map, which may have as many frames as the scan, or one for all of them;
    else raises `UserError`. The slices of an array, which lie along `axis` of the frames, come first.
    """
    if isinstance(given, (int, float)) or given == "auto":
        return [given] * len(frames)
    maps = files.read(given)
    if len(maps) not in (1, len(frames)):
        raise UserError(
            f"The noise map {given} has {len(maps)} frames, the scan {len(frames)}; a map has as many as the scan, or "
            "one. Save the frames that are meant."
        )
    arrays = [np.moveaxis(on_grid(m, frames[0], messages).voxels, axis, 0) for m in maps]
    levels: list[Level] = [_completed(array, given, messages) for array in arrays]
    return levels if len(levels) > 1 else levels * len(frames)


def _completed(level: np.ndarray, name: str, messages: list[str]) -> np.ndarray:
    """A noise map whose zeros, as outside a head, are the median of the rest."""
    zero = level == 0
    if not zero.any() or not (level > 0).any():
        return level
    messages.append(f"{name} is 0 in {zero.mean():.0%} of its voxels: there the median of the others was taken.")
    return np.where(zero, np.median(level[level > 0]), level).astype(np.float32)
