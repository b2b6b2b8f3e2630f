"""What a training must remember to be resumed by anybody: `training.json` in its folder beside the model.

`c2s train` and C2S Train write the same, so that each resumes what the other began. The folder may be moved: what lies
inside it is written relative to it, and other scans are looked for where they were, and, if they are not there, in the
same place relative to the folder. No PyTorch: Slicer reads this.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from C2SCore.card import read_header
from C2SCore.errors import UserError
from C2SCore.guidance import counted
from C2SCore.runfolder import RECORD, STATE, SUFFIX, owner, run_folder
from C2SCore.writing import atomic

PART = "::"


@dataclass
class Record:
    """A training: model file, cases as in `TrainJob`, recipe, card, and how it stands (running, stopped, failed, done).

    Once they are measured, the cases are those alone that are learnt from; `slices` is the number of their slices, 0 as
    long as it is not known.
    """

    out: Path
    cases: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    slices: int = 0
    state: str = "running"
    message: str = ""

    @property
    def folder(self) -> Path:
        return run_folder(self.out)

    @property
    def resumable(self) -> bool:
        return (self.folder / STATE).is_file() and self.state != "done"

    def save(self) -> None:
        """Write it whole or not at all; raises `UserError`."""
        values = asdict(self) | {"out": self.out.name, "cases": [self._moved(case, self._short) for case in self.cases]}
        try:
            with atomic(self.folder / RECORD) as temporary:
                # Escaped, so that a name which is not in UTF-8, of a scan that is left out, can be written too.
                temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror or error}); the training keeps its state there. "
                "Free some space, or choose another folder for the model."
            ) from error

    @classmethod
    def load(cls, folder: str | Path) -> Record:
        """The record in a training's folder (or beside a model file); `UserError` if there is none that can be read."""
        folder = Path(folder)
        folder = run_folder(folder) if folder.suffix == ".safetensors" else folder
        try:
            if folder.suffix != SUFFIX:
                raise ValueError("the name differs")
            values = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
            made = cls(**known | {"out": folder.with_suffix(".safetensors")})
            made.cases = [made._moved(case, made._long) for case in made.cases]
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise UserError(
                f"{folder} is not the folder of a training; its name must end with {SUFFIX}, and it must hold {RECORD} "
                f"({error}). Choose such a folder, beside its model."
            ) from error
        return made

    def history(self) -> list[dict[str, Any]]:
        """The points of the curves up to the last checkpoint, each with `step`; empty before the first."""
        return list(self.checkpoint().get("history", []))

    def checkpoint(self) -> dict[str, Any]:
        """What the last checkpoint says beside its tensors, such as `step` and `config`; empty if there is none."""
        try:
            header, _ = read_header(self.folder / STATE)
            return dict(json.loads(header["__metadata__"]["facts"]))
        except (UserError, KeyError, ValueError):
            return {}

    def files(self) -> list[list[str]]:
        """The paths of each case: the scan, then the contrasts that help it."""
        return [[case["target"], *case.get("auxiliary", ())] for case in self.cases]

    def check_scans(self) -> None:
        """Raise `UserError` if scans of the training are gone."""
        gone = list(dict.fromkeys(path for paths in self.files() for path in paths if not _there(path)))
        if gone:
            several = len({path.partition(PART)[0] for path in gone}) - 1
            aux = " --aux NEW" if any(len(paths) > 1 for paths in self.files()) else ""
            more = f" and {counted(several, 'more scan')} are gone" if several else " is gone"
            new = f', from its model if you like: --initial "{self.out}"' if self.out.exists() else "."
            raise UserError(
                f"{gone[0]}{more}; the training {self.out.stem} goes on only with every scan that it learns from. Put "
                "back what is gone to where it was, or in the same place relative to the model, or say where it is "
                f'now: c2s train --resume --out "{self.out}" --data NEW{aux}. Or start a new training with the '
                f"others{new}"
            )

    def relocate(self, given: Sequence[Sequence[tuple[str, bool]]]) -> list[str]:
        """Take the new paths of its scans from those `given`, by name: of the targets, then of each further contrast.

        Each with whether a search has found it. Scans that are not given stay where they are. Returns what a search has
        found beside them; raises `UserError` where others were named.
        """
        slots = [list(dict.fromkeys(paths)) for paths in zip(*self.files())]
        if len(given) not in (1, len(slots)):
            raise UserError(
                f"The training {self.out.stem} has {counted(len(slots) - 1, 'further contrast')}, and {len(given) - 1} "
                "were given with --aux. Leave --aux off to look for all scans in --data, or give each contrast."
            )
        pools = list(given) if len(given) > 1 else list(given) * len(slots)
        found = [_by_name(mine, [path for path, _ in pool]) for mine, pool in zip(slots, pools)]
        new = {path for places in found for path in places.values()}
        beside = [(path, searched) for pool in given for path, searched in pool if path not in new]
        other = next((path for path, searched in beside if not searched or not found[0]), None)
        if other is not None:
            own = next((path for path in slots[0] if path not in found[0]), slots[0][0])
            raise UserError(
                f"These are not the scans of the training {self.out.stem}; it has {Path(own).name}, and not "
                f"{Path(other).name}. Leave the scans off to resume it: it knows them. Or begin another model."
            )
        for case in self.cases:
            case["target"] = found[0].get(case["target"], case["target"])
            case["auxiliary"] = [places.get(path, path) for places, path in zip(found[1:], case.get("auxiliary", ()))]
        return [path for path, _ in beside]

    def discard(self) -> None:
        """Remove what the training has kept; a model that it made already stays."""
        other = owner(self.folder)
        if other is not None:
            raise UserError(f"Process {other} is training {self.out.stem} just now. Stop it first.")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _moved(self, case: dict[str, Any], change: Any) -> dict[str, Any]:
        moved = {"target": change(case["target"]), "auxiliary": [change(path) for path in case.get("auxiliary", ())]}
        return {**case, **moved}

    def _short(self, path: str) -> Any:
        inside = Path(path)
        if self.folder in inside.parents:
            return inside.relative_to(self.folder).as_posix()
        try:
            return [path, os.path.relpath(path, self.folder)]
        except ValueError:  # another drive of Windows
            return path

    def _long(self, path: Any) -> str:
        if isinstance(path, list):
            there, beside = path[0], os.path.normpath(self.folder / path[1])
            return there if _there(there) else str(beside)
        return path if Path(path).is_absolute() else str(self.folder / path)


