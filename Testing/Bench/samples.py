"""Small things to put into a scene."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util


def ramp_volume(name: str, shape: tuple[int, int, int] = (4, 12, 16), maximum: float = 100.0) -> object:
    """A scalar volume node whose float32 voxels (K, J, I) grow from 0 to ``maximum`` in the order of memory."""
    values = np.linspace(0, maximum, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    node = slicer.util.addVolumeFromArray(values, name=name)
    node.CreateDefaultDisplayNodes()
    return node
