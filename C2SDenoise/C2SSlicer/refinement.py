"""The detail slider after a run.

It needs no second inference: with d the share of the noise variance that is kept, E[x_target | x] is on the straight
line from the estimate (d = 0) to the source (d = 1), by Tweedie's formula for the two levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

from C2SSlicer import handover, sequences, volumes
from C2SSlicer.request import node

RECOVERABLE = 0.95  # above this detail, a saved result is too close to its source to find the estimate again


def reckon(out: np.ndarray, removed: np.ndarray, factor: np.float32, base: np.ndarray | None = None) -> None:
    """out = base + factor * removed, without a temporary array."""
    np.multiply(removed, factor, out=out)
    if base is not None:
        out += base


class Refinement:
    """What the detail slider moves: per frame the estimate and what was removed, and the nodes that show them."""

    def __init__(
        self, estimates: Sequence[np.ndarray], removed: Sequence[np.ndarray], output: Any, noise: Any, source: Any
    ) -> None:
        self.estimates, self.removed = list(estimates), list(removed)
        self.output, self.noise = output.GetID(), noise.GetID() if noise is not None else None
        self.sequences: dict[str, Any] = {}  # node id of the visible volume -> its sequence
        self._source = source.GetID()
        self.detail = 0.0
        self.levels: np.ndarray | None = None  # the noise map of the run, if one was measured; no scene keeps it

    @classmethod
    def from_scene(cls, output: Any, source: Any, noise: Any = None) -> Refinement | None:
        """The slider of a saved scene.

        The estimates are found again from results and sources; None where that is impossible.
        """
        sequence, of_noise = sequences.sequence_of(output)[1], sequences.sequence_of(noise)[1]
        if sequence is None:
            index = volumes.facts_of(output).get("Frame", "")
            pairs = [(output, sequences.frame_at(source, index))]
        elif sequences.replaceable(output, source):
            numbers = range(sequence.GetNumberOfDataNodes())
            indices = [sequence.GetNthIndexValue(number) for number in numbers]
            pairs = [(sequence.GetNthDataNode(n), sequences.frame_at(source, indices[n])) for n in numbers]
            if of_noise is None or of_noise.GetNumberOfDataNodes() != len(pairs):
                noise = None
        else:
            return None
        found = [_found_again(denoised, frame) for denoised, frame in pairs]
        if None in found:
            return None
        made = cls([estimate for estimate, _, _ in found], [removed for _, removed, _ in found], output, noise, source)
        made.detail = found[0][2]
        if sequence is not None:
            made.sequences = {output.GetID(): sequence}
            if noise is not None:
                made.sequences[noise.GetID()] = of_noise
        return made

    def denoised(self, frame: int = 0) -> np.ndarray:
        """The result at the present detail, (K, J, I)."""
        return self.estimates[frame] + np.float32(self.detail) * self.removed[frame]

    def fill_sequences(self) -> None:
        """A time series: its frames into sequences that play along with the source's."""
        self.store(node(self.output), [self.denoised(n) for n in range(len(self.estimates))])
        if self.noise:
            self.store(node(self.noise), [np.float32(1 - self.detail) * removed for removed in self.removed])

    def store(self, volume: Any, arrays: Sequence[np.ndarray]) -> None:
        """Arrays into a sequence, which `volume` shows from now on."""
        source = node(self._source)
        sequence = sequences.empty_sequence(volume, source)
        for index, array in enumerate(arrays):
            volume.CopyOrientation(sequences.frame(source, index))
            volumes.set_voxels(volume, array)
            sequences.add_frame(sequence, source, index, volume)
        self.sequences[volume.GetID()] = sequence
        sequences.play_along(sequence, source, volume)

    def apply(self, detail: float) -> bool:
        """Move to another detail in place; False where the output is gone, or was cropped or resampled since."""
        output = node(self.output)
        if output is None or not all(self._fits(output, n) for n in range(len(self.removed))):
            return False
        self.detail = float(detail)
        factor, noise = np.float32(detail), node(self.noise)
        for frame, (estimate, removed) in enumerate(zip(self.estimates, self.removed, strict=True)):
            self._write(output, frame, estimate, removed, factor)
            if noise is not None and self._fits(noise, frame):
                self._write(noise, frame, None, removed, np.float32(1) - factor)
        self._written(output)
        if noise is not None:
            self._written(noise)
        return True

    def _frame(self, volume: Any, frame: int) -> Any:
        sequence = self.sequences.get(volume.GetID())
        return volume if sequence is None else sequence.GetNthDataNode(frame)

    def _fits(self, volume: Any, frame: int) -> bool:
        shown = self._frame(volume, frame)
        image = shown.GetImageData() if shown is not None else None
        return image is not None and image.GetDimensions()[::-1] == self.removed[frame].shape

    def _write(self, volume: Any, frame: int, base: np.ndarray | None, removed: np.ndarray, factor: np.float32) -> None:
        """volume = base + factor * removed, into the voxels that are there.

        Nothing is allocated while the slider moves.
        """
        shown = self._frame(volume, frame)
        volumes.describe(shown, {"Detail": self.detail})  # of a time series each frame: it brings its attributes along
        voxels = slicer.util.arrayFromVolume(shown)
        if voxels.dtype != removed.dtype:
            volumes.set_voxels(shown, removed * factor if base is None else base + factor * removed)
            return
        for slab in handover.slabs(removed.shape):  # it is quicker while the voxels are in the processor's cache
            reckon(voxels[slab], removed[slab], factor, None if base is None else base[slab])
        slicer.util.arrayFromVolumeModified(shown)

    def _written(self, volume: Any) -> None:
        """Of a time series: it is saved again with the scene, and its visible frame is looked up again."""
        sequence = self.sequences.get(volume.GetID())
        if sequence is None:
            return
        sequence.StorableModified()
        browser = sequences.sequence_of(volume)[0]
        if browser is not None:
            browser.Modified()


def _found_again(denoised: Any, original: Any) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Estimate, what was removed, and detail of a result (a node) and its source; None where they do not tell."""
    facts = volumes.facts_of(denoised)
    detail = float(facts.get("Detail", 1.0))
    if original is None or facts.get("Content") != "denoised" or detail > RECOVERABLE:
        return None
    after, before = volumes.array_of(denoised), volumes.array_of(original)
    if after.shape != before.shape:
        return None
    removed = (before - after) / np.float32(1 - detail)
    return before - removed, removed, detail
