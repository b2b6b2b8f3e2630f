"""What the tests of the benchmarks and of the studies read."""

from __future__ import annotations

import json
from pathlib import Path


def read(folder: Path, name: str) -> dict:
    """The values of a result file, which says how it was made and has a table beside it."""
    values = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert {"command", "commit", "versions", "seed"} <= set(values["environment"])
    assert "|" in (folder / f"{name}.md").read_text(encoding="utf-8")
    return values
