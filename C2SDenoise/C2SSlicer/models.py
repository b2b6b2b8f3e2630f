"""The models to choose from, in a radiologist's words. Reads only the cards: no torch."""

from __future__ import annotations

from pathlib import Path

from C2SCore import card as cards
from C2SCore.card import Card, ModelEntry
from C2SCore.errors import UserError
from C2SCore.guidance import counted
from C2SCore.runfolder import run_folder
from C2SCore.writing import copy


def entries() -> list[ModelEntry]:
    """Bundled and own models, the default first."""
    return cards.list_models()


def find(name: str) -> ModelEntry:
    """The model of this name, or in this file; `UserError` if there is none."""
    path = Path(cards.find_model(name))
    for entry in entries():
        if Path(entry.path) == path:
            return entry
    return ModelEntry(path.stem, path, cards.read_card(path), False)


def import_file(path: str | Path) -> str:
    """Copy a model file to the user's models; its new name. Refused where the file is no model, where its weights are
    damaged, or where the name is that of a model or a training.
    """
    path = Path(path)
    check_weights(path)
    name = cards.check_name(path.stem)
    target = cards.models_folder() / f"{name}.safetensors"
    if target.exists() or name.casefold() in {entry.name.casefold() for entry in entries()}:  # one file on many systems
        raise UserError(
            f"There is a model named {name!r} already; names must differ. Rename the file and import it again."
        )
    if run_folder(target).exists():  # resumed, it would overwrite the import
        raise UserError(
            f"There is a training {name!r} already; names must differ. Rename the file and import it again, or discard "
            "the training in C2S Train."
        )
    copy(path, target)
    return name


def check_weights(path: Path) -> None:
    """Raise `UserError` unless the file is a model whose weights are those that were saved."""
    header, offset = cards.read_header(path)
    cards.card_of(header, path)
    if cards.weights_digest(memoryview(path.read_bytes())[offset:]) != header["__metadata__"].get("sha256"):
        raise UserError(
            f"The weights in {path} are not those that were saved: the file was edited or damaged. "
            "Copy or export it again."
        )


def check_contrasts(card: Card, given: int) -> None:
    """Raise `UserError` where the model needs other contrasts than are given."""
    needed = card.auxiliary
    if len(needed) != given:
        wanted = (
            f"{len(needed)} other contrast{'s' if len(needed) > 1 else ''} ({', '.join(needed)})" if needed else "none"
        )
        raise UserError(
            f"{counted(given, 'other contrast')} ticked; the model {card.name} needs {wanted}. "
            "Tick exactly these, or choose another model."
        )


def label(entry: ModelEntry) -> str:
    """How a model is called in the list."""
    return f"{entry.name}" if entry.bundled else f"{entry.name} (own)"


def summary(card: Card) -> str:
    """One line: what it was trained on."""
    slices = f"{card.slices:,} slices" if card.slices else ""
    what = " ".join(filter(None, [card.anatomy, ", ".join(card.contrasts)]))
    facts = " of ".join(filter(None, [slices, what]))
    text = f"Trained on {facts}." if facts else (card.description or "Nothing is known of its training.")
    if card.auxiliary:
        text += f" Needs {', '.join(card.auxiliary)} beside the input."
    return text


def details(entry: ModelEntry) -> str:
    """The card in lines, for the tooltip."""
    card = entry.card
    rows = [
        ("Model", entry.name),
        ("Description", card.description),
        ("Trained on", ", ".join(card.trained_on)),
        ("Contrasts", ", ".join(card.contrasts)),
        ("Other contrasts needed", ", ".join(card.auxiliary)),
        (
            "Noise it knows (share of the signal)",
            "{:.1%} to {:.1%}".format(*card.sigma_range) if card.sigma_range[1] else "",
        ),
        ("Date", card.date),
        ("Licence", card.licence),
        ("Source", card.attribution),
        ("Note", card.note),
    ]
    return "\n".join(f"{name}: {value}" for name, value in rows if value)


def fits(card: Card, sigma: float | None, signal: float | None) -> str:
    """One sentence: is a volume of this noise inside what the model has seen? Empty while that is unknown."""
    low, high = card.sigma_range
    if not high or sigma is None or not signal or signal <= 0:
        return ""
    ratio, seen = sigma / signal, f"{low:.1%} to {high:.1%}"
    beyond = card.unlike(ratio)
    if beyond == "less":
        return f"This volume has less noise ({ratio:.1%} of the signal) than the model knows ({seen}): little to gain."
    if beyond == "more":
        return f"This volume has more noise ({ratio:.1%} of the signal) than the model knows ({seen}): adapt it."
    where = "inside" if low <= ratio <= high else "at the edge of"
    return f"This volume is {where} its range (noise {ratio:.1%} of the signal; seen {seen})."
