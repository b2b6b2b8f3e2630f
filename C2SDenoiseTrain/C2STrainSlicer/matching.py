"""Cases: the scans of one session put together, the contrast that is learnt and those that help it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from C2SCore import guidance
from C2SCore.errors import UserError
from C2STrainSlicer import scans
from C2STrainSlicer.scans import Row


@dataclass(frozen=True)
class Case:
    """A target with its helpers, one for each helping contrast, in their order."""

    name: str
    target: Row
    helpers: tuple[Row, ...] = ()


def contrasts(rows: Sequence[Row]) -> list[str]:
    """The contrasts of the usable rows, most frequent first; rows without one are left out."""
    names = [row.contrast for row in rows if row.usable and row.contrast]
    return sorted(set(names), key=lambda name: (-names.count(name), name))


def match(
    rows: Sequence[Row], target: str = "", helpers: Sequence[str] = (), pattern: str = ""
) -> tuple[list[Case], list[str]]:
    """Cases of the usable rows, and for every target that is left out a line that says why.

    `target`: its contrast, empty for all rows. `helpers`: contrasts that every case must have too. `pattern`: how names
    are made, with {case}, {contrast} and * (anything); empty: the contrast is found in the name, the rest is the case.
    """
    usable = [row for row in rows if row.usable]
    targets = [row for row in usable if not target or row.contrast == target]
    if not helpers:
        return [Case(row.text, row) for row in targets], []
    find = _finder(pattern)
    found: dict[tuple[str, str], list[Row]] = {}
    for row in usable:
        found.setdefault((find(row), row.contrast), []).append(row)
    cases, missing = [], []
    for row in targets:
        name = find(row)
        if not name:
            missing.append(f"{row.text} does not follow the pattern.")
            continue
        others = [_closest(found.get((name, contrast), []), row) for contrast in helpers]
        lacking = [contrast for contrast, other in zip(helpers, others, strict=True) if other is None]
        if lacking:
            missing.append(f"{name} lacks {', '.join(lacking)}.")
        else:
            cases.append(Case(row.text, row, tuple(other for other in others if other is not None)))
    return cases, missing


def _finder(pattern: str):
    """A function from a row to the name of its case; empty where the pattern does not fit."""
    if not pattern:
        return lambda row: scans.case_of(row.text)
    compiled = compile_pattern(pattern)

    def find(row: Row) -> str:
        found = compiled.fullmatch(row.text)
        return found.group("case") if found else ""

    return find


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A name pattern as a regular expression; `UserError` where it has no {case}."""
    if pattern.count("{case}") != 1 or pattern.count("{contrast}") > 1:
        raise UserError(
            f"The name pattern is {pattern!r}; it needs {{case}} once, and may have {{contrast}} once and * for "
            "anything. An example: {case}_{contrast}"
        )
    parts = re.split(r"(\{case\}|\{contrast\}|\*)", pattern)
    groups = {"{case}": "(?P<case>.+?)", "{contrast}": "(?P<contrast>.+?)", "*": ".*?"}
    return re.compile("".join(groups.get(part, re.escape(part)) for part in parts))


def _closest(rows: Sequence[Row], target: Row) -> Row | None:
    """The helper of the same repetition, else the first."""
    repetition = scans.guess_repetition(target.text)
    same = [row for row in rows if scans.guess_repetition(row.text) == repetition]
    return next(iter([*same, *rows]), None)


def summary(cases: Sequence[Case], missing: Sequence[str], helpers: Sequence[str]) -> str:
    """What was matched, for the panel."""
    if not helpers:
        return f"{guidance.counted(len(cases), 'scan')} to train on."
    if not cases:
        text = "No case has all contrasts."
    else:
        first = cases[0]
        helped = ", ".join(helper.text for helper in first.helpers)
        text = f"{guidance.counted(len(cases), 'case')}, such as {first.name} with {helped}."
    return " ".join([text, *missing[:2], *([f"{len(missing) - 2} more are incomplete."] if len(missing) > 2 else [])])
