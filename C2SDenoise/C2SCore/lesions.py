"""Small lesions laid into training patches, so that a model does not take what is small and rare for noise.

x_d + b is a noisy image of x_0 + b, with the same noise: nothing that the loss rests on changes.
"""

from __future__ import annotations

import math

import numpy as np

MOST = 3  # in one patch
DIAMETERS = (1.0, 8.0)  # pixels, of either axis
CONTRASTS = (0.03, 1.0)  # of the tissue signal, brighter or darker
RIMS = (1.0, 2.0)  # pixels, over which partial volume blurs the rim
DARKEST = 0.9  # of the tissue there: no lesion is darker than empty space
TISSUE = 0.3  # of the tissue signal
TRIES = 8
BESIDE = 0.4  # chance that a neighbouring slice or another contrast shows it as well


def add_lesions(
    x: np.ndarray, contrasts: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Copies of x (N, 1 + 2 neighbours, P, P), in units of the tissue signal, and contrasts (N, C, P, P) with ellipses
    in `fraction` of the rows; an absent neighbour stays absent.
    """
    x, contrasts = x.copy(), contrasts.copy()
    for row in np.flatnonzero(rng.random(len(x)) < fraction):
        for _ in range(int(rng.integers(1, MOST + 1))):
            place = _place(x[row, 0], rng)
            if place is None:
                break
            window, profile = _ellipse(x.shape[-1], place, rng)
            contrast = _contrast(rng)
            x[row, 0][window] += max(contrast, -DARKEST * float(x[(row, 0, *place)])) * profile
            for plane in x[row, 1:]:
                if plane.any() and rng.random() < BESIDE:
                    strength = max(contrast, -DARKEST * float(plane[place])) * float(rng.uniform(0.3, 1))
                    plane[window] += strength * profile
            for plane in contrasts[row]:
                if rng.random() < BESIDE:
                    plane[window] += max(_contrast(rng), -DARKEST * float(plane[place])) * profile
    return x, contrasts


def _place(plane: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """A pixel in tissue, or None where hardly any is."""
    for _ in range(TRIES):
        j, i = (int(v) for v in rng.integers(plane.shape[0], size=2))
        if plane[j, i] > TISSUE:
            return j, i
    return None


def _contrast(rng: np.random.Generator) -> float:
    size = _log_uniform(CONTRASTS, rng)
    return size if rng.random() < 0.5 else -size


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(limits[0]), math.log(limits[1])))


def _ellipse(size: int, place: tuple[int, int], rng: np.random.Generator) -> tuple[tuple[slice, slice], np.ndarray]:
    """A window around `place` in a plane (size, size), and the ellipse in it: 1 inside, 0 outside, float32."""
    axes = _log_uniform(DIAMETERS, rng) / 2, _log_uniform(DIAMETERS, rng) / 2
    angle, rim = rng.uniform(0, np.pi), rng.uniform(*RIMS)
    reach = math.ceil(max(axes) * (1 + rim / 2 / min(axes)))
    rows, columns = (slice(max(p - reach, 0), min(p + reach + 1, size)) for p in place)
    window = rows, columns
    y, x = np.ogrid[window]
    y, x = y - place[0], x - place[1]
    u, v = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    # Nearly the distance from the rim, along the shorter axis just that.
    inwards = (1 - np.hypot(u / axes[0], v / axes[1])) * min(axes)
    return window, np.clip(inwards / rim + 0.5, 0, 1).astype(np.float32)
