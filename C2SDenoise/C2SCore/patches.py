"""Patches drawn lazily from noisy scans: one array lookup per patch, nothing is ever cut up beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from fnmatch import fnmatch

import numpy as np

from C2SCore import measuring
from C2SCore.errors import UserError
from C2SCore.guidance import HELD_BACK
from C2SCore.spectrum import Spectrum, white_spectrum

CORRELATED = 0.25  # above this, neighbouring slices share their noise and cannot help
TISSUE = 0.02  # share of a slice that must be tissue
TRIES = 4  # places looked at for a patch
BRIGHT = 0.4  # of the tissue signal: mean of the middle of a patch, from which it shows tissue
MOST_HELD = 64  # slices that are held back at most: enough to tell which state of a training is best


@dataclass
class Case:
    """One noisy scan with the other contrasts of the same anatomy.

    `target` (K, J, I) in the scan's own unit (an array or a memory map); `auxiliary` the same shape each; `sigma`
    overrides the estimate, a number or one per slice (K,), and `limit` bounds it; `isotropic` says that voxels are as
    thick as wide, so that slices along the other axes show anatomy too. Everything else is measured by `prepare`.
    """

    name: str
    target: np.ndarray
    auxiliary: Sequence[np.ndarray] = ()
    sigma: float | np.ndarray | None = None
    _: KW_ONLY
    source: str = ""  # where it came from, for `noise.known`
    group: str | None = None  # repetitions and sessions of one patient: held back together
    limit: float = math.inf
    optional: bool = False  # found in a folder, not named: left out if nothing can be learnt from it
    isotropic: bool = False
    sigmas: np.ndarray = field(default_factory=lambda: np.zeros(0))
    powers: np.ndarray = field(default_factory=lambda: np.zeros(0))  # mean square of every slice
    signal: float = 0.0
    span: tuple[float, float] = (0.0, 0.0)  # smallest and largest value
    spectrum: Spectrum = field(default_factory=white_spectrum)
    slices: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))
    scales: tuple[float, ...] = ()
    independent_slices: bool = True
    turned: Sequence[Case] = ()  # the same scan, its slices along J and along I, where it is isotropic

    def prepare(
        self,
        spectrum: str = "auto",
        known: dict[str, float] | None = None,
        cache: measuring.Cache | None = None,
        refine: measuring.Refine | None = None,
    ) -> None:
        """Measure noise level, spectrum and signal, or take them from `cache`, the level by `refine` if that is given;
        raises `UserError` for a scan that nothing can be learnt from.
        """
        volume = np.asarray(self.target, dtype=np.float32)
        if volume.ndim != 3:
            raise UserError(
                f"{self.name} has shape {volume.shape}; a training scan has slices, rows and columns. "
                "Give it as (K, J, I)."
            )
        for other in self.auxiliary:
            if np.shape(other) != volume.shape:
                raise UserError(
                    f"A contrast beside {self.name} has shape {np.shape(other)}, the scan "
                    f"{volume.shape}; they must be on one grid. Resample it."
                )
        for what, voxels in ((self.name, volume), *((f"A contrast beside {self.name}", v) for v in self.auxiliary)):
            if not np.isfinite(voxels).all():
                raise UserError(
                    f"{what} has NaN or infinite voxels; every voxel must be a number. Repair or leave out the scan."
                )
        share = None if self.sigma is not None else self._known(known or {})
        levels = self.sigma is None and share is None
        found = measuring.measure(volume, spectrum, levels, cache, refine)
        self.spectrum, self.signal, self.powers = found.spectrum, found.signal, found.powers
        self.span = (found.low, found.high)
        if levels:
            self.sigmas = np.minimum(found.sigmas, self.limit)
        else:
            given = self.sigma if share is None else share * self.signal
            self.sigmas = np.broadcast_to(np.asarray(given, dtype=np.float64), volume.shape[:1]).copy()
        if not (self.sigmas > 0).all() or not self.signal > 0:
            raise UserError(
                f"{self.name} shows no noise or no signal (sigma {self.sigmas.min():.3g}, signal "
                f"{self.signal:.3g}). Leave it out."
            )
        measuring.check_values(self.name, volume)
        self.independent_slices = found.correlation < CORRELATED
        self.slices = np.flatnonzero(found.areas > TISSUE)
        if self.slices.size == 0:
            raise UserError(f"{self.name} has no slice with tissue in more than {TISSUE:.0%} of it. Leave it out.")
        self.scales = tuple(float(np.sqrt(np.mean(np.square(a, dtype=np.float64)))) or 1.0 for a in self.auxiliary)
        self.turned = [self._along(axis, spectrum, cache) for axis in (1, 2)] if self.isotropic else ()

    def _along(self, axis: int, spectrum: str, cache: measuring.Cache | None) -> Case:
        others = [np.moveaxis(other, axis, 0) for other in self.auxiliary]
        case = Case(self.name, np.moveaxis(self.target, axis, 0), others, float(np.median(self.sigmas)))
        case.prepare(spectrum, cache=cache)
        case.signal = self.signal
        return case

    def _known(self, known: dict[str, float]) -> float | None:
        """The noise level that the recipe gives for this scan, as a share of its signal."""
        fits = (value for p, value in known.items() if fnmatch(self.source, p) or fnmatch(self.name, p))
        return next(fits, None)


@dataclass
class Batch:
    """Patches of N slices, in the unit of each scan divided by its tissue signal.

    x (N, 1 + 2 neighbours, P, P): the patch, then the slices below and above; contrasts (N, C, P, P) at root mean
    square 1; sigma_d, sigma_data (N,); profiles (N, 2, P): factors of the noise spectrum along rows and columns, on the
    FFT grid, each with a mean of 1; near (N,): whether neighbours may be used; window (N, 2, P): factors of the window
    in k-space that x and contrasts are still to get, or None.
    """

    x: np.ndarray
    contrasts: np.ndarray
    sigma_d: np.ndarray
    sigma_data: np.ndarray
    profiles: np.ndarray
    near: np.ndarray
    window: np.ndarray | None = None


class PatchSampler:
    """Draws batches from prepared cases. All randomness comes from the generator that is handed in.

    Patches of those held back are from slices along K alone: in slices along other axes, a network that trains meets
    them as single lines.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        patch: int,
        neighbours: int,
        held_back: Sequence[tuple[int, int]] = (),
        only_held: bool = False,
        background: float = 0.1,
    ):
        self.cases, self.patch, self.neighbours, self.background = cases, patch, neighbours, background
        self.turned = not only_held
        everything = [(c, int(k)) for c, case in enumerate(cases) for k in case.slices]
        held = set(held_back)
        self.index = [i for i in everything if (i in held) == only_held]
        if not self.index:
            raise UserError(
                "No slice is left to draw patches from. Add scans, or hold fewer slices back for validation."
            )

    def draw(self, n: int, rng: np.random.Generator, size: int | None = None) -> Batch:
        """n patches of `size` (default: patch) pixels, flipped and rotated at random."""
        size = size or self.patch
        batch = _empty(n, 1 + 2 * self.neighbours, len(self.cases[0].auxiliary), size)
        # All that is random at once: drawn one by one, the numbers took a third of the time.
        for row, chances in enumerate(rng.random((n, 4 + 3 * TRIES)).tolist()):
            self._fill(batch, row, chances)
        return batch

    def _fill(self, batch: Batch, row: int, chances: Sequence[float]) -> None:
        """Write one patch, which `chances`, numbers from 0 to 1, choose, to a row of the batch."""
        size = batch.x.shape[-1]
        which, axis, where, symmetry, *place = chances
        c, k = self.index[int(which * len(self.index))]
        case = self.cases[c]
        if case.turned and self.turned and (axis := int(axis * (1 + len(case.turned)))):  # each as often as the others
            case = case.turned[axis - 1]
            k = int(case.slices[int(where * len(case.slices))])
        volume = np.asarray(case.target)  # a memory map takes several times as long to index
        corner = self._place(volume[k], case.signal, size, place)
        turn, flip = divmod(int(8 * symmetry), 2)
        # A neighbour beyond the volume is absent: were it the slice itself, the network would copy its noise.
        for out, plane in zip(_turned(batch.x[row], turn, flip), [k, *(k - 1, k + 1) * self.neighbours]):
            if 0 <= plane < len(volume):
                _crop(volume[plane], corner, case.signal, out)
            else:
                out[...] = 0
        for out, other, scale in zip(_turned(batch.contrasts[row], turn, flip), case.auxiliary, case.scales):
            _crop(np.asarray(other)[k], corner, scale, out)
        sigma = case.sigmas[k] / case.signal
        batch.sigma_d[row] = sigma
        batch.sigma_data[row] = math.sqrt(max(case.powers[k] / case.signal**2 - sigma**2, 1e-6))
        # A spectrum is even in both frequencies: a turn only exchanges its axes.
        batch.profiles[row, turn % 2], batch.profiles[row, 1 - turn % 2] = case.spectrum.profiles(size, size)
        batch.near[row] = case.independent_slices

    def _place(self, plane: np.ndarray, signal: float, size: int, chances: Sequence[float]) -> tuple[int, int]:
        """A corner; mostly where there is signal, since empty background teaches little, but never only there."""
        height, width = plane.shape
        j = i = 0
        for t in range(0, 3 * TRIES, 3):
            j, i = int(chances[t] * (max(height - size, 0) + 1)), int(chances[t + 1] * (max(width - size, 0) + 1))
            centre = plane[j + size // 4 : j + 3 * size // 4 : 4, i + size // 4 : i + 3 * size // 4 : 4]
            if chances[t + 2] < self.background or centre.sum(dtype=np.float32) >= BRIGHT * signal * centre.size:
                break
        return j, i


def _empty(n: int, channels: int, contrasts: int, size: int) -> Batch:
    """A batch to be filled."""
    x, others, profiles = (
        np.empty(shape, dtype=np.float32)
        for shape in ((n, channels, size, size), (n, contrasts, size, size), (n, 2, size))
    )
    sigma_d, sigma_data = np.empty((2, n), dtype=np.float32)
    return Batch(x, others, sigma_d, sigma_data, profiles, np.empty(n, dtype=bool))


def _crop(plane: np.ndarray, corner: tuple[int, int], unit: float, out: np.ndarray) -> None:
    """Write a window of a plane to `out` (P, P), divided by `unit`, padded by reflection where the plane is smaller."""
    patch = plane[corner[0] : corner[0] + len(out), corner[1] : corner[1] + len(out)]
    height, width = patch.shape
    np.divide(patch, unit, out=out[:height, :width], dtype=np.float32)
    if patch.shape != out.shape:
        _reflect(out[:, :width], height)
        _reflect(out.T, width)


def _reflect(values: np.ndarray, n: int) -> None:
    """Fill what comes after the first n along the first axis, with the last first, again and again."""
    while n < len(values):
        more = min(n, len(values) - n)
        values[n : n + more] = values[n - more : n][::-1]
        n += more


def _turned(values: np.ndarray, turn: int, flip: int) -> np.ndarray:
    """A view of (..., P, P) in which patches are written so that they are flipped and then turned by `turn` quarters:
    the eight symmetries of the square.
    """
    if turn % 2:
        values = values.swapaxes(-2, -1)
    return values[..., :: -1 if turn > 1 else 1, :: -1 if (turn in (1, 2)) != flip else 1]


def hold_back(cases: Sequence[Case], fraction: float, seed: int) -> list[tuple[int, int]]:
    """(case, slice) pairs kept for validation: `fraction` of the slices, evenly spread, none next to another where
    that is possible. Scans of one group show the same anatomy: the same slice of all of them is held back. So it is of
    copies of one scan, whatever they are called.
    """
    places: dict[tuple[object, int], list[tuple[int, int]]] = {}
    groups: dict[object, object] = {}
    for c, case in enumerate(cases):
        group = groups.setdefault(case.powers.tobytes() or c, case.group or c)
        for k in case.slices:
            places.setdefault((group, int(k)), []).append((c, int(k)))
    units = list(places.values())
    if fraction <= 0 or len(units) < HELD_BACK:
        return []
    wanted = max(1, min(round(fraction * len(units)), MOST_HELD))
    offset = np.random.default_rng(seed).random()
    positions = ((np.arange(wanted) + offset) * len(units) / wanted).astype(int) % len(units)
    return [pair for p in sorted(set(positions.tolist())) for pair in units[p]]
