"""The result of a run into the scene, and the detail slider after it.

The slider needs no second inference: with d the share of the noise variance that is kept, E[x_target | x] is on the
straight line from the estimate (d = 0) to the source (d = 1), by Tweedie's formula for the two levels.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

import C2SCore
from C2SCore import events
from C2SCore.card import ModelEntry
from C2SSlicer import compare, sequences, volumes
from C2SSlicer.request import Request, Result, node

SHOWN_NOISE = 2.5  # standard deviations at which the colours of the removed noise saturate
RECOVERABLE = 0.95  # above this detail, a saved result is too close to its source to find the estimate again


def deliver(
    request: Request, source: Any, entry: ModelEntry, arrays: Sequence[np.ndarray], endings: Sequence[events.Done]
) -> tuple[Result, Refinement]:
    """Put the outputs of a run into the scene; nodes made on the way are removed again if something fails."""
    estimates = [np.load(ending.paths["output"]) for ending in endings]
    numbers = _mean_numbers([ending.numbers for ending in endings])
    facts = {
        "Source": source.GetName(),
        "Model": entry.name,
        "ModelDate": entry.card.date,
        "Sigma": float(numbers["sigma"]),
        "Noise": numbers["noise"],
        "Detail": float(request.detail),
        "OtherContrasts": ", ".join(node(other).GetName() for other in request.auxiliary if node(other)),
        "AdaptedMinutes": float(request.adapt_minutes),
        "Version": C2SCore.__version__,
        "Date": datetime.datetime.now().isoformat(timespec="seconds"),
        "Use": "for research only",
    }
    created: list[Any] = []

    def target(wanted: str, name: str, what: str) -> Any:
        volume = node(wanted)
        if volume is None:  # a new one is wanted, or the chosen one was deleted meanwhile
            volume = volumes.create_like(source, name)
            created.append(volume)
        volumes.place_like(volume, source)
        volumes.describe(volume, {**facts, "Content": what})
        return volume

    try:
        result = Result(target(request.output, volumes.result_name(source), "denoised"), numbers=numbers)
        result.warnings = list(dict.fromkeys(warning for ending in endings for warning in ending.warnings))
        if request.noise_output is not None:
            result.noise = target(request.noise_output, f"{source.GetName()} removed noise", "removed noise")
        uncertainties = [ending.paths["uncertainty"] for ending in endings if "uncertainty" in ending.paths]
        if request.uncertainty_output is not None and len(uncertainties) == len(endings):
            result.uncertainty = target(request.uncertainty_output, f"{source.GetName()} uncertainty", "uncertainty")
        refinement = Refinement(arrays, estimates, result.volume, result.noise, source, request.all_frames)
        refinement.fill(request.detail)
        if result.noise is not None:
            compare.show_symmetric(result.noise, SHOWN_NOISE * float(numbers["sigma"]))
        if result.uncertainty is not None:
            maps = [np.load(path) for path in uncertainties]
            refinement.store(result.uncertainty, maps)
            compare.show_from_zero(result.uncertainty, float(np.quantile(maps[0], 0.99)))
        result.sequence = refinement.sequences.get(result.volume.GetID())
    except BaseException:
        for volume in created:
            slicer.mrmlScene.RemoveNode(volume)
        raise
    return result, refinement


class Refinement:
    """What the detail slider moves: per frame the estimate and what was removed, and the nodes that show them."""

    def __init__(
        self,
        sources: Sequence[np.ndarray],
        estimates: Sequence[np.ndarray],
        output: Any,
        noise: Any,
        source: Any,
        frames: bool,
    ) -> None:
        self.estimates = list(estimates)
        self.removed = [s - e for s, e in zip(sources, estimates, strict=True)]
        self.output, self.noise = output.GetID(), noise.GetID() if noise is not None else None
        self.sequences: dict[str, Any] = {}  # node id of the visible volume -> its sequence
        self._source, self._frames = source.GetID(), frames
        self.detail = 0.0

    @classmethod
    def from_scene(cls, output: Any, source: Any, noise: Any = None) -> Refinement | None:
        """The slider of a saved scene.

        The estimate is found again from result and source; None where that is impossible.
        """
        facts = volumes.facts_of(output)
        if facts.get("Content") != "denoised" or sequences.sequence_of(output)[1] is not None:
            return None
        detail = float(facts.get("Detail", 1.0))
        denoised, original = volumes.array_of(output), volumes.array_of(source)
        if detail > RECOVERABLE or denoised.shape != original.shape:
            return None
        made = cls([original], [original - (original - denoised) / (1 - detail)], output, noise, source, False)
        made.detail = detail
        return made

    def denoised(self, frame: int = 0) -> np.ndarray:
        """The result at the present detail, (K, J, I)."""
        return self.estimates[frame] + np.float32(self.detail) * self.removed[frame]

    def fill(self, detail: float) -> None:
        """First time: create the voxels of the output, and the sequences of a time series."""
        self.detail = detail
        self.store(node(self.output), [self.denoised(n) for n in range(len(self.estimates))])
        if self.noise:
            self.store(node(self.noise), [np.float32(1 - detail) * removed for removed in self.removed])

    def store(self, volume: Any, arrays: Sequence[np.ndarray]) -> None:
        """Voxels into a volume, or, for a time series, into a new sequence that plays along with its source."""
        if not self._frames:
            volumes.set_voxels(volume, arrays[0])
            return
        source = node(self._source)
        sequence = sequences.create_sequence_like(source, volume.GetName())
        for index, array in enumerate(arrays):
            volumes.set_voxels(volume, array)
            sequences.add_frame(sequence, source, index, volume)
        self.sequences[volume.GetID()] = sequence
        sequences.play_along(sequence, source, volume)

    def apply(self, detail: float) -> bool:
        """Move to another detail in place; False where the output is gone or was changed by something else."""
        output = node(self.output)
        if output is None:
            return False
        self.detail = float(detail)
        factor = np.float32(detail)
        for frame, (estimate, removed) in enumerate(zip(self.estimates, self.removed, strict=True)):
            self._write(output, frame, estimate, removed, factor)
            noise = node(self.noise)
            if noise is not None:
                self._write(noise, frame, None, removed, np.float32(1) - factor)
        volumes.describe(output, {"Detail": self.detail})
        return True

    def _write(self, volume: Any, frame: int, base: np.ndarray | None, removed: np.ndarray, factor: np.float32) -> None:
        """volume = base + factor * removed, into the voxels that are there.

        Nothing is allocated while the slider moves.
        """
        sequence = self.sequences.get(volume.GetID())
        shown = volume if sequence is None else sequence.GetNthDataNode(frame)
        voxels = slicer.util.arrayFromVolume(shown)
        if voxels.shape != removed.shape or voxels.dtype != removed.dtype:
            volumes.set_voxels(shown, removed * factor if base is None else base + factor * removed)
            return
        np.multiply(removed, factor, out=voxels)
        if base is not None:
            voxels += base
        slicer.util.arrayFromVolumeModified(shown)
        if sequence is not None:
            browser = sequences.sequence_of(volume)[0]
            if browser is not None:
                browser.Modified()  # its visible frame is looked up again


def _mean_numbers(numbers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over the frames: means of the numbers, and the first frame's words."""
    first = dict(numbers[0])
    for key, value in first.items():
        if isinstance(value, float):
            values = [n[key] for n in numbers if isinstance(n.get(key), (int, float))]
            first[key] = sum(values) / len(values)
    return first
