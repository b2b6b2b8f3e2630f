"""Cases: the scans of one session put together, the contrast that is learnt and those that help it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from C2SCore import contrasts as known_contrasts
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
    """Cases of the usable rows, and lines on what is left out: rows of no chosen contrast, and each target with why.

    `target`: its contrast, empty for all rows. `helpers`: contrasts that every case must have too. `pattern`: how names
    are made, with {case}, {contrast} and * (anything); empty: the contrast is found in the name, the rest is the case.
    """
    usable = [row for row in rows if row.usable]
    targets = [row for row in usable if not target or row.contrast == target]
    compiled = compile_pattern(pattern) if pattern else None  # what cannot work is said, whether it is needed or not
    missing = _of_no_chosen(usable, target, helpers)
    if not helpers:
        return [Case(row.text, row) for row in targets], missing
    find = _finder(compiled)
    found: dict[tuple[str, str], list[Row]] = {}
    for row in usable:
        found.setdefault((find(row), row.contrast), []).append(row)
    cases = []
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


def _of_no_chosen(usable: Sequence[Row], target: str, helpers: Sequence[str]) -> list[str]:
    """A line that counts the rows that are neither target nor helper, if there are some."""
    others = [row.contrast for row in usable if target and row.contrast not in (target, *helpers)]
    if not others:
        return []
    kinds = sorted(set(others), key=lambda name: (not name, -others.count(name), name))
    counts = ", ".join(f"{others.count(name)} {name or 'without a contrast'}" for name in kinds)
    are = "is" if len(others) == 1 else "are"
    return [f"{guidance.counted(len(others), 'scan')} of no chosen contrast {are} left out ({counts})."]


def name_contrasts(rows: Iterable[Row], pattern: str) -> list[Row]:
    """Give each row the contrast that the pattern finds in its name, or else its first guess; those that changed."""
    compiled = compile_pattern(pattern) if "{contrast}" in pattern else None
    changed = []
    for row in rows:
        found = compiled.fullmatch(row.text) if compiled else None
        named = _contrast_word(found.group("contrast")) if found else row.guess
        if named != row.contrast:
            row.contrast = named
            changed.append(row)
    return changed


def _contrast_word(text: str) -> str:
    """A contrast as it is guessed from names: in capitals, without the number of a repetition."""
    known = known_contrasts.find(text)
    return (known.group(1) if known and known.span() == (0, len(text)) else text.strip()).upper()


def _finder(compiled: re.Pattern[str] | None) -> Callable[[Row], str]:
    """A function from a row to the name of its case; empty where the pattern does not fit."""
    if compiled is None:
        return lambda row: scans.case_of(row.text)

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
    # Where nothing is left open behind it, the case is what is before the last separator: sub_01 in sub_01_T1.
    case = "(?P<case>.+?)" if "*" in pattern.partition("{case}")[2] else "(?P<case>.+)"
    groups = {"{case}": case, "{contrast}": "(?P<contrast>[^/]+?)", "*": ".*?"}
    return re.compile("".join(groups.get(part, re.escape(part)) for part in parts))


def _closest(rows: Sequence[Row], target: Row) -> Row | None:
    """The helper of the same repetition, else the first."""
    repetition = scans.guess_repetition(target.text)
    same = [row for row in rows if scans.guess_repetition(row.text) == repetition]
    return next(iter([*same, *rows]), None)


def summary(cases: Sequence[Case], missing: Sequence[str], helpers: Sequence[str]) -> str:
    """What was matched, for the panel."""
    if not helpers:
        return " ".join([f"{guidance.counted(len(cases), 'scan')} to train on.", *missing])
    if not cases:
        text = "No case has all contrasts."
    else:
        first = cases[0]
        helped = ", ".join(helper.text for helper in first.helpers)
        text = f"{guidance.counted(len(cases), 'case')}, such as {first.name} with {helped}."
    return " ".join([text, *missing[:2], *([f"{len(missing) - 2} more are incomplete."] if len(missing) > 2 else [])])
