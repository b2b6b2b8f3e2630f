"""Whether scans are those that a training has learnt from: with others, it would go on as another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from C2SCore.errors import UserError
from C2SCore.guidance import first
from C2SCore.measuring import digest
from C2SCore.patches import Case

NEARLY = 1e-5  # of its root mean square: what another machine may read otherwise of k-space, or resample otherwise


def marks(case: Case) -> list[list[Any]]:
    """What the voxels of the scan and of its contrasts are recognised by, ready for JSON."""
    return [_mark(np.asarray(volume, dtype=np.float32)) for volume in (case.target, *case.auxiliary)]


def same_scans(cases: Sequence[Case], known: Sequence[Sequence[Any]], out: Path) -> list[Case]:
    """The cases whose names and `marks` are `known`, in that order; those found in a folder beside them are left out.

    Raises `UserError` that names those which changed or are not there.
    """
    found: list[Case] = []
    changed: list[str] = []
    rest = [(case, marks(case)) for case in cases]
    for n, (name, before) in enumerate(known):
        others = [rest[n]] if len(cases) == len(known) else rest
        fits = (case for case, now in others if (case.name == name or len(others) == 1) and _agree(before, now))
        case = next((case for case in fits if not any(case is one for one in found)), None)
        if case is None:
            changed.append(str(name))
        else:
            found.append(case)
    more = [case.name for case in cases if not case.optional and not any(case is one for one in found)]
    if changed or more:
        what = "changed, or cannot be used any more" if changed else "came"
        new = f"start a new training, from its model if you like (--initial {out})" if out.exists() else "start anew"
        raise UserError(
            f"Since the training {out.stem} began, these scans {what}: {first(changed or more)}. It goes on only with "
            f"the very voxels that it learnt from. Give the scans as they were, or {new} under another name."
        )
    return found


def _mark(volume: np.ndarray) -> list[Any]:
    """A digest, then numbers that hardly change where the same voxels are computed by other libraries."""
    numbers = []
    if volume.ndim == 3:
        numbers.append(np.sqrt(np.mean(np.square(volume, dtype=np.float64))))
        for axis in range(3):
            line = volume.mean(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
            numbers.append(np.mean(line * np.linspace(0, 1, len(line))))
    return [digest(volume), *map(float, numbers)]


def _agree(before: Sequence[Sequence[Any]], now: Sequence[Sequence[Any]]) -> bool:
    return len(before) == len(now) and all(
        a[0] == b[0] or (len(a) == len(b) > 1 and np.allclose(a[1:], b[1:], rtol=0, atol=NEARLY * a[1]))
        for a, b in zip(before, now)
    )
