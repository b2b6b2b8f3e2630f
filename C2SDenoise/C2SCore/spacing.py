"""What the spacing of voxels says: along which axis slices lie, and whether planes along every axis are images.

Slicer's window asks, too: nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ALIKE = 1.5  # largest over smallest spacing, up to which slices along every axis help; at 2 they harm
THICKER = 1.3  # slices over the next larger spacing, from which they are told from pixels
SMALLEST_PLANE = 16  # pixels: thinner planes are no slices


def slice_axis(spacing: Sequence[float], shape: Sequence[int]) -> int:
    """The axis of an array (K, J, I) along which slices lie: 0, or that of clearly the largest spacing, as where a
    sagittal scan was turned to axial planes; `spacing` in the order I, J, K.
    """
    axis = int(np.argmax(spacing[::-1]))
    second, largest = sorted(spacing)[1:]
    plane = [n for a, n in enumerate(shape) if a != axis]
    return axis if largest > THICKER * second and min(plane) >= SMALLEST_PLANE else 0


def isotropic(spacing: Sequence[float], shape: Sequence[int]) -> bool:
    """Whether voxels are about as thick as wide, and every axis is long enough to be that of a plane."""
    return max(spacing) <= ALIKE * min(spacing) and min(shape) >= SMALLEST_PLANE
