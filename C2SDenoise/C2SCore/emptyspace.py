"""What the empty space around the tissue shows of a scan's noise: whether it is that of a magnitude, and its level."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from C2SCore.masked import cut_away
from C2SCore.tissue import box_mean

SAMPLED = 12  # slices that are looked at
SIDE = 9  # pixels: of the squares that show whether space is empty, and in which there is no tissue
EMPTY = 1.4  # mean square of such a square over that of noise alone, from which it is not
ROUNDS = 5
SETTLED = 1e-4  # change of the level from which no further round is worth its time
FEWEST, ENOUGH = 500, 200_000  # voxels: for any answer, and that are looked at
LOOKED_AT, TIED = 10_000, 0.25  # values; share of them that differ, up to which they were rounded
NEGATIVE = (0.2, 0.6)  # share of the values that are negative, where noise goes both ways
LOPSIDED = 0.04  # of the quartiles' distance: by how much more the upper may be away from the median; Rayleigh: 0.076
MAD_TO_SIGMA = 1.4826  # sigma over the median absolute deviation of Gaussian noise
RAYLEIGH_MEDIAN = 1.1774  # of sigma
RAYLEIGH_QUARTILES = 0.906  # of sigma: their distance
RAYLEIGH_DEVIATION = 0.655  # of sigma
ROUGH = 0.9  # of that: what squares of white noise show, 0.98, less chance


class EmptySpace:
    """Voxels of some slices of (K, J, I) that are 4 pixels and more away from the foreground `mask`, and where nothing
    was cut away, as a face is; gathered once for everything that is asked of them.
    """

    def __init__(self, volume: np.ndarray, mask: np.ndarray) -> None:
        few = slice(None, None, max(1, len(mask) // SAMPLED))
        self._part = volume[few]
        away = np.flatnonzero((box_mean(mask[few], SIDE) == 0) & ~cut_away(self._part))
        self._away = away[:: max(1, -(-away.size // ENOUGH))]
        self.stored = self._part.reshape(-1)[self._away]
        self.step = _step(self.stored)
        self._found: dict[bool, float] = {}
        # Each somewhere within its step: a median of whole numbers is one itself, of weak noise up to a tenth off.
        within = np.random.default_rng(0).random(self.stored.shape, dtype=np.float32) - np.float32(0.5)
        self.values = self.stored + self.step * within if self.step else self.stored

    def sigma(self, magnitude: bool = True) -> float:
        """The level of noise that is Rayleigh distributed, as a magnitude's, or else goes both ways; 0 if there is no
        such space.
        """
        if magnitude not in self._found:
            self._found[magnitude] = self._level(magnitude)
        return self._found[magnitude]

    def _level(self, magnitude: bool) -> float:
        sigma, centre, values = math.inf, 0.0, self.values
        for _ in range(ROUNDS):
            # Dark tissue, as skin where fat is suppressed, is no foreground, but it shines more than noise does.
            values = self.values[self._power(centre) < EMPTY * (2 if magnitude else 1) * sigma**2]
            if values.size < FEWEST:
                return 0.0
            before, middle = sigma, float(np.median(values))
            if magnitude:
                sigma = middle / RAYLEIGH_MEDIAN
            else:
                sigma, centre = MAD_TO_SIGMA * float(np.median(np.abs(values - middle))), middle
            if abs(sigma - before) <= SETTLED * sigma:
                break
        return sigma if magnitude or _both_ways(values) else 0.0

    def is_magnitude(self, sigma: float) -> bool:
        """Whether this looks like the magnitude of complex noise of level sigma > 0 (Rayleigh: mean 1.25 sigma, spread
        0.655 sigma, nothing negative).
        """
        values, stored = self.values, self.stored
        if values.size < FEWEST:
            return False
        # Zeros beyond what rounding makes: the background was masked, or windowed to a range that begins above 0. Then
        # an unknown offset is gone, and the statistics of a magnitude no longer hold.
        rounded = 1 - np.exp(-((self.step / 2 / sigma) ** 2) / 2)
        if (stored == 0).mean() > 3 * rounded + 0.003:
            return False
        low, high = np.quantile(values, (0.25, 0.75))
        spread = (high - low) / (RAYLEIGH_QUARTILES * sigma)
        return bool(0.7 < np.median(values) / (RAYLEIGH_MEDIAN * sigma) < 1.4 and 0.6 < spread < 1.6)

    def is_rough(self, sigma: float) -> bool:
        """Whether values differ from pixel to pixel as much as a magnitude's white noise of level sigma > 0 does. Dark
        tissue, as fluid in a part cut out of a head, differs from place to place.
        """
        _, mean, mean_square = self._moments
        within = np.sqrt(np.maximum(mean_square - np.square(mean), 0)[self._power(0.0) < EMPTY * 2 * sigma**2])
        return within.size >= FEWEST and bool(np.median(within) > ROUGH * RAYLEIGH_DEVIATION * sigma)

    @cached_property
    def _moments(self) -> tuple[np.float32, np.ndarray, np.ndarray]:
        """The middle of the values; their mean and mean square about it over the square around each."""
        # About their middle, so that an offset far above the noise does not drown it in rounding.
        middle = np.float32(np.median(self.values)) if self.values.size else np.float32(0)
        about = self._part - middle
        mean, mean_square = (box_mean(v, SIDE).reshape(-1)[self._away] for v in (about, np.square(about)))
        return middle, mean, mean_square

    def _power(self, centre: float) -> np.ndarray:
        """Mean square about `centre` over the square around each of the values."""
        middle, mean, mean_square = self._moments
        shift = middle - np.float32(centre)
        return mean_square + 2 * shift * mean + shift**2


def _step(stored: np.ndarray) -> np.float32:
    """The step to which values were rounded, as to whole numbers, 0 where they were not; also where the noise has so
    many steps that it does not matter.
    """
    several = np.unique(stored[:: max(1, stored.size // LOOKED_AT)])
    if several.size < 2 or several.size > TIED * min(stored.size, LOOKED_AT):
        return np.float32(0)
    return np.float32(np.median(np.diff(several)))


def _both_ways(values: np.ndarray) -> bool:
    """Whether values in empty space are those of Gaussian noise, and not of a magnitude that was shifted."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return bool(NEGATIVE[0] < (values < 0).mean() < NEGATIVE[1] and low + high - 2 * middle < LOPSIDED * (high - low))
