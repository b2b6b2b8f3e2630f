"""What the self tests of both modules share. Slicer's own tests have neither network nor PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from C2SSlicer import install

NOISE = 20.0  # standard deviation of the noise in the phantom


def phantom(slices: int, side: int, name: str) -> tuple[Any, np.ndarray]:
    """A volume node with a noisy disc in a disc, and the same without noise, (K, J, I)."""
    _, j, i = np.mgrid[0:slices, -1 : 1 : side * 1j, -1 : 1 : side * 1j]
    clean = 200.0 * (j**2 + i**2 < 0.7) + 100.0 * ((j - 0.2) ** 2 + i**2 < 0.1)
    noisy = clean + NOISE * np.random.default_rng(0).standard_normal(clean.shape)
    return slicer.util.addVolumeFromArray(noisy.astype(np.float32), name=name), clean


def absent(requirements: str) -> list[str]:
    """The Python packages that are not installed; nothing is installed in a test. `requirements`: path of the list."""
    return install.missing([f"torch{install.TORCH}", *install.requirements(requirements)])
