"""Which scan is which contrast, and of which case, by what their names say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from C2SCore.errors import UserError

_KNOWN = "flair|stir|mprage|t1ce|t1gd|t1w|t1|t2star|t2w|t2|pdw|pd|gre|fse|tse|swi|dwi|adc|epi|bold"
_SPECIFIC = ("flair", "stir", "mprage")
_CONTRAST = re.compile(rf"(?<![a-z0-9])({_KNOWN})(\d{{2}})?(?![a-z0-9])", re.IGNORECASE)
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".h5", ".hdf5", ".npy")
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


def matching_text(path: str, folder: str = "") -> str:
    """The path below `folder`, with forward slashes and without extension; a part of a file (`::`) stays."""
    file, mark, part = path.partition("::")
    short = Path(file)
    if folder and Path(folder) in short.parents:
        short = short.relative_to(folder)
    else:
        short = Path(short.name)
    text = short.as_posix()
    for suffix in SUFFIXES:
        if text.lower().endswith(suffix):
            text = text[: -len(suffix)]
            break
    return text + (f"/{part}" if mark else "")


def repetition(text: str) -> str:
    """The two digits after the contrast, as in T201; empty without."""
    found = find(text)
    return (found.group(2) or "") if found else ""


def case_of(text: str) -> str:
    """The name without contrasts and repetition: what the scans of one session have in common.

    Of its folders' words only the contrast itself goes.
    """
    last, own = _last(text), _stem(guess(text))

    def left(match: re.Match[str]) -> str:
        return "" if match.start() >= last or _stem(match.group(1)) == own else match.group()

    return re.sub(r"[\s_\-./]+", "_", _CONTRAST.sub(left, text)).strip("_") or "scan"


def partners(names: Sequence[str], others: Sequence[str]) -> tuple[list[int], bool]:
    """For each name the position in `others` of the one of the same case, and whether the names say so.

    Where they say nothing of cases, the order does. Raises `UserError` where they tell different cases.
    """
    mine, theirs = ([case_of(text).casefold() for text in texts] for texts in (names, others))
    if sorted(mine) != sorted(theirs):
        if set(mine) & set(theirs) or all(map(find, (*names, *others))):
            raise UserError(_unlike(names, others, mine, theirs))
        return list(range(len(names))), False
    numbered, counterparts = (
        [(case, repetition(text)) for case, text in zip(cases, texts)]
        for cases, texts in ((mine, names), (theirs, others))
    )
    places = [0] * len(names)
    for n, m in zip(*(sorted(range(len(keys)), key=keys.__getitem__) for keys in (numbered, counterparts))):
        places[n] = m
    alone = len(set(mine)) == len(mine)
    return places, alone or (len(set(numbered)) == len(mine) and sorted(numbered) == sorted(counterparts))


def _unlike(names: Sequence[str], others: Sequence[str], mine: Sequence[str], theirs: Sequence[str]) -> str:
    lacking = Counter(mine) - Counter(theirs)
    first = next(n for n, case in enumerate(mine) if case in lacking)
    return (
        f"{names[first]} would be put together with {others[first]}, whose name is of another case; every contrast "
        f"must be of the same anatomy. Add the scan that {names[first]} lacks or take it out, or name the scans of "
        "each contrast one by one, in the same order."
    )


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
    stem = _stem(contrast)
    ending = "w?" if stem in _SAME.values() else ""
    # A number after the contrast counts repetitions; "_" does not end a word for \b.
    return bool(re.search(rf"(?<![a-z0-9]){re.escape(stem)}{ending}(\d{{2}})?(?![a-z0-9])", name.lower()))


def _stem(contrast: str) -> str:
    return _SAME.get(contrast.lower(), contrast.lower())
