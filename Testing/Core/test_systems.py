"""What Windows and macOS do otherwise, as far as another system can be made to do it."""

from __future__ import annotations

import importlib.util
import io
import json
import locale
import sys

from C2SCore import commands, images


def test_names_with_umlauts_reach_simpleitk_on_windows(monkeypatch):
    """It gives them to the C library in UTF-8; SimpleITK issues 651, 795 and 1255."""
    told = []
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(locale, "setlocale", lambda *how: told.append(how))
    spec = importlib.util.spec_from_file_location("images_there", images.__file__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert told == [(locale.LC_CTYPE, ".UTF8")]


def test_json_in_a_pipe_of_windows_is_still_json(monkeypatch):
    """Its encoding is that of the country; whoever reads JSON takes it for UTF-8."""
    for encoding in ("cp1252", "utf-8"):
        pipe = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", pipe)
        commands._print_json({"scan": "Schädel.nii.gz"})
        pipe.flush()
        written = pipe.buffer.getvalue()
        assert json.loads(written.decode("utf-8")) == {"scan": "Schädel.nii.gz"}
        assert ("ä".encode() in written) == (encoding == "utf-8")
