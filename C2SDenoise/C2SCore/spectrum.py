"""The spectrum of the noise, from one image.

MR noise is white in the acquired part of k-space and absent outside it; what a scanner does there (a window against
ringing, zeros around it, interpolation) shapes noise and anatomy alike. Small blocks of tissue hold little anatomy, and
half of them hold hardly any: the lower quartile of their power, frequency by frequency, has the shape of the noise's.
The window of the usual families that explains it best, seen through the blocks' resolution, is taken for the spectrum.
Empty space is no substitute: a magnitude spreads noise there over frequencies that it does not have in tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from C2SCore.tissue import foreground, thickest

BINS = 65  # frequencies 0 ... 0.5 cycles per pixel
BLOCK = 16  # pixels: side of the blocks
NARROW = 0.25  # cycles per pixel: highest frequency with much noise, below which blocks of twice the side are taken
FEWEST = 16  # blocks
BRIGHTEST = 64  # blocks, where fewer than FEWEST are all tissue
MOST = 4000
QUARTILE = 0.25
MUCH = 0.2  # of the noise's power
LOW = 0.5  # of an axis' highest frequency with MUCH noise, from which the other axis is looked at
ROUNDS = 3
LEAST = 0.003  # of the blocks' power: differences below do not count
FLOORS = (0.0, 0.01, 0.03)  # of the blocks' power, at every frequency: what rounding and magnitudes leave
STEEPEST = 1.5  # exponent of the anatomy's power that is left in the blocks
COMPLEXITY = 0.004  # of the mean square difference of logarithms, for each parameter of a window
FINE = 257  # frequencies of the windows when they are compared


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Noise power along the two in-plane axes, separable: S(f_row, f_column) = rows(|f_row|) columns(|f_column|).

    `rows` and `columns` have BINS values from frequency 0 to 0.5 cycles per pixel; the largest of each is about 1.
    """

    rows: np.ndarray
    columns: np.ndarray

    @property
    def white(self) -> bool:
        return bool(min(self.rows.min(), self.columns.min()) > 0.5)

    def power(self, height: int, width: int) -> np.ndarray:
        """S on the grid of `np.fft.fft2`, (height, width), scaled to a mean of 1: noise of unit variance."""
        return np.outer(*self.profiles(height, width))

    def profiles(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The factors of `power` along rows and columns, (height,) and (width,), each with a mean of 1."""
        return _profiles(self, height, width)


def white_spectrum() -> Spectrum:
    """The same power at every frequency."""
    return Spectrum(np.ones(BINS), np.ones(BINS))


@lru_cache(maxsize=4096)  # every patch that is drawn for a training asks
def _profiles(spectrum: Spectrum, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = _sample(spectrum.rows, height), _sample(spectrum.columns, width)
    return rows / rows.mean(), columns / columns.mean()


def _sample(profile: np.ndarray, n: int) -> np.ndarray:
    return np.interp(np.abs(np.fft.fftfreq(n)), np.linspace(0, 0.5, BINS), profile)


def estimate_spectrum(volume: np.ndarray, mask: np.ndarray | None = None) -> Spectrum:
    """The spectrum of the noise in (K, J, I); white where there is too little tissue to tell."""
    mask = foreground(volume) if mask is None else mask
    chosen = thickest(mask)
    slices, inside = volume[chosen], mask[chosen]
    found, edges = white_spectrum(), (0.3, 0.3)
    for side in (BLOCK, 2 * BLOCK):
        power, count = _block_power(slices, inside, side)
        if count < FEWEST or not power.max() > 0:
            return found
        found, edges = _fitted(power, count, edges)
        if min(edges) > NARROW:
            break
    return found


def _block_power(slices: np.ndarray, mask: np.ndarray, side: int) -> tuple[np.ndarray, int]:
    """Power of blocks of side x side pixels that are all tissue, or of the brightest where these are too few.

    Returns the lower quartile at k / side cycles per pixel along rows and columns, (side / 2 + 1, side / 2 + 1), and
    the number of blocks.
    """
    step, half = max(1, side // 2), side // 2 + 1
    if min(slices.shape[1:]) < side:
        return np.zeros((half, half)), 0
    views, covers = (sliding_window_view(v, (side, side), axis=(1, 2))[:, ::step, ::step] for v in (slices, mask))
    places = np.argwhere(covers.all(axis=(3, 4)))
    if len(places) < FEWEST:  # as in a part cut out of a head, where a threshold divides tissue from tissue
        means = views.mean(axis=(3, 4))
        order = np.argsort(-means, axis=None, kind="stable")[:BRIGHTEST]
        places = np.argwhere(means >= means.flat[order[-1]])
    places = places[:: max(1, len(places) // MOST)]
    blocks = views[tuple(places.T)]
    blocks = (blocks - blocks.mean(axis=(1, 2), keepdims=True)) * np.outer(_taper(side), _taper(side))
    power = np.quantile(np.abs(np.fft.rfft2(blocks)) ** 2, QUARTILE, axis=0)
    # Frequencies k and -k of the rows, alike in separable noise, are two looks at one value.
    return (power + np.roll(power[::-1], 1, axis=0))[:half] / 2, len(places)


def _taper(side: int) -> np.ndarray:
    return np.hanning(side + 2)[1:-1].astype(np.float32)


def _fitted(power: np.ndarray, count: int, edges: tuple[float, float]) -> tuple[Spectrum, tuple[float, float]]:
    """The windows that explain the power of `count` blocks, and the highest frequencies with MUCH noise.

    Along one axis it is looked at only at high frequencies of the other, where there is little anatomy; which are high
    but not empty depends on that axis' window: a few rounds settle it. They begin at `edges`.
    """
    logs = np.log(power + 1e-12 * power.max())
    frequencies = np.arange(len(power)) / (2 * (len(power) - 1))
    for _ in range(ROUNDS):
        near = [(frequencies > LOW * edge) & (frequencies <= 0.95 * edge + frequencies[1] / 2) for edge in edges]
        for high in near:
            high[-1] = False  # where both frequencies are 0.5, the transform is real, and its quartile another one
        rows = _window(logs[:, near[1]].mean(axis=1), count)
        columns = _window(logs[near[0]].mean(axis=0), count)
        edges = _highest(rows, MUCH), _highest(columns, MUCH)
    return Spectrum(rows, columns), edges


def _highest(profile: np.ndarray, level: float) -> float:
    """The highest frequency up to which `profile` (BINS,) is above a level, cycles per pixel."""
    return float(np.linspace(0, 0.5, BINS)[np.flatnonzero(profile >= level)[-1]])


def _window(logs: np.ndarray, count: int) -> np.ndarray:
    """Power (BINS,) of the window that best explains the logarithm of the power at frequencies k of `count` blocks.

    The anatomy that is left falls as a power of the frequency; its exponent is fitted along, and so is the floor.
    """
    side = 2 * (len(logs) - 1)
    windows, seen, parameters = _windows(side)
    first = max(1, side // BLOCK)  # below, there is too much anatomy
    weights = np.ones(len(logs) - first)
    weights[0], weights[-1] = 0.3, 0.7
    weights /= weights.sum()
    values = np.exp(logs[first:] - logs[first:].max())
    values /= np.median(values[values > 0.25])
    seen = seen[:, first:] / seen[:, first:].max(axis=1, keepdims=True)
    expected = np.stack([seen + floor for floor in FLOORS])
    differences = np.log(values + LEAST) - np.log(expected + LEAST)
    differences -= (differences @ weights)[..., None]
    slope = -np.log(np.arange(first, len(logs)) + 0.5)
    slope -= weights @ slope
    exponents = np.clip(differences @ (weights * slope) / (weights @ slope**2), 0, STEEPEST)
    costs = ((differences - exponents[..., None] * slope) ** 2 @ weights).min(axis=0)
    return windows[np.argmin(costs + (COMPLEXITY + 1 / count) * parameters)]


@lru_cache(maxsize=2)
def _windows(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The windows tried: power (N, BINS); the power that blocks of `side` pixels show of it (N, side / 2 + 1); number
    of parameters (N,), 0 for none at all.

    Raised cosines from the plain edge (1) over Hamming's (0.08) to Hann's (0), which is linear interpolation, too;
    Tukey's, flat up to a share of the edge, beyond the end of k-space also, where they resemble Fermi's.
    """
    f = np.linspace(0, 0.5, FINE)
    made: list[tuple[np.ndarray, int]] = []
    for edge in np.arange(0.14, 0.62, 1 / 128):
        if edge > 0.5 - 1 / 256:
            cut, end = np.ones_like(f), max(edge, 0.5)
        else:
            cut, end = 1 / (1 + np.exp((f - edge) / 0.0025)), edge
        if edge < 0.5 + 1 / 256:
            for low in (0.0, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 1.0):
                gain = low + (1 - low) * np.cos(np.pi / 2 * np.minimum(f / end, 1)) ** 2
                made.append((gain**2 * cut, (end < 0.5) + (low < 1)))
        for flat in (0.3, 0.5, 0.7, 0.85):
            gain = 0.5 + 0.5 * np.cos(np.pi * np.clip((f / edge - flat) / (1 - flat), 0, 1))
            made.append((gain**2, 2))
    powers = np.stack([power for power, _ in made])
    # A block's power at a frequency is the spectrum's, averaged over the main lobe of the block's taper.
    size = 4 * (FINE - 1)
    lobe = np.abs(np.fft.fft(_taper(side), size)) ** 2
    full = np.stack([np.interp(np.abs(np.fft.fftfreq(size)), f, power) for power in powers])
    seen = np.fft.ifft(np.fft.fft(full, axis=1) * np.fft.fft(lobe / lobe.sum()), axis=1).real
    seen = np.maximum(seen[:, np.arange(side // 2 + 1) * size // side], 0)
    return powers[:, :: (FINE - 1) // (BINS - 1)], seen, np.array([count for _, count in made])
