"""Whether a result still belongs to what its source shows: the same frame of a series, the same voxels and place."""

from __future__ import annotations

from typing import Any

import slicer

from C2SSlicer import handover, sequences, volumes
from C2SSlicer.noise_watch import key_of


class Belonging:
    """Compares sources with what their results say of them; voxels are looked at once for each of their changes."""

    def __init__(self) -> None:
        self._compared: tuple[tuple[Any, ...], bool] = ((), False)  # digest and key, and whether they differ

    def made(self, result: Any, key: tuple[str, int]) -> None:
        """The result has just been made; `key` is that of its source when that was read."""
        self._compared = (volumes.facts_of(result).get("SourceVoxels"), *key), False

    def changed(self, source: Any, result: Any) -> bool:
        """Whether the source, or that frame of it, has other voxels than those of which the result was made."""
        facts = volumes.facts_of(result)
        digest, frame = facts.get("SourceVoxels"), sequences.frame_at(source, facts.get("Frame", ""))
        if not digest or frame is None or frame.GetImageData() is None:
            return False
        key = (digest, *key_of(frame))
        if self._compared[0] != key:
            found = list(handover.digests(slicer.util.arrayFromVolume(frame)))
            self._compared = key, found[-1:] != [digest]
        return self._compared[1]

    def note(self, source: Any, result: Any) -> str:
        """What to know before both are compared; empty where they belong together."""
        if None in (source, result) or None in (source.GetImageData(), result.GetImageData()):
            return ""
        index = volumes.facts_of(result).get("Frame", "")
        shown = sequences.shown_index(source) if index else ""
        if shown != index:
            return other_frame(sequences.number_at(source, index), sequences.number_at(source, shown))
        if self.changed(source, result):
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


def other_frame(number: int, shown: int) -> str:
    """The result is of one frame of a series (0: no longer in it), and the source shows another."""
    if not number:
        return "The result is of a frame that is no longer in the series; the source shows another."
    return (
        f"The result is of frame {number}; the source shows frame {shown} now. To compare them, choose frame {number} "
        "of the series."
    )
