"""Progress for people and for logs."""

from __future__ import annotations

import sys

from C2SCore import terminal


def test_a_log_gets_one_line_per_finished_stage(capsys):
    report = terminal.Reporter(title="a: ")
    for done in range(101):
        report("denoise", done, 100)
    report("write", 0, 1)
    report("write", 1, 1)
    report.close()
    assert capsys.readouterr().err.splitlines() == ["a: denoise 100/100", "a: write 1/1"]


def test_a_long_stage_speaks_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    report = terminal.Reporter()
    for done in range(10):
        report("train", done, 100)
        now[0] += 4
    assert capsys.readouterr().err.splitlines() == ["train 3/100", "train 6/100", "train 9/100"]


def test_quiet_is_quiet(capsys):
    terminal.Reporter(quiet=True)("denoise", 1, 1)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_and_no_lines(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    drawn = []

    class Bar:
        def __init__(self, total, desc, **kind):
            self.n = 0
            drawn.append((desc, total))

        def update(self, more):
            self.n += more
            drawn.append(self.n)

        def close(self):
            drawn.append("closed")

    monkeypatch.setattr(terminal, "_terminal_tqdm", lambda: Bar)
    report = terminal.Reporter()
    report("denoise", 0, 4)
    report("denoise", 3, 4)
    report("write", 1, 1)
    report.close()
    assert drawn == [("denoise", 4), 0, 3, "closed", ("write", 1), 1, "closed"]


def test_columns_line_up():
    text = terminal.table([("name", "kind", "x"), ("default", "own", "a long one")])
    assert text == "name     kind  x\ndefault  own   a long one"
