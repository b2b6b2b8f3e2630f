"""Small scans of Gaussian noise on any grid, for the tests of files."""

from __future__ import annotations

import numpy as np

from C2SCore.scan import Scan

FORMATS = [".nii", ".nii.gz", ".nrrd", ".mha"]


def make_scan(matrix: np.ndarray | None = None, shape: tuple[int, int, int] = (3, 5, 7), seed: int = 0) -> Scan:
    voxels = np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)
    matrix = np.array([[-0.9, 0, 0, 11], [0, -0.8, 0, 22], [0, 0, 3, 33], [0, 0, 0, 1.0]]) if matrix is None else matrix
    spacing = tuple(float(s) for s in np.linalg.norm(matrix[:3, :3], axis=0))
    return Scan(voxels=voxels, spacing=spacing, ijk_to_ras=matrix, name="made")


def oblique(angles: tuple[float, float, float], spacing: tuple[float, float, float], flip: bool) -> np.ndarray:
    """Rotations about x, y, z; optionally left-handed."""
    matrix = np.eye(4)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, :3] *= np.array(spacing) * np.array([1, 1, -1 if flip else 1])
    matrix[:3, 3] = -12.5, 40.25, 7
    return matrix
