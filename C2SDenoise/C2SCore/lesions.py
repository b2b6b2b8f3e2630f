"""Small lesions laid into training patches, so that a model does not take what is small and rare for noise.

x_d + b is a noisy image of x_0 + b, with the same noise: nothing that the loss rests on changes.
"""

from __future__ import annotations

import math
from itertools import islice

import numpy as np

MOST = 3  # in one patch
DIAMETERS = (1.0, 8.0)  # pixels, of either axis
CONTRASTS = (0.03, 1.0)  # of the tissue signal, brighter or darker
RIMS = (1.0, 2.0)  # pixels, over which partial volume blurs the rim
REACH = math.ceil(DIAMETERS[1] / 2 * (1 + RIMS[1] / DIAMETERS[0]))  # pixels from its middle that a lesion has at most
DARKEST = 0.9  # of the tissue there: no lesion is darker than empty space
TISSUE = 0.3  # of the tissue signal
TRIES = 8
BESIDE = 0.4  # chance that a neighbouring slice or another contrast shows it as well
FAINTER = (0.3, 1.0)  # of its contrast, in a neighbouring slice


def add_lesions(x: np.ndarray, contrasts: np.ndarray, fraction: float, rng: np.random.Generator) -> None:
    """Lay ellipses into `fraction` of the rows of x (N, 1 + 2 neighbours, P, P), in units of the tissue signal, and of
    contrasts (N, C, P, P); what is empty, as an absent neighbour is, stays empty.
    """
    side, channels = x.shape[-1], x.shape[1]
    rows = np.flatnonzero(rng.random(len(x)) < fraction)
    counts = rng.integers(1, MOST + 1, size=len(rows))
    n = int(counts.sum())
    # All that is random at once: one by one, ellipses and numbers took several times as long.
    tries, ellipses = rng.integers(side, size=(n, TRIES, 2)), _ellipses(n, rng)
    wanted = _contrasts((n, channels + contrasts.shape[1]), rng)
    wanted[:, 1:channels] = wanted[:, :1]
    shares = (rng.random(wanted.shape) < BESIDE).astype(np.float64)
    shares[:, 0] = 1
    shares[:, 1:channels] *= rng.uniform(*FAINTER, (n, channels - 1))
    drawn = zip(tries.tolist(), ellipses, wanted.tolist(), shares.tolist())
    for row, count in zip(rows, counts):
        planes = [*x[row], *contrasts[row]]
        for places, ellipse, strengths, parts in islice(drawn, count):
            place = next(((j, i) for j, i in places if planes[0][j, i] > TISSUE), None)
            if place is None:
                break
            for plane, strength, part in zip(planes, strengths, parts):
                if part and (plane[place] or plane.any()):
                    _add(plane, ellipse, place, max(strength, -DARKEST * float(plane[place])) * part)


def _add(plane: np.ndarray, ellipse: np.ndarray, place: tuple[int, int], strength: float) -> None:
    """Lay an ellipse in the middle of its window over `place`; what lies beyond the plane is lost."""
    j, i = (p - REACH for p in place)
    inside = plane[max(j, 0) : j + len(ellipse), max(i, 0) : i + len(ellipse)]
    height, width = inside.shape
    top, left = max(-j, 0), max(-i, 0)
    inside += strength * ellipse[top : top + height, left : left + width]


def _contrasts(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return _log_uniform(CONTRASTS, shape, rng) * rng.choice([-1, 1], shape)


def _log_uniform(limits: tuple[float, float], shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return np.exp(rng.uniform(math.log(limits[0]), math.log(limits[1]), shape))


def _ellipses(n: int, rng: np.random.Generator) -> np.ndarray:
    """n ellipses: 1 inside, 0 outside, (n, 2 REACH + 1, 2 REACH + 1) float32."""
    axes, angle = _log_uniform(DIAMETERS, (2, n), rng) / 2, rng.uniform(0, np.pi, n)
    a, b, cos, sin, rim = (
        v.astype(np.float32)[:, None, None] for v in (*axes, np.cos(angle), np.sin(angle), rng.uniform(*RIMS, n))
    )
    x = np.arange(-REACH, REACH + 1, dtype=np.float32)
    y = x[:, None]
    # Nearly the distance from the rim, along the shorter axis just that.
    inwards = (1 - np.hypot((cos * x + sin * y) / a, (cos * y - sin * x) / b)) * np.minimum(a, b)
    return np.clip(inwards / rim + np.float32(0.5), 0, 1)
