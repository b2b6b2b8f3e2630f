"""Noise that is stronger in some places of the plane than in others, from one scan.

Parallel imaging and the correction of coil intensities leave noise whose level varies smoothly. Its shape is first
taken from the flattest squares in cells of the plane, all slices together; what smoothing over cells flattens, rounds
with the model bring back, by the identity of refining.py in every cell.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from C2SCore.noise import QUANTILE, HighPassed

CELLS = 9  # along either axis of the foreground's bounding box
FEWEST = 1000  # pixels of all slices that a cell needs, of interpolated images as many independent ones
BANDWIDTH = 0.8  # of a cell: standard deviation of the kernel
# Largest over smallest level (of the middle 96 % of the tissue) from which the noise is taken to vary; the first
# estimate is flattened by the cells.
SUSPECTED, CLEAR = 1.3, 1.5
ROUNDS = 3

Moments = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Cells:
    """A grid of cells over the foreground's bounding box; `seen` (J, I) is the foreground of all slices."""

    def __init__(self, seen: np.ndarray) -> None:
        self.seen = seen
        self.edges = [_edges(np.asarray(seen.any(axis=1 - axis))) for axis in range(2)]
        self.kernels = [_kernel(count, edges) for count, edges in zip(seen.shape, self.edges)]

    def each(self, of: Callable[[tuple[slice, slice, slice]], tuple[float, float]]) -> np.ndarray:
        """Logarithm of a level over the plane, (J, I), from `of` a cell: (logarithm, weight)."""
        rows, columns = self.edges
        found = [
            [of((slice(None), slice(*rows[j : j + 2]), slice(*columns[i : i + 2]))) for i in range(CELLS)]
            for j in range(CELLS)
        ]
        logs, weights = np.moveaxis(np.array(found), 2, 0)
        across, along = self.kernels
        total = across @ weights @ along.T
        return (across @ (weights * logs) @ along.T) / np.maximum(total, 1e-12 * max(float(total.max()), 1e-30))

    def shape(self, logs: np.ndarray) -> np.ndarray:
        """The level with a median of 1 in the foreground, and nothing beyond what the foreground shows."""
        low, middle, high = np.quantile(logs[self.seen], (0.02, 0.5, 0.98))
        return np.exp(np.clip(logs, low, high) - middle)


def noise_shape(passed: HighPassed, mask: np.ndarray) -> np.ndarray | None:
    """Noise level over the plane, (J, I), with a median of 1 in the foreground `mask` (K, J, I); None if it does not
    clearly vary, or if there is too little tissue to tell.
    """
    fewest = FEWEST / passed.density
    if passed.inside.sum() < CELLS**2 * fewest:
        return None

    def level(cell: tuple[slice, slice, slice]) -> tuple[float, float]:
        values = passed.local[cell][passed.inside[cell]]
        if values.size < fewest:
            return 0.0, 0.0
        return 0.5 * float(np.log(max(float(np.quantile(values, QUANTILE)), 1e-30))), float(values.size)

    cells = Cells(np.asarray(mask.any(axis=0)))
    shape = cells.shape(cells.each(level))
    return shape if span(shape) > SUSPECTED else None


def refine_shape(shape: np.ndarray, mask: np.ndarray, moments: Moments) -> np.ndarray:
    """The shape (J, I) at which the model's residual has the variance that it should have in every cell.

    `moments(shape)` gives the square of the residual and its expectation at an assumed shape, both (K, J, I) in units
    of the assumed noise; `mask` (K, J, I) is where they count.
    """
    cells = Cells(np.asarray(mask.any(axis=0)))
    logs = np.log(shape)
    for _ in range(ROUNDS):
        residual, expected = moments(np.exp(logs))

        def excess(
            cell: tuple[slice, slice, slice], residual: np.ndarray = residual, expected: np.ndarray = expected
        ) -> tuple[float, float]:
            inside = mask[cell]
            count = float(inside.sum())
            if count < FEWEST:
                return 0.0, 0.0
            ratio = residual[cell][inside].sum() / max(float(expected[cell][inside].sum()), 0.05 * count)
            return 0.5 * float(np.log(np.clip(ratio, 0.25, 4))), count

        logs = np.log(cells.shape(logs + cells.each(excess)))
    return np.exp(logs)


def span(shape: np.ndarray) -> float:
    """Largest over smallest level."""
    return float(shape.max() / shape.min())


def _edges(seen: np.ndarray) -> np.ndarray:
    places = np.flatnonzero(seen)
    return np.linspace(places[0], places[-1] + 1, CELLS + 1).astype(int)


def _kernel(count: int, edges: np.ndarray) -> np.ndarray:
    """Weights (count, CELLS) of the cells' centres at every pixel."""
    centres, side = (edges[1:] + edges[:-1]) / 2, max((edges[-1] - edges[0]) / CELLS, 1)
    # Far outside, all weights of a Gaussian would vanish.
    distance = (np.clip(np.arange(count), edges[0], edges[-1])[:, None] - centres) / side
    return np.exp(-0.5 * (distance / BANDWIDTH) ** 2)
