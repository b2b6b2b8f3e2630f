"""A model taught one scan for some minutes before it denoises that scan."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from C2SCore import config, events, training
from C2SCore.denoising import Options
from C2SCore.gridinputs import Level
from C2SCore.model import Model, load
from C2SCore.patches import Case
from C2SCore.scan import Scan
from C2SCore.volumepass import Progress


def adapted(
    model: Model,
    frames: Sequence[tuple[Scan, Level, float]],
    axis: int,
    auxiliary: list[np.ndarray],
    options: Options,
    minutes: float,
    progress: Progress,
    cancelled: Callable[[], bool] | None,
) -> Model:
    """The model after some minutes of training on the frames of a scan, each with its noise, and the limit of that (see
    `noise.frame_limit`): no clean image is needed.

    `auxiliary` has its slices first, those of the frames lie along `axis`.
    """
    cases = [
        Case(
            frame.name,
            np.moveaxis(frame.voxels, axis, 0),
            auxiliary,
            _of_slices(level),
            group=frames[0][0].name,
            limit=limit,
            isotropic=options.isotropic,
        )
        for frame, level, limit in frames
    ]
    recipe = config.preset("quick").replace(neighbours=model.denoiser.neighbours, minutes=minutes, steps=10_000_000)

    def listen(message: events.Message) -> None:
        if isinstance(message, events.Progress) and message.stage == "train" and message.seconds_left is not None:
            total = round(60 * minutes)
            progress("adapt (seconds)", min(total, max(0, total - round(message.seconds_left))), total)

    # On Windows a scanner of viruses may hold its files; that must not cost the minutes.
    with tempfile.TemporaryDirectory(prefix="c2s-adapt-", ignore_cleanup_errors=True) as folder:
        path = training.train(
            cases,
            recipe,
            Path(folder) / "adapted.safetensors",
            initial=model,
            device=options.device,
            emit=listen,
            cancelled=cancelled or (lambda: False),
            card={"name": f"{model.card.name}, adapted", "auxiliary": model.card.auxiliary},
        )
        return load(path)


def _of_slices(level: Level) -> Any:
    """A level as training takes it: one per slice of a map, None for what is to be measured."""
    if isinstance(level, str):
        return None
    return np.median(level, axis=(1, 2)) if isinstance(level, np.ndarray) else level
