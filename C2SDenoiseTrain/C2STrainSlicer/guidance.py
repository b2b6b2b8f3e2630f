"""What a user should know before a training starts; every warning names the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from C2STrainSlicer import matching
from C2STrainSlicer.matching import Case

FEW_SLICES = 12
NOISE_RATIO = 3.0


def warnings(cases: Sequence[Case], config: dict[str, Any], scratch: bool = True) -> list[str]:
    """Warnings for these cases and this recipe (`TrainConfig.to_dict`); `scratch`: no model to start from."""
    rows = [case.target for case in cases]
    found = []
    slices = sum(row.slices for row in rows)
    if rows and slices < FEW_SLICES and scratch:
        found.append(f"Only {slices} slices: too few to start from scratch. Add scans, or start from a model.")
    levels = [1 / row.snr for row in rows if row.snr]
    if levels and max(levels) > NOISE_RATIO * min(levels):
        found.append(
            f"The noise differs {max(levels) / min(levels):.1f}-fold between scans: one model for all is a compromise. "
            "Leave out the odd ones, or train one model for each kind."
        )
    flagged = {flag: [row.text for row in rows if flag in row.flags] for flag in ("interpolated", "clean", "saturated")}
    if flagged["interpolated"]:
        coloured = (config.get("noise") or {}).get("spectrum", "auto") == "auto"
        way = "Coloured noise of their own kind is used." if coloured else "Set noise.spectrum to auto in the recipe."
        found.append(f"Interpolated or filtered: {_some(flagged['interpolated'])}. {way}")
    if flagged["clean"]:
        found.append(f"Hardly any noise to learn from: {_some(flagged['clean'])}. Leave them out.")
    if flagged["saturated"]:
        found.append(
            f"8 bits with the brightest voxels cut off: {_some(flagged['saturated'])}. Export them with 16 bits if "
            "you can."
        )
    kinds = matching.contrasts(rows)
    if len(kinds) > 1:
        found.append(
            f"Mixed contrasts ({', '.join(kinds)}) are learnt as one. Choose one under Contrast if that is not meant."
        )
    if rows and not config.get("validation"):
        found.append("No slice is held back, so the best model cannot be told. Hold back 10 %.")
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
