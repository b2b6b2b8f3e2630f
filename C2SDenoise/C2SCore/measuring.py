"""What is measured of a scan before anything is learnt from it; kept in a file, so that it is measured once.

What is kept goes by the voxels themselves and not by path and date: folders are moved, and the scans of one archive may
share name, size and date.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from C2SCore import noise, tissue
from C2SCore import spectrum as spectra
from C2SCore.errors import NoScan, UserError
from C2SCore.noise import HighPassed
from C2SCore.spectrum import BINS, Spectrum, estimate_spectrum, white_spectrum
from C2SCore.tissue import foreground, signal_level, thickest
from C2SCore.zeropoint import zero_point

SPECTRUM_SLICES = 12  # that a spectrum is taken from
RARE = 0.05  # share of a map of probabilities that is above 0; in a scan without its background, some 0.1 at least
NEARLY = 0.99  # of the largest value
CROWDED = 0.1  # share of the voxels above 0 with nearly the largest value; in a scan cut off at a percentile, some 0.03
FEW_VALUES = 8  # different values, up to which a volume is a mask or a label map
FEW_VOXELS = 1024  # up to which all are looked at, as a part of them may show too few values


@dataclass(frozen=True)
class Measurement:
    """Of a volume (K, J, I), in its own unit.

    `signal`: tissue median; `sigmas` (K,): noise level of every slice, empty where it was not asked for; `correlation`:
    of the noise of neighbouring slices, -1 to 1; `powers` (K,): mean squares; `areas` (K,): share that is tissue.
    """

    signal: float
    spectrum: Spectrum
    sigmas: np.ndarray
    correlation: float
    powers: np.ndarray
    areas: np.ndarray
    low: float
    high: float

    def to_json(self) -> str:
        """Text that gives back the same numbers, bit for bit."""
        values = {name: getattr(self, name) for name in ("signal", "correlation", "low", "high")}
        for name in ("sigmas", "powers", "areas"):
            values[name] = getattr(self, name).tolist()
        return json.dumps(values | {"rows": self.spectrum.rows.tolist(), "columns": self.spectrum.columns.tolist()})

    @classmethod
    def from_json(cls, text: str) -> Measurement:
        """Inverse of `to_json`; raises ValueError, KeyError or TypeError for anything else."""
        values = json.loads(text)
        sigmas, powers, areas, rows, columns = (
            np.array(values[name], dtype=np.float64) for name in ("sigmas", "powers", "areas", "rows", "columns")
        )
        signal, correlation, low, high = (float(values[name]) for name in ("signal", "correlation", "low", "high"))
        if {len(rows), len(columns)} != {BINS} or len(areas) != len(powers) or len(sigmas) not in (0, len(powers)):
            raise ValueError("numbers are missing")
        return cls(signal, Spectrum(rows, columns), sigmas, correlation, powers, areas, low, high)


def check_values(name: str, volume: np.ndarray) -> None:
    """Raise `UserError` for a volume (K, J, I) that is no scan as it was made: a mask, a map of labels or of
    probabilities, z-scores.
    """
    check_no_map(name, volume)
    if zero := zero_point(volume):
        raise UserError(
            f"{name} has its empty space or darkest tissue at {zero:.3g}; a training scan must have it at 0. Give the "
            "scan as it was before its intensities were normalised."
        )


def check_no_map(name: str, volume: np.ndarray) -> None:
    """Raise `NoScan` for a volume (K, J, I) of labels or of probabilities."""
    part = volume if volume.size <= FEW_VOXELS else volume[:: max(1, len(volume) // 4), ::2, ::2]
    count = np.unique(part).size
    if count <= FEW_VALUES:
        raise NoScan(
            f"{name} has only {count} different values, so it seems to be a mask or a label map and no scan. Leave it "
            "out."
        )
    if _probabilities(part):
        raise NoScan(
            f"{name} has values from 0 to 1, and is nearly 0 or 1 in most places, so it seems to be a map of "
            "probabilities and no scan. Leave it out; a scan after all, multiply it by 100."
        )


def _probabilities(values: np.ndarray) -> bool:
    """Whether these are between 0 and 1 and hardly anywhere above 0, or crowded at the largest of them."""
    top = float(values.max())
    if not 0 < top <= 1 or float(values.min()) < 0:
        return False
    seen = values[values > 0]
    return seen.size < RARE * values.size or bool(np.mean(seen >= NEARLY * top) > CROWDED)


class Refine(Protocol):
    """Finds sigma of every slice, (K,), of a volume (K, J, I); `mark` tells one such way from another."""

    @property
    def mark(self) -> str: ...

    def __call__(self, volume: np.ndarray) -> np.ndarray: ...


def measure(
    volume: np.ndarray,
    spectrum: str = "auto",
    levels: bool = True,
    cache: Cache | None = None,
    refine: Refine | None = None,
) -> Measurement:
    """Measure (K, J, I) float32, finite, unless `cache` has it.

    `spectrum` is "auto" or "white"; without `levels` no noise level is measured, for scans whose level is known;
    `refine` finds better levels than the high-pass filter does.
    """
    key = f"{digest(volume)} {spectrum} {'levels' if levels else 'none'} {_estimator()}"
    found = _kept(cache, key, lambda: _measured(volume, spectrum, levels))
    if refine is None or not levels or not _usable(found):
        return found
    better = _kept(cache, f"{key} {refine.mark}", lambda: replace(found, sigmas=refine(volume)))
    return better if _usable(better) else found


def _kept(cache: Cache | None, key: str, make: Callable[[], Measurement]) -> Measurement:
    """What the cache has under this key, or what is made now."""
    found = cache.get(key) if cache is not None else None
    if found is None:
        found = make()
        if cache is not None and _usable(found):
            cache.put(key, found)
    return found


def _usable(found: Measurement) -> bool:
    """Whether something can be learnt from the scan."""
    return found.signal > 0 and bool((found.sigmas > 0).all())


def _measured(volume: np.ndarray, spectrum: str, levels: bool) -> Measurement:
    mask = foreground(volume)
    colour, sigmas, correlation = white_spectrum(), np.zeros(len(volume) if levels else 0), 0.0
    if mask.any():
        if spectrum == "auto":
            rows = thickest(mask)
            rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), SPECTRUM_SLICES)).round().astype(int)]
            colour = estimate_spectrum(volume[rows], mask[rows])
        passed = HighPassed(volume, mask, colour)
        if levels:
            sigmas = passed.slice_sigmas(passed.sigma(thickest(mask)))
        correlation = passed.slice_correlation(mask)
    return Measurement(
        signal=signal_level(volume, mask),
        spectrum=colour,
        sigmas=sigmas,
        correlation=correlation,
        powers=np.mean(np.square(volume, dtype=np.float64), axis=(1, 2)),
        areas=mask.mean(axis=(1, 2)),
        low=float(volume.min()),
        high=float(volume.max()),
    )


class Cache:
    """Measurements in a file, a line each, so that a kill costs at most the last one.

    What cannot be read is passed over: it is measured again. A file that cannot be written is no fault.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, tuple[str, str]] = {}  # key -> checksum and measurement, as text
        with contextlib.suppress(OSError):
            for line in path.read_bytes().decode("utf-8", errors="replace").splitlines():
                parts = line.split("\t")
                if len(parts) == 3:
                    self._lines[parts[1]] = (parts[0], parts[2])

    def get(self, key: str) -> Measurement | None:
        """What was kept under this key; None where there is nothing, or nothing whole."""
        checksum, text = self._lines.get(key, ("", ""))
        if checksum != _checksum(key, text):
            return None
        try:
            return Measurement.from_json(text)
        except (ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, found: Measurement) -> None:
        """Keep it, in the file too."""
        text = found.to_json()
        self._lines[key] = (_checksum(key, text), text)
        # A line that a kill has cut ends before ours begins.
        with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as file:
            file.write(f"\n{_checksum(key, text)}\t{key}\t{text}\n")


def _checksum(key: str, text: str) -> str:
    return f"{zlib.crc32(f'{key} {text}'.encode()):08x}"


def digest(volume: np.ndarray) -> str:
    """What no other voxels have."""
    found = hashlib.blake2b(repr(volume.shape).encode(), digest_size=16)
    found.update(np.ascontiguousarray(volume, dtype=np.float32).data)
    return found.hexdigest()


@functools.cache
def _estimator() -> str:
    """Changes with the code that measures, so that no number of an older program is taken for a newer one's."""
    text = "".join(source_text(module) for module in (tissue, spectra, noise, sys.modules[__name__]))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def source_text(module: Any) -> str:
    """The module's code, or the version of the program where there is none."""
    try:
        return inspect.getsource(module)
    except OSError:  # compiled only
        from C2SCore import __version__

        return __version__
