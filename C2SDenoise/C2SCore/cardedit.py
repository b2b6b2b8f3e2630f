"""Other words on the card of a model that there is already; the weights stay as they are, byte for byte. No PyTorch."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from C2SCore.card import Card, list_models, read_card, read_header
from C2SCore.errors import UserError
from C2SCore.runfolder import RECORD, owner, run_folder
from C2SCore.trainrecord import Record
from C2SCore.writing import atomic

WORDS = ("description", "anatomy", "licence", "attribution", "note")
LISTS = ("contrasts", "auxiliary", "trained_on")
EDITABLE = ("contrasts", "trained_on", *WORDS)  # trained_on: files and folders may be called after patients
GIVEN = (*EDITABLE, "auxiliary", "date", "name")  # what a training may be told of its model; the rest it finds itself
ALIGNMENT = 8  # bytes: where the tensors of a safetensors file begin


def edit_card(path: str | Path, changes: Mapping[str, Any]) -> Card:
    """Write `changes` on the card of a model file: text for WORDS, else a list; returns the new card.

    The training that made the model, if it can be resumed, takes the words on too. Raises `UserError` for other fields,
    for bundled models, and while the model is being trained.
    """
    path = Path(path).absolute()
    values = checked(changes, EDITABLE)
    if any(entry.bundled and entry.path.resolve() == path.resolve() for entry in list_models()):
        raise UserError(f"{path.stem} is bundled, and its card stays. Export it, and edit the copy.")
    other = owner(run_folder(path))
    if other is not None:
        raise UserError(f"{path.stem} is being trained by process {other}. Stop it first, or wait for its end.")
    read_card(path)  # refuses what is no model, or of a later format
    header, offset = read_header(path)
    words = json.loads(header["__metadata__"]["card"]) | values
    header["__metadata__"]["card"] = json.dumps(words, ensure_ascii=False, sort_keys=True)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % ALIGNMENT)
    with atomic(path, path.suffix) as temporary:
        with path.open("rb") as source, temporary.open("wb") as target:
            target.write(len(text).to_bytes(8, "little") + text)
            source.seek(offset)
            shutil.copyfileobj(source, target)
    if (run_folder(path) / RECORD).is_file():
        record = Record.load(path)
        record.card |= values
        record.save()
    return read_card(path)


def checked(changes: Mapping[str, Any], allowed: Sequence[str]) -> dict[str, Any]:
    """The words for a card, stripped; raises `UserError` for fields that are not allowed, and for other values."""
    for name in changes:
        if name not in allowed:
            raise UserError(
                f"The card's field {name!r} cannot be edited; {', '.join(allowed)} can. Correct its name, or leave it "
                "out."
            )
    return {name: _words(name, value) if name in LISTS else _text(name, value) for name, value in changes.items()}


def _words(name: str, value: Any) -> list[str]:
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
        raise UserError(f"{name} is {value!r}; it must be a list of words, as in [T1W]. Correct it.")
    return [word.strip() for word in value if word.strip()]


def _text(name: str, value: Any) -> str:
    if isinstance(value, datetime.date):  # YAML makes one of 2024-05-01
        value = value.isoformat()
    if not isinstance(value, str):
        raise UserError(f"{name} is {value!r}; it must be text. Put it in quotation marks.")
    return value.strip()
