"""Ghosts laid into training patches: the same anatomy again, fainter and elsewhere, as motion and fold-over make it.

Without them a model learns that around the patient there is nothing, and takes faint structures there for noise; but
what an image shows, the reader must see. x_d shifted and weakened is the noisy image of a weakened x_0, so that only
the level of the noise grows.
"""

from __future__ import annotations

import numpy as np

STRENGTHS = (0.03, 0.5)  # of the signal
NEAREST = 4  # part of the patch by which a ghost is shifted at least


def add_ghosts(x: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Lay ghosts along a random axis into `fraction` of the rows of x (N, C, P, P); returns how much their noise and
    signal grew, (N,) float32.

    Neighbouring slices ghost alike; an absent one stays absent.
    """
    growth = np.ones(len(x), dtype=np.float32)
    side = x.shape[-1]
    low, high = np.log(STRENGTHS)
    for row in np.flatnonzero(rng.random(len(x)) < fraction):
        strength = np.float32(np.exp(rng.uniform(low, high)))
        shift = int(rng.integers(side // NEAREST, side - side // NEAREST + 1))
        x[row] += strength * np.roll(x[row], shift, axis=1 + int(rng.integers(2)))
        growth[row] = np.hypot(1, strength)
    return growth
