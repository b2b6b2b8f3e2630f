"""The user's own models: edit, export, remove. No PyTorch."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from C2SCore import card as cards
from C2SCore import cardedit
from C2SCore.errors import UserError
from C2SCore.runfolder import STATE, run_folder
from C2SCore.trainrecord import Record
from C2SCore.writing import check_writable, copy
from C2SSlicer import models
from C2STrainSlicer import trainrun


def own() -> list[cards.ModelEntry]:
    return [entry for entry in models.entries() if not entry.bundled]


def export(name: str, target: str) -> Path:
    """Copy a model to a file that can be shared; a folder keeps the model's name."""
    source = Path(cards.find_model(name))
    if not target:
        raise UserError("No place for the exported model is chosen. Choose a file or a folder.")
    path = Path(target)
    if path.is_dir():
        path = path / source.name
    if path.suffix != ".safetensors":
        path = path.with_name(path.name + ".safetensors")
    if path.exists():
        raise UserError(f"{path} exists already; nothing is overwritten. Choose another name.")
    models.check_weights(source)
    copy(source, path)
    return path


def _find(name: str) -> cards.ModelEntry:
    found = next((entry for entry in own() if entry.name == name), None)
    if found is None:
        raise UserError(f"{name!r} is none of your own models; bundled ones stay. Choose one of your own.")
    return found


def edit_card(name: str, words: dict[str, str]) -> None:
    """Other words on the card of an own model; contrasts and scans have commas between."""
    changes: dict[str, Any] = {
        name: text.split(",") if name in ("contrasts", "trained_on") else text for name, text in words.items()
    }
    try:
        cardedit.edit_card(_find(name).path, changes)
    except OSError as error:
        raise UserError(
            f"The card of {name} could not be written ({error.strerror or error}); the model is as it was. Free some "
            "space, and save it again."
        ) from error


def remove(name: str) -> None:
    """Delete an own model and what its training left beside it."""
    found = _find(name)
    active = trainrun.running()
    if active is not None and active.plan.out == found.path:
        raise UserError(f"{name} is being trained. Stop the training first.")
    Record(found.path).discard()  # first: it refuses while another process trains it
    found.path.unlink()


def free_name(out: Path, ending: str, text: str) -> Path:
    """A YAML file beside the model `out` that is not there yet, or that holds this text already."""
    names = (f"{out.stem}{ending}{f'-{number}' if number > 1 else ''}.yaml" for number in itertools.count(1))
    return next(path for path in map(out.with_name, names) if not path.exists() or _holds(path, text))


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def check_out(folder: str, name: str) -> Path:
    """Where a new model goes: the user's models, or the chosen folder. `UserError` for a name that is taken."""
    name = cards.check_name(name.strip())
    out = check_writable((Path(folder) if folder else cards.models_folder()) / f"{name}.safetensors")
    if out.exists() or name in {entry.name for entry in models.entries()}:
        raise UserError(f"There is a model {name!r} already; names must differ. Choose another name under Model.")
    if (run_folder(out) / STATE).exists():
        raise UserError(
            f"There is an unfinished training {name!r}. Resume or discard it under Train, or choose another name."
        )
    return out
