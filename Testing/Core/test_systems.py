"""What Windows and macOS do otherwise, as far as another system can be made to do it."""

from __future__ import annotations

import importlib.util
import locale
import sys

from C2SCore import images


def test_names_with_umlauts_reach_simpleitk_on_windows(monkeypatch):
    """It gives them to the C library in UTF-8; SimpleITK issues 651, 795 and 1255."""
    told = []
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(locale, "setlocale", lambda *how: told.append(how))
    spec = importlib.util.spec_from_file_location("images_there", images.__file__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert told == [(locale.LC_CTYPE, ".UTF8")]
