"""The record of a batch in its output folder: `batch.json` for programs, `batch.csv` for spreadsheets."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from C2SCore import files, runlock
from C2SCore.errors import UserError
from C2SCore.images import WRITABLE, suffix_of
from C2SCore.jobfiles import resolved
from C2SCore.writing import atomic, write_json

if TYPE_CHECKING:
    from C2SCore.scanjob import ScanJob

DONE, FAILED, SKIPPED, WAITING, LEFT_OUT = "done", "failed", "skipped", "waiting", "left out"
PATIENCE = 30.0  # s: another batch rewrites the record in a fraction of one
_PATHS = ("scan", "output", "residual", "uncertainty", "picture")


@dataclass(frozen=True)
class Record:
    """What became of one scan; `state` is done, failed, skipped (done by an earlier batch), left out (a mask or another
    object that is no scan; `error` says what) or waiting.
    """

    scan: str
    output: str
    state: str
    error: str = ""
    details: str = ""  # traceback of an error that is no `UserError`
    fingerprint: str = ""
    residual: str = ""
    uncertainty: str = ""
    picture: str = ""
    name: str = ""  # by what the file says, as the description of a DICOM series
    model: str = ""
    version: str = ""
    sigma: float | None = None
    snr_before: float | None = None
    snr_after: float | None = None
    snr_gain_db: float | None = None
    verdict: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @classmethod
    def of(cls, job: ScanJob, state: str, error: str = "", details: str = "") -> Record:
        """That of a job of which nothing else is known."""
        return cls(**{name: getattr(job, name) for name in _PATHS}, state=state, error=error, details=details)

    def outputs(self) -> list[str]:
        """All files, or folders of DICOM files, that are written."""
        return [path for path in (self.output, self.residual, self.uncertainty, self.picture) if path]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While a record is read and rewritten, other batches into its folder wait: each would lose lines of the other."""
    folder.mkdir(parents=True, exist_ok=True)
    lock, handle, end = folder / ".batch.lock", None, time.monotonic() + PATIENCE
    while handle is None and time.monotonic() < end:
        try:
            handle = runlock.claim(lock)
        except OSError as error:
            # On Windows, its last holder may just be deleting it. Else, as on a full disk, the writing says what is
            # wrong; or another user has left it, and waiting would not help.
            if os.name != "nt" or not isinstance(error, PermissionError):
                break
            time.sleep(runlock.PAUSE)
    try:
        yield
    finally:
        if handle is not None:
            runlock.release(lock, handle)


def read(folder: Path) -> dict[str, Record]:
    """The record of earlier batches by `resolved` output; empty if there is none or it cannot be read."""
    try:
        rows = json.loads((folder / "batch.json").read_text(encoding="utf-8"))
        return {resolved(row["output"]): Record(**{**row, "warnings": tuple(row["warnings"])}) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def beside(output: str) -> tuple[str, str, str]:
    """The residual, uncertainty and picture beside a result, after its name."""
    suffix = suffix_of(output) if suffix_of(output) in WRITABLE else ""  # a folder of DICOM files may have a dot
    stem = output[: len(output) - len(suffix)]
    return f"{stem}_residual{suffix}", f"{stem}_uncertainty{suffix}", f"{output}.png"


def results_in(folder: Path) -> set[str]:
    """What earlier batches have written to a folder, by its record; `resolved`. What the last one did not write beside
    a result, one before may have.
    """
    records = read(folder).values()
    return {resolved(path) for record in records for path in (*record.outputs(), *beside(record.output))}


def write(folder: Path, records: Sequence[Record]) -> None:
    """Rewrites both files; paths become such as hold from every folder, since the next batch may start elsewhere."""
    rows: list[dict[str, Any]] = []
    for record in records:
        row = dataclasses.asdict(record)
        rows.append(row | {name: files.absolute(row[name]) for name in _PATHS if row[name]})
    write_json(folder / "batch.json", rows)
    columns = [f.name for f in dataclasses.fields(Record) if f.name not in ("fingerprint", "details")]
    # Open in a spreadsheet, Windows lets nobody replace it: the record proper is the other one.
    with contextlib.suppress(UserError), atomic(folder / "batch.csv", ".csv") as temporary:
        with open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows({**row, "warnings": " | ".join(row["warnings"])} for row in rows)
