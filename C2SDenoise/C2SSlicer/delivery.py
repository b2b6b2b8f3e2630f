"""The result of a run into the scene: everything is made ready in pieces, then shown at once."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import slicer

import C2SCore
from C2SCore import events
from C2SCore.card import ModelEntry
from C2SSlicer import compare, handover, sequences, volumes
from C2SSlicer.refinement import Refinement, reckon
from C2SSlicer.request import Request, Result, node

SHOWN_NOISE = 2.5  # standard deviations at which the colours of the removed noise saturate


class Delivery:
    """Brings the outputs of a run into the scene: `prepare` reads and reckons, in pieces; `deliver` shows.

    `shown`: index value of the frame that was denoised, if it is one of a time series.
    """

    def __init__(
        self, request: Request, arrays: Sequence[np.ndarray], endings: Sequence[events.Done], shown: str = ""
    ) -> None:
        self._request, self._sources, self._endings = request, arrays, endings
        self._frame = "" if request.all_frames else shown
        self._estimates: list[np.ndarray] = []
        self._removed: list[np.ndarray] = []
        self._uncertainties: list[np.ndarray] = []
        self._digest = ""  # of the source's voxels, if it is a single frame
        self._levels: np.ndarray | None = None  # of the noise, where it was measured as a map, of a single frame
        self._images: dict[str, Any] = {}  # voxels of the volumes to come, if they are no time series

    def prepare(self) -> Iterator[None]:
        """Nothing of this touches the scene; one piece at a time, see `pieces`."""
        for source, ending in zip(self._sources, self._endings, strict=True):
            estimate, removed = np.empty_like(source), np.empty_like(source)
            for slab in handover.load(ending.paths["output"], estimate):
                np.subtract(source[slab], estimate[slab], out=removed[slab])
                yield
            self._estimates.append(estimate)
            self._removed.append(removed)
            if self._request.uncertainty_output is not None and "uncertainty" in ending.paths:
                uncertainty = np.empty_like(source)
                for _ in handover.load(ending.paths["uncertainty"], uncertainty):
                    yield
                self._uncertainties.append(uncertainty)
        if not self._request.all_frames:
            for digest in handover.digests(self._sources[0]):
                self._digest = digest
                yield
            if "levels" in self._endings[0].paths:
                self._levels = np.empty_like(self._sources[0])
                for _ in handover.load(self._endings[0].paths["levels"], self._levels):
                    yield
            yield from self._fill_images(np.float32(self._request.detail))

    def _fill_images(self, detail: np.float32) -> Iterator[None]:
        estimate, removed = self._estimates[0], self._removed[0]
        self._images["denoised"], voxels = handover.empty_image(estimate.shape)
        for slab in handover.slabs(estimate.shape):
            reckon(voxels[slab], removed[slab], detail, estimate[slab])
            yield
        if self._request.noise_output is not None:
            self._images["removed noise"], voxels = handover.empty_image(estimate.shape)
            for slab in handover.slabs(estimate.shape):
                reckon(voxels[slab], removed[slab], np.float32(1) - detail)
                yield
        if self._uncertainties:
            self._images["uncertainty"], voxels = handover.empty_image(estimate.shape)
            for slab in handover.slabs(estimate.shape):
                voxels[slab] = self._uncertainties[0][slab]
                yield

    def deliver(self, source: Any, entry: ModelEntry) -> tuple[Result, Refinement]:
        """Put it all into the scene; nodes made on the way are removed again if something fails."""
        request = self._request
        numbers = _mean_numbers([ending.numbers for ending in self._endings])
        facts = {**_facts(request, source, entry, numbers), "Frame": self._frame, "SourceVoxels": self._digest}
        created: list[Any] = []
        frame = sequences.frame_at(source, self._frame)  # another one may be shown by now, and lie elsewhere

        def target(wanted: str, name: str, what: str) -> Any:
            volume = node(wanted)
            if volume is None:  # a new one is wanted, or the chosen one was deleted meanwhile
                volume = volumes.create_like(source, name)
                created.append(volume)
            volumes.place_like(volume, source)
            if frame is not None:
                volume.CopyOrientation(frame)
            volumes.describe(volume, {**facts, "Content": what})
            if what in self._images:
                volumes.set_image(volume, self._images[what])
            return volume

        try:
            result = Result(target(request.output, volumes.result_name(source), "denoised"), numbers=numbers)
            result.warnings = list(dict.fromkeys(warning for ending in self._endings for warning in ending.warnings))
            if request.noise_output is not None:
                result.noise = target(request.noise_output, f"{source.GetName()} removed noise", "removed noise")
            refinement = Refinement(self._estimates, self._removed, result.volume, result.noise, source)
            refinement.detail, refinement.levels = request.detail, self._levels
            if request.all_frames:
                refinement.fill_sequences()
            if result.noise is not None:
                compare.show_symmetric(result.noise, SHOWN_NOISE * float(numbers["sigma"]))
            if len(self._uncertainties) == len(self._endings):
                name = f"{source.GetName()} uncertainty"
                result.uncertainty = target(request.uncertainty_output, name, "uncertainty")
                if request.all_frames:
                    refinement.store(result.uncertainty, self._uncertainties)
                compare.show_from_zero(result.uncertainty, _high(self._uncertainties[0]))
            result.sequence = refinement.sequences.get(result.volume.GetID())
        except BaseException:
            for volume in created:
                slicer.mrmlScene.RemoveNode(volume)
            raise
        return result, refinement


def _facts(request: Request, source: Any, entry: ModelEntry, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """What the volumes say of their origin."""
    return {
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


def _high(values: np.ndarray) -> float:
    """The 99 % quantile, of a million voxels at the most."""
    flat = values.reshape(-1)
    return float(np.quantile(flat[:: 1 + flat.size // 1_000_000], 0.99))


def _mean_numbers(numbers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over the frames of which something was removed: means of the numbers, and the words of the frame that was judged
    worst.
    """
    changed = [n for n in numbers if n["verdict"] != "clean"] or list(numbers)
    mean = dict(max(changed, key=lambda n: n["residual_edge_correlation"]))
    for key, value in mean.items():
        if isinstance(value, float):
            values = [n[key] for n in changed if isinstance(n.get(key), (int, float))]
            mean[key] = sum(values) / len(values)
    return mean
