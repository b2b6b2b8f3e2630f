"""What a scan is, before it is used for training: size, noise, and what could go wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from C2SCore import files, measuring, picture, scan, spacing
from C2SCore.guidance import CLEAN_SNR
from C2SCore.scan import Scan

SATURATED = 0.002  # share of voxels at the largest value of 8-bit data that is too many
THUMBNAIL = 48  # pixels, longer side


@dataclass(frozen=True)
class Facts:
    """What was found. `shape` (K, J, I); `sigma` in the scan's unit; `flags` of "interpolated" (its noise does not fill
    k-space), "clean", "saturated" (8 bits, and the brightest voxels are cut off).
    """

    name: str
    shape: tuple[int, ...]
    frames: int
    sigma: float
    snr: float | None
    flags: tuple[str, ...]


def expand(paths: Sequence[str], left_out: list[tuple[Path, str]]) -> Iterator[str]:
    """The scans that the paths name: folders are searched, a DICOM folder is one scan; `left_out` as `find_scans`
    fills it.
    """
    for path in paths:
        if Path(path).is_dir():
            yield from map(str, files.find_scans(path, left_out))
        else:
            yield path


def look(
    path: str,
    thumbnail: Path | None = None,
    cache: measuring.Cache | None = None,
    refine: measuring.Refine | None = None,
) -> Facts:
    """Read a scan (any format, or a `.npy` array) and measure it, with `refine` as a training will, unless `cache` has
    it already; the thumbnail is a PNG of its middle slice.

    Raises `UserError` for a scan that cannot be read, or from which nothing can be learnt.
    """
    frames = [_array(path)] if path.endswith(".npy") else files.read(path)
    first = next((frame for frame in frames if not scan.is_constant(frame)), frames[0])  # as a training leaves them out
    scan.check(first)
    voxels = np.moveaxis(first.voxels, spacing.slice_axis(first.spacing, first.voxels.shape), 0)
    measuring.check_values(first.name, voxels)
    found = measuring.measure(voxels, cache=cache, refine=refine)
    sigma = float(np.median(found.sigmas))
    snr = found.signal / sigma if sigma > 0 else None
    if thumbnail is not None:
        thumbnail.write_bytes(picture.png(picture.small(voxels[len(voxels) // 2], THUMBNAIL)))
    clean = snr is None or snr > CLEAN_SNR
    checks = {
        "interpolated": not found.spectrum.white and not clean,  # without noise, its spectrum is anatomy's
        "clean": clean,
        "saturated": _saturated(voxels),
    }
    flags = tuple(name for name, holds in checks.items() if holds)
    return Facts(first.name, voxels.shape, len(frames), sigma, snr, flags)


def _array(path: str) -> Scan:
    voxels = np.load(path, allow_pickle=False)
    return Scan(np.asarray(voxels, dtype=np.float32), name=Path(path).stem)


def _saturated(voxels: np.ndarray) -> bool:
    """Whether the values are whole numbers of 8 bits whose largest one is crowded."""
    top = float(voxels.max())
    if not 0 < top <= 255 or float(voxels.min()) < 0 or np.any(voxels[:: max(1, len(voxels) // 4)] % 1):
        return False
    return bool(np.mean(voxels == top) > SATURATED)
