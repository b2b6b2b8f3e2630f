"""Whether a result still belongs to what its source shows: the same frame of a series, the same voxels and place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import slicer

from C2SSlicer import handover, job, sequences, volumes
from C2SSlicer.noise_watch import key_of
from C2SSlicer.pieces import Pieces


class Belonging:
    """Compares sources with what their results say of them; voxels are looked at once for each of their changes.

    `on_found` is called when `note` knows more than before: it does not wait for the voxels of a large volume.
    """

    def __init__(self, worker: job.Worker, on_found: Callable[[], None]) -> None:
        self._worker, self._on_found = worker, on_found
        self._compared: tuple[tuple[Any, ...], bool] = ((), False)  # digest and key, and whether they differ
        self._looking: tuple[tuple[Any, ...], Pieces | None] = ((), None)

    def made(self, result: Any, key: tuple[str, int]) -> None:
        """The result has just been made; `key` is that of its source when that was read."""
        self._compared = (volumes.facts_of(result).get("SourceVoxels"), *key), False

    def changed(self, source: Any, result: Any) -> bool:
        """Whether the source, or that frame of it, has other voxels than those of which the result was made."""
        frame, key = _compared_with(source, result)
        if key and self._compared[0] != key:
            self.stop()
            for _ in self._compare(frame, key):
                pass
        return bool(key) and self._compared[1]

    def stop(self) -> None:
        """Look at no voxels any more."""
        pieces, self._looking = self._looking[1], ((), None)
        if pieces is not None:
            pieces.cancel()

    def _known_changed(self, source: Any, result: Any) -> bool:
        """The same, as far as is known; what is not is found out in pieces, and until then holds what did before."""
        frame, key = _compared_with(source, result)
        if key not in (self._compared[0], self._looking[0]):
            self.stop()
            if key:
                self._looking = key, Pieces(self._worker, self._compare(frame, key), self._found, _broke)
        return bool(key) and self._compared[0][:2] == key[:2] and self._compared[1]

    def _compare(self, frame: Any, key: tuple[Any, ...]) -> Iterator[None]:
        """Stops where the voxels change meanwhile, which `on_found` shows."""
        digest = ""
        for so_far in handover.digests(slicer.util.arrayFromVolume(frame)):
            yield
            if frame.GetImageData() is None or key_of(frame) != key[1:]:
                return
            digest = so_far
        self._compared = key, digest != key[0]

    def _found(self) -> None:
        self._looking = (), None
        self._on_found()

    def note(self, source: Any, result: Any) -> str:
        """What to know before both are compared; empty where they belong together."""
        if result is None:
            return ""
        if source is None:
            return (
                f"The volume of which {result.GetName()} was made is no longer in the scene: nothing to compare with."
            )
        if None in (source.GetImageData(), result.GetImageData()):
            return ""
        index = volumes.facts_of(result).get("Frame", "")
        shown = sequences.shown_index(source) if index else ""
        if shown != index:
            return other_frame(sequences.number_at(source, index), sequences.number_at(source, shown))
        if self._known_changed(source, result):
            return (
                f"{source.GetName()} was changed after the result had been made of it, so the evidence stays that of "
                "before. Apply again to denoise what it is now."
            )
        if not volumes.same_grid(source, result):
            return (
                f"{source.GetName()} and {result.GetName()} no longer lie in the same place: one was moved, cropped or "
                "resampled. Views side by side show different anatomy. Put both under the same transform, or apply "
                "again."
            )
        return ""


def _broke(error: Exception) -> None:
    """To the console, once: those voxels are not looked at again."""
    raise error


def _compared_with(source: Any, result: Any) -> tuple[Any, tuple[Any, ...]]:
    """The frame of which a result was made, with digest and key; no key where the result does not say."""
    facts = volumes.facts_of(result)
    digest, frame = facts.get("SourceVoxels"), sequences.frame_at(source, facts.get("Frame", ""))
    if not digest or frame is None or frame.GetImageData() is None:
        return None, ()
    return frame, (digest, *key_of(frame))


def other_frame(number: int, shown: int) -> str:
    """The result is of one frame of a series (0: no longer in it), and the source shows another."""
    if not number:
        return "The result is of a frame that is no longer in the series; the source shows another."
    return (
        f"The result is of frame {number}; the source shows frame {shown} now. To compare them, choose frame {number} "
        "of the series."
    )
