"""What a script asks for, as the plan of a training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from C2SCore import contrasts
from C2SCore.config import TrainConfig
from C2SCore.errors import UserError
from C2SSlicer import job, volumes
from C2STrainSlicer import inspection, library, matching, recipe, scans
from C2STrainSlicer.datapanel import plan_cases
from C2STrainSlicer.inspection import Inspection
from C2STrainSlicer.scans import Row


def cases_of(
    given: Any, target: str, auxiliary: Sequence[Any], pattern: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Cases as in `TrainJob`, and what they say for the model's card."""
    if isinstance(given, (str, Path)) and Path(given).is_dir():
        rows = _looked_at(str(given))
        matching.name_contrasts(rows, pattern)
        kinds = matching.contrasts(rows)
        broken = [f"{row.text}: {row.problem}" for row in rows if row.problem]
        target = _known(target, kinds, given, broken) if target else ""
        auxiliary = [_known(name, kinds, given, broken) for name in auxiliary]
        cases, missing = matching.match(rows, target, auxiliary, pattern)
        if not cases:
            raise UserError(f"There is no scan to train on in {given}. {' '.join([*missing, *broken][:5])}".strip())
        for line in [*broken, *missing]:
            logging.warning("C2S Train, left out: %s", line)
        kinds = [target] if target else matching.contrasts([case.target for case in cases])
        return plan_cases(cases), {"contrasts": kinds, "auxiliary": list(auxiliary)}
    targets = _items(given)
    groups = [_items(group) for group in auxiliary]
    if not targets:
        raise UserError("No scan was given; at least one is needed. Give a folder, files, or volume nodes.")
    for group in groups:
        if len(group) != len(targets):
            raise UserError(
                f"{len(targets)} scans and {len(group)} of a helping contrast were given; there must be one for each."
            )
    rows = [_row(item) for item in targets]
    cases = [matching.Case(row.text, row, tuple(_row(group[n]) for group in groups)) for n, row in enumerate(rows)]
    helpers = [contrasts.guess(_row(group[0]).text) or f"contrast {n + 2}" for n, group in enumerate(groups)]
    return plan_cases(cases), {"contrasts": matching.contrasts(rows), "auxiliary": helpers}


def _known(name: str, kinds: Sequence[str], folder: Any, broken: Sequence[str]) -> str:
    """A contrast as the scans have it, whose names are in capitals as far as they were guessed."""
    found = next((kind for kind in kinds if kind.casefold() == str(name).strip().casefold()), None)
    if found is None:
        there = f"there are {', '.join(kinds)}" if kinds else "the names say none"
        more = f" Not usable: {' '.join(broken[:3])}" if broken else ""
        raise UserError(
            f"There is no scan of the contrast {name!r} in {folder}; {there}. Give one that there is, or the pattern "
            f"of the names, such as {{case}}_{{contrast}}.{more}"
        )
    return found


def _items(given: Any) -> list[Any]:
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _row(item: Any) -> Row:
    """A file or a volume node, unread."""
    if isinstance(item, (str, Path)):
        if not Path(str(item).partition("::")[0]).exists():
            raise UserError(f"{item} does not exist; a scan must be a file. Check the path.")
        text = scans.matching_text(str(item))
        return Row(text, str(item), contrast=contrasts.guess(text))
    volumes.check_scalar(item)
    return Row(item.GetName(), node=item.GetID(), contrast=contrasts.guess(item.GetName()))


def _looked_at(folder: str) -> list[Row]:
    """The scans of a folder, read and measured."""
    rows: list[Row] = []
    problems: list[str] = []
    looking = Inspection(rows.append, lambda done, total: None, problems.append)
    looking.folder(folder)
    worker = job.shared(inspection.WORKER)
    while looking.busy:
        worker.poll(wait=0.05)
    looking.close()
    if problems and problems[-1]:
        raise UserError(problems[-1])
    return rows


def config_of(preset: str, config: Any, initial: str, minutes: float) -> TrainConfig:
    """The recipe: `config` is a YAML file, or settings by dotted name over the preset."""
    if isinstance(config, (str, Path)):
        return recipe.resolve(preset, str(config), {}, initial, minutes)
    return recipe.resolve(preset, "", config or {}, initial, minutes)


def out_of(model: str) -> Path:
    """Where the model goes: among the user's own for a name."""
    path = Path(model)
    return path.absolute() if path.suffix == ".safetensors" else library.check_out("", str(model))
