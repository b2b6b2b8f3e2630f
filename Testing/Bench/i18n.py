"""Stand-in for slicer.i18n: no translation, but a check that the text could be translated."""

from __future__ import annotations

import re

_PLACEHOLDER = re.compile(r"(?<!\{)\{([^{}]+)\}(?!\})")


def placeholders(text: str) -> set[str]:
    """The names in braces, which a translation has to keep."""
    return set(_PLACEHOLDER.findall(text))


def tr(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not a text")
    return text


def translate(context: str, text: str) -> str:
    return tr(text)
