"""Grey pictures of slices, to be looked at in reports."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from C2SCore import spacing
from C2SCore.scan import Scan

SHOWN_NOISE = 2.5  # standard deviations at which the picture of what was removed saturates
REPEATED = 16  # times that a pixel is shown at most: a wrong spacing must not make a picture of gigabytes


def grey(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 of a slice, black at `low` and white at `high`."""
    return np.clip((plane - low) / max(high - low, 1e-30) * 255, 0, 255).astype(np.uint8)


def window(plane: np.ndarray) -> tuple[float, float]:
    """The values of a slice that are shown black and white."""
    low, high = np.quantile(plane, (0.01, 0.995))
    return float(low), float(high)


def removed(difference: np.ndarray, sigma: float) -> np.ndarray:
    """uint8 of what was removed from a slice; 0 is medium grey."""
    limit = SHOWN_NOISE * max(sigma, 1e-30)
    return grey(difference, -limit, limit)


def small(plane: np.ndarray, size: int) -> np.ndarray:
    """A slice (J, I) in grey, uint8, its longer side at most `size` pixels; black and white are its outer percents."""
    step = max(1, -(-max(plane.shape) // size))
    high, wide = (min(step, n) for n in plane.shape)  # a narrow plane has fewer pixels than a step
    rows, columns = (n // s * s for n, s in zip(plane.shape, (high, wide)))
    blocks = plane[:rows, :columns].reshape(rows // high, high, columns // wide, wide).mean(axis=(1, 3))
    black, white = np.quantile(blocks, (0.01, 0.99))
    return grey(blocks, float(black), float(white))


def comparison(scan: Scan, denoised: np.ndarray, sigma: float) -> np.ndarray:
    """The middle slice of a scan, of its result (K, J, I), and of what was removed, side by side; uint8."""
    axis = spacing.slice_axis(scan.spacing, denoised.shape)
    k = denoised.shape[axis] // 2
    source, result = (np.take(v, k, axis) for v in (scan.voxels, denoised))
    shown = window(source)
    panels = grey(source, *shown), grey(result, *shown), removed(source - result, sigma)
    first, second = (a for a in range(3) if a != axis)  # of the array; the matrix has them in reverse order
    sides = scan.spacing[2 - first], scan.spacing[2 - second]
    tall, wide = (max(1, round(min(side / min(sides), REPEATED))) for side in sides)
    down, across = (scan.ijk_to_ras[:3, 2 - a] / scan.spacing[2 - a] for a in (first, second))
    return np.concatenate([upright(p.repeat(tall, axis=0).repeat(wide, axis=1), down, across) for p in panels], axis=1)


def upright(plane: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """A slice as radiologists look at it: what is superior (in axial slices, anterior) at the top, the patient's right
    (in sagittal slices, anterior) at the left. `down` and `across`: where its two axes lead, RAS.
    """
    through = int(np.argmax(np.abs(np.cross(down, across))))
    vertical, horizontal = 1 if through == 2 else 2, 1 if through == 0 else 0
    if abs(down[vertical]) < abs(across[vertical]):
        plane, down, across = plane.T, across, down
    return plane[:: -1 if down[vertical] > 0 else 1, :: -1 if across[horizontal] > 0 else 1]


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of grey values (J, I) or colours (J, I, 3), uint8 (PNG specification, W3C 2003)."""
    height, width = pixels.shape[:2]

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()  # each line: filter 0, values
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
