"""The card of a model that is being trained, as far as it is known beforehand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from C2SCore.card import Card
from C2SCore.config import TrainConfig
from C2SCore.patches import Case


def drafted(given: dict[str, Any], cases: Sequence[Case], config: TrainConfig, out: Path) -> Card:
    """What the data and the recipe say, over which the words `given` by the caller go."""
    sigmas = np.concatenate([case.sigmas / case.signal for case in cases])
    if config.levels.density == "range":
        span = (max(config.levels.sigma_range[0], float(sigmas.min())), config.levels.sigma_range[1])
    else:
        span = (float(sigmas.min()), float(sigmas.max() * math.hypot(1, config.levels.tau_max)))
    coloured = sum(not case.spectrum.white for case in cases)
    facts: dict[str, Any] = {
        "name": out.stem,
        "trained_on": tuple(dict.fromkeys(case.name for case in cases)),
        "slices": sum(len(case.slices) for case in cases),
        "sigma_range": span,
        "intensity_range": (
            min(case.span[0] for case in cases),
            max(case.span[1] for case in cases),
        ),
        "noise": f"spectrum {config.noise.spectrum}: {coloured} of {len(cases)} scans band-limited; "
        + _words(config.noise),
        "loss": f"GDSM: {_words(config.loss)}; levels: {_words(config.levels)}",
        # Shared with the model: the folders of whoever trained it are nobody's business.
        "config": config.to_dict() | {"initial": Path(config.initial).name},
    }
    return Card(**(facts | given))


def _words(settings: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(settings).items())
