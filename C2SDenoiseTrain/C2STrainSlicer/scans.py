"""The scans that could be trained on, and what their names say: contrast, repetition, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from C2SCore import contrasts, events, guidance
from C2SCore.contrasts import case_of, matching_text
from C2SCore.contrasts import repetition as guess_repetition

__all__ = ["Row", "case_of", "guess_repetition", "matching_text", "renamed", "row_of"]


@dataclass
class Row:
    """One scan: a file (`path`) or a volume of the scene (`node`, its id), what was measured and what the user chose.

    `text` is what names are matched by: the path below the folder that was read, without extension, or the node's name.
    `shape` is (K, J, I), `sigma` in the scan's unit; `problem` says why it cannot be used. `guess` is the contrast that
    it came with, before a name pattern or the user said another.
    """

    text: str
    path: str = ""
    node: str = ""
    shape: tuple[int, ...] = ()
    frames: int = 1
    sigma: float | None = None
    snr: float | None = None
    flags: tuple[str, ...] = ()
    thumbnail: str = ""
    problem: str = ""
    contrast: str = ""
    group: str = ""
    included: bool = True
    guess: str = ""

    def __post_init__(self) -> None:
        self.guess = self.guess or self.contrast

    @property
    def key(self) -> str:
        """What the user's choices are remembered by."""
        return self.path or f"node {self.node}"

    @property
    def usable(self) -> bool:
        return self.included and not self.problem

    @property
    def slices(self) -> int:
        return self.shape[0] * self.frames if self.shape else 0

    @property
    def seen(self) -> guidance.Seen:
        """What there is to know of it before a training."""
        return guidance.Seen(self.text, self.slices, self.snr, self.flags, self.contrast)

    @property
    def notes(self) -> str:
        """What there is to say of it, in words."""
        words = {
            "interpolated": "interpolated or filtered",
            "clean": "hardly any noise",
            "saturated": "brightest voxels cut off",
            "frame": "only the frame of the series that is shown",  # of a volume of the scene
        }
        return self._problem_here() or ", ".join(words[flag] for flag in self.flags if flag in words)

    def _problem_here(self) -> str:
        """The problem without the name that the row begins with, which would fill a narrow column."""
        for name in (self.path, self.text):
            if name and self.problem.startswith(f"{name} "):
                rest = self.problem[len(name) + 1 :]
                return rest[:1].upper() + rest[1:]
        return self.problem


def row_of(found: events.Inspected, folder: str = "", node: str = "", name: str = "") -> Row:
    """A row for what the worker found, with contrast and group guessed from its name."""
    text = name or matching_text(found.path, folder)
    contrast = contrasts.guess(text) or contrasts.guess(found.name)
    return Row(
        text,
        "" if node else found.path,
        node,
        tuple(found.shape),
        found.frames,
        found.sigma,
        found.snr,
        tuple(found.flags),
        found.thumbnail,
        found.problem,
        contrast,
        "" if found.problem else case_of(text),
        not found.problem,
    )


def renamed(row: Row, name: str) -> Row:
    """The row of a volume that has another name by now, with the contrast and group that this says."""
    contrast = contrasts.guess(name)
    return replace(row, text=name, contrast=contrast, guess=contrast, group="" if row.problem else case_of(name))
