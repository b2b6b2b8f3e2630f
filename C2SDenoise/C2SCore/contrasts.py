"""Which scan is which contrast, by what their names say."""

from __future__ import annotations

import re
from collections.abc import Sequence

_KNOWN = "flair|stir|mprage|t1ce|t1gd|t1w|t1|t2star|t2w|t2|pdw|pd|gre|fse|tse|swi|dwi|adc|epi|bold"
_SPECIFIC = ("flair", "stir", "mprage")
_CONTRAST = re.compile(rf"(?<![a-z0-9])({_KNOWN})(\d{{2}})?(?![a-z0-9])", re.IGNORECASE)
_SAME = {"t1w": "t1", "t2w": "t2", "pdw": "pd"}


def find(name: str) -> re.Match[str] | None:
    """Where a name speaks of its contrast (group 1), and the two digits of a repetition after it (group 2), as in
    T201; FLAIR goes before a T2 beside it, and the name of a file before those of its folders (PD may be a disease).
    """
    last = _last(name)
    found = _CONTRAST.finditer(name)
    return min(found, key=lambda match: (match.start() < last, match.group(1).lower() not in _SPECIFIC), default=None)


def _last(name: str) -> int:
    """Where the last part of a path begins."""
    return max(name.rfind("/"), name.rfind("\\")) + 1


def guess(name: str) -> str:
    """The contrast that a name speaks of, in capitals; empty if none."""
    found = find(name)
    return found.group(1).upper() if found else ""


def in_order(names: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Positions in `names` of the contrasts `wanted`, such as ("FLAIR", "T2w"); None unless every name says which of
    them it is.
    """
    if len(names) != len(wanted):
        return None
    found = [[n for n, name in enumerate(names) if _says(name, contrast)] for contrast in wanted]
    order = [places[0] for places in found if len(places) == 1]
    return order if sorted(order) == list(range(len(names))) else None


def _says(name: str, contrast: str) -> bool:
    word = contrast.lower()
    stem = _SAME.get(word, word)
    ending = "w?" if stem in _SAME.values() else ""
    # A number after the contrast counts repetitions; "_" does not end a word for \b.
    return bool(re.search(rf"(?<![a-z0-9]){re.escape(stem)}{ending}(\d{{2}})?(?![a-z0-9])", name.lower()))
