"""What a run of the denoiser is asked to do, checked before any work, and what it gives back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import slicer

from C2SCore import contrasts
from C2SCore.card import Card, ModelEntry
from C2SCore.errors import UserError
from C2SSlicer import models, sequences, volumes

NOISE_KINDS = ("auto", "gaussian", "rician")
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Request:
    """One order, in node ids: nodes may be deleted while it is carried out.

    `detail` is the fraction of the removed noise that is given back, as a variance (0 = all noise removed, 1 = the
    source). `noise_output` and `uncertainty_output`: None = not wanted, "" = a new volume, else the id of the volume
    to fill.
    """

    source: str
    output: str = ""
    model: str = "default"
    auxiliary: tuple[str, ...] = ()
    all_frames: bool = False
    sigma: float | str = "auto"
    noise: str = "auto"
    detail: float = 0.0
    noise_output: str | None = ""
    uncertainty_output: str | None = None
    adapt_minutes: float = 0.0
    device: str = "auto"

    def check(self) -> ModelEntry:
        """Raise `UserError` for anything that cannot be done; returns the model that is meant."""
        source = node(self.source)
        volumes.check_scalar(source)
        for other in self.auxiliary:
            volumes.check_scalar(node(other))
            if other == self.source:
                raise UserError(
                    f"{source.GetName()} is chosen both as input and as other contrast; a scan cannot help itself. "
                    "Untick it under Other contrasts."
                )
        if self.output and self.output in (self.source, *self.auxiliary):
            raise UserError(
                f"The output is {node(self.output).GetName()}, which is an input; a source is never overwritten. "
                "Choose another output volume, or a new one."
            )
        outputs = [name for name in (self.output, self.noise_output, self.uncertainty_output) if name]
        if len(set(outputs)) < len(outputs):
            raise UserError("One volume is chosen for two outputs; each needs its own. Choose another, or a new one.")
        for volume in map(node, outputs):
            shown = sequences.sequence_of(volume)[1]
            if shown is not None and not (self.all_frames and sequences.replaceable(volume, source)):
                raise UserError(
                    f"{volume.GetName()} shows a time series, whose frames would take the place of the result. Choose "
                    "another output volume, or a new one."
                )
        if self.sigma != "auto" and not (isinstance(self.sigma, (int, float)) and 0 < self.sigma < math.inf):
            raise UserError(
                f"The noise level is {self.sigma}; it must be a number above 0, in the volume's own unit. "
                "Correct it, or let it be measured."
            )
        if self.noise not in NOISE_KINDS:
            raise UserError(f"The kind of noise is {self.noise!r}; it must be one of {', '.join(NOISE_KINDS)}.")
        if self.device not in DEVICES:
            raise UserError(f"The device is {self.device!r}; it must be one of {', '.join(DEVICES)}.")
        if not 0 <= self.detail <= 1:
            raise UserError(f"The detail is {self.detail}; it must be from 0 (all noise removed) to 1 (the source).")
        if not 0 <= self.adapt_minutes <= 600:
            raise UserError(f"The time to adapt is {self.adapt_minutes} minutes; it must be from 0 to 600.")
        entry = models.find(self.model)
        models.check_contrasts(entry.card, len(self.auxiliary))
        return entry

    def in_order_of(self, card: Card) -> Request:
        """The same with the other contrasts in the order of the model's card, where their names say which is which: the
        scene, from which the panel takes them, has an order of its own.
        """
        order = contrasts.in_order([node(other).GetName() for other in self.auxiliary], card.auxiliary)
        return self if order is None else replace(self, auxiliary=tuple(self.auxiliary[n] for n in order))

    @property
    def frames(self) -> list[int | None]:
        """Frames to denoise: [None] is the volume as it is shown."""
        return list(range(sequences.number_of_frames(node(self.source)))) if self.all_frames else [None]


@dataclass
class Result:
    """What a run gave: the volumes (nodes), what was measured, and what to beware of."""

    volume: Any
    noise: Any = None
    uncertainty: Any = None
    sequence: Any = None
    numbers: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def node(node_id: str | None):
    """The node of this id, or None if it is gone (also while the scene is closing)."""
    return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None


def node_ids(nodes: Sequence[Any]) -> tuple[str, ...]:
    return tuple(n.GetID() for n in nodes)