def _there(path: str) -> bool:
    return Path(path.partition(PART)[0]).exists()


def _by_name(mine: Sequence[str], pool: Sequence[str]) -> dict[str, str]:
    """The path in `pool` of each of mine that is there, by name and by the folders above, as far as they are alike."""
    parts = [Path(path).parts[::-1] for path in mine]
    named: dict[str, list[int]] = {}
    for m, path in enumerate(pool):
        named.setdefault(Path(path).name, []).append(m)
    alike: list[tuple[int, int, int]] = []
    for n, own in enumerate(parts):
        for m in named.get(own[0], ()):
            pairs = zip(own, Path(pool[m]).parts[::-1])
            alike.append((-sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)), n, m))
    found: dict[str, str] = {}
    taken: set[int] = set()
    for _, n, m in sorted(alike):  # those with most in common first, then in order
        if mine[n] not in found and m not in taken:
            found[mine[n]] = pool[m]
            taken.add(m)
    return found


def unfinished(folders: Iterable[str | Path]) -> list[Record]:
    """The trainings in these folders that could be resumed, by name; none that goes on in another process."""
    found: dict[Path, Record] = {}
    for folder in folders:
        for path in Path(folder).glob(f"*{SUFFIX}") if folder and Path(folder).is_dir() else ():
            try:
                record = Record.load(path)
            except UserError:
                continue
            if record.resumable and owner(path) is None:
                found[path.resolve()] = record
    return sorted(found.values(), key=lambda record: record.out.stem.lower())
