"""Which scan is which contrast, by what their names say."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SAME = {"t1w": "t1", "t2w": "t2", "pdw": "pd"}


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
