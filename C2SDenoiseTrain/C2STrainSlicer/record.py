"""What a training must remember to be resumed by another Slicer: `training.json` in its folder beside the model.

The folder may be moved: what lies inside it is written relative to it, and other scans are looked for where they were,
and, if they are not there, in the same place relative to the folder.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from C2SCore.card import read_header
from C2SCore.errors import UserError

NAME = "training.json"
SUFFIX = ".training"
SCANS = "scans"  # folder in it, for volumes of the scene
STATE = "state.safetensors"  # the core's own checkpoint


@dataclass
class Record:
    """A training: model file, cases as in `TrainJob`, recipe, card, and how it stands (running, stopped, failed, done).

    `slices` is their number, as far as it is known.
    """

    out: Path
    cases: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    report: bool = True
    slices: int = 0
    state: str = "running"
    message: str = ""

    @property
    def folder(self) -> Path:
        return self.out.with_suffix(SUFFIX)

    @property
    def resumable(self) -> bool:
        return (self.folder / STATE).is_file() and self.state != "done"

    def save(self) -> None:
        """Write it whole or not at all; raises `OSError`."""
        values = asdict(self) | {"out": self.out.name, "cases": [self._moved(case, self._short) for case in self.cases]}
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(values, file, indent=1, ensure_ascii=False)
            os.replace(temporary, self.folder / NAME)
        finally:
            Path(temporary).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: str | Path) -> Record:
        """The record in a training's folder (or beside a model file); `UserError` if there is none that can be read."""
        folder = Path(folder)
        folder = folder.with_suffix(SUFFIX) if folder.suffix == ".safetensors" else folder
        try:
            values = json.loads((folder / NAME).read_text(encoding="utf-8"))
            known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
            made = cls(**known | {"out": folder.with_suffix(".safetensors")})
            made.cases = [made._moved(case, made._long) for case in made.cases]
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{folder} is not the folder of a training ({error}); it must hold {NAME}. Choose a folder that ends "
                f"with {SUFFIX}, beside its model."
            ) from error
        return made

    def history(self) -> list[dict[str, Any]]:
        """The points of the curves up to the last checkpoint, each with `step`; empty before the first."""
        try:
            header, _ = read_header(self.folder / STATE)
            return list(json.loads(header["__metadata__"]["facts"])["history"])
        except (UserError, KeyError, ValueError):
            return []

    def check_scans(self) -> None:
        """Raise `UserError` if a scan of the training is gone."""
        for case in self.cases:
            for path in [case["target"], *case.get("auxiliary", ())]:
                if not Path(path.partition("::")[0]).exists():
                    raise UserError(
                        f"{path} is gone; the training {self.out.stem} learns from it. Put it back, or start a new "
                        "training."
                    )

    def _moved(self, case: dict[str, Any], change: Any) -> dict[str, Any]:
        moved = {"target": change(case["target"]), "auxiliary": [change(path) for path in case.get("auxiliary", ())]}
        return {**case, **moved}

    def _short(self, path: str) -> Any:
        if not path or path.startswith("node "):
            return path
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
            return there if Path(there.partition("::")[0]).exists() else str(beside)
        return path if not path or path.startswith("node ") or Path(path).is_absolute() else str(self.folder / path)


def unfinished(folders: Iterable[str | Path]) -> list[Record]:
    """The trainings in these folders that could be resumed, by name."""
    found: dict[Path, Record] = {}
    for folder in folders:
        for path in Path(folder).glob(f"*{SUFFIX}") if folder and Path(folder).is_dir() else ():
            try:
                record = Record.load(path)
            except UserError:
                continue
            if record.resumable:
                found[path.resolve()] = record
    return sorted(found.values(), key=lambda record: record.out.stem.lower())
