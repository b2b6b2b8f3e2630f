"""What the tests of batches share: what is asked for each scan, and the files that a batch adds to its results."""

from __future__ import annotations

from pathlib import Path

from C2SCore.scanjob import ScanJob

RECORD = ("batch.csv", "batch.html", "batch.json")


def template(model_file: Path) -> ScanJob:
    return ScanJob("", "", model=str(model_file), device="cpu")
