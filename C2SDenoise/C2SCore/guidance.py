"""What a user should know before a training starts; every warning names the way out. No PyTorch, no numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FEW_SLICES = 12
HELD_BACK = 4  # slices from which on some are held back
NOISE_RATIO = 3.0
CLEAN_SNR = 50.0  # above, there is next to no noise to learn from


@dataclass(frozen=True)
class Seen:
    """A scan to train on, as far as it is known: `snr` None where it is not; `flags` as in `inspecting.Facts`."""

    name: str
    slices: int
    snr: float | None = None
    flags: tuple[str, ...] = ()
    contrast: str = ""


def warnings(scans: Sequence[Seen], config: dict[str, Any]) -> list[str]:
    """Warnings for these scans and this recipe (`TrainConfig.to_dict`)."""
    found = []
    slices = sum(scan.slices for scan in scans)
    if scans and slices < FEW_SLICES and not config.get("initial"):
        few = counted(slices, "slice")
        found.append(f"Only {few}: too few to start from scratch. Add scans, or start from a model.")
    if scans and not config.get("validation"):
        found.append(
            "No slice is held back, so that nothing tells which state of the training was best. Hold back 10 %."
        )
    elif scans and slices < HELD_BACK:
        found.append(
            f"Fewer than {HELD_BACK} slices: none is held back, so the model is judged by what it has learnt from. Add "
            "scans."
        )
    levels = [1 / scan.snr for scan in scans if scan.snr]
    if levels and max(levels) > NOISE_RATIO * min(levels):
        found.append(
            f"The noise differs {max(levels) / min(levels):.1f}-fold between scans: one model for all is a compromise. "
            "Leave out the odd ones, or train one model for each kind."
        )
    flagged = {
        flag: [scan.name for scan in scans if flag in scan.flags] for flag in ("interpolated", "clean", "saturated")
    }
    if flagged["interpolated"]:
        coloured = (config.get("noise") or {}).get("spectrum", "auto") == "auto"
        way = "Coloured noise of their own kind is used." if coloured else "Set noise.spectrum to auto in the recipe."
        found.append(f"Interpolated or filtered: {first(flagged['interpolated'])}. {way}")
    if flagged["clean"]:
        found.append(f"Hardly any noise to learn from: {first(flagged['clean'])}. Leave them out.")
    if flagged["saturated"]:
        found.append(
            f"8 bits with the brightest voxels cut off: {first(flagged['saturated'])}. Export them with 16 bits if "
            "you can."
        )
    kinds = sorted({scan.contrast for scan in scans} - {""})
    if len(kinds) > 1:
        found.append(
            f"Mixed contrasts ({', '.join(kinds)}) are learnt as one. Choose one under Contrast if that is not meant."
        )
    return found


def counted(number: int, what: str) -> str:
    """As in "1 scan", "2 scans"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def first(names: Sequence[str], most: int = 3) -> str:
    """The first of them, and how many more there are, as in "a, b, c and 2 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
