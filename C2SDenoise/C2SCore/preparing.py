"""Scans made ready for a training: measured, and refused where nothing can be learnt from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from C2SCore.config import TrainConfig
from C2SCore.device import choose_device
from C2SCore.errors import Cancelled, UserError
from C2SCore.events import Log, Message, Progress
from C2SCore.measuring import Cache
from C2SCore.modellevels import ModelLevels
from C2SCore.noise import shared_noise
from C2SCore.patches import Case

LISTED = 5  # errors that are told at once
SHARED = 0.5  # correlation of a contrast's noise with the scan's, from which it seems to be the same


def prepare(
    cases: Sequence[Case],
    config: TrainConfig,
    cache: Cache,
    emit: Callable[[Message], None],
    cancelled: Callable[[], bool],
    device: str = "",
) -> list[Case]:
    """Measure the cases on a `device` (empty: the best there is); returns those that something can be learnt from.

    Raises `UserError` that names all the others, unless they are `optional`: these are left out, and the log says so.
    Raises `Cancelled` where `cancelled()` turns true.
    """
    usable: list[Case] = []
    problems: list[str] = []
    refine = ModelLevels(choose_device(device or "auto"))
    for n, case in enumerate(cases):
        emit(Progress("", "prepare", n, len(cases), device=device))
        if cancelled():
            raise Cancelled
        try:
            _check_contrasts(case)
            case.prepare(config.noise.spectrum, config.noise.known, cache, refine)
            usable.append(case)
            _tell_shared_noise(case, emit)
        except UserError as error:
            if case.optional:
                emit(Log(f"Left out: {error}"))
            else:
                problems.append(str(error))
    if problems:
        raise UserError(listed(problems))
    if not usable:
        raise UserError("Nothing can be learnt from any of the scans. The log says why; add others.")
    return usable


def _check_contrasts(case: Case) -> None:
    """Raises `UserError` for a scan that is to help itself."""
    if any(np.array_equal(other, case.target) for other in case.auxiliary):
        raise UserError(
            f"A contrast beside {case.name} is that scan itself, whose noise the model would learn to copy; it must be "
            "an image of its own. Give another, or none."
        )


def _tell_shared_noise(case: Case, emit: Callable[[Message], None]) -> None:
    for number, other in enumerate(case.auxiliary, 1):
        found = shared_noise(np.asarray(case.target, np.float32), np.asarray(other, np.float32))
        if abs(found) > SHARED:
            emit(
                Log(
                    f"What looks like noise in {case.name} is nearly the same in its further contrast {number} "
                    f"(correlation {found:.2f}). If one was computed from the other, the model learns to keep the "
                    "noise: then leave that contrast out."
                )
            )


def listed(problems: Sequence[str]) -> str:
    """Several errors as one text."""
    rest = len(problems) - LISTED
    return "\n".join([*problems[:LISTED], *([f"And {rest} more like these."] if rest > 0 else [])])
