"""`c2s train --report`: what the training has come to, as a page and in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from C2SCore import trainreport
from C2SCore.cli import main
from C2SCore.errors import Cancelled

STEPS = "{network: small, patch: 16, batch: 1, steps: 2, validate_every: 1, initial: '', loss: {antithetic: false}}"


@pytest.fixture
def train(tmp_path: Path, scan_file: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs `c2s train` of a few steps into `m.safetensors`, with `words` after it; BM3D would take its minute."""
    monkeypatch.setattr(trainreport, "_bm3d", lambda *given: None)
    (tmp_path / "recipe.yaml").write_text(STEPS)
    line = ["--data", scan_file, "--out", tmp_path / "m.safetensors", "--config", tmp_path / "recipe.yaml"]
    return lambda *words: main([str(w) for w in ("train", *line, "--device", "cpu", *words)])


def test_a_training_says_what_it_has_come_to(train, tmp_path, capsys):
    assert train("--report", tmp_path / "r" / "m.html", "--json") == 0
    said = capsys.readouterr()
    numbers = json.loads(said.out)["report"]
    assert numbers["compared"] == "default" and 0 < numbers["score_compared"] < numbers["score"]
    assert f"{numbers['sentence']} -> {tmp_path / 'r' / 'm.html'}" in said.err
    page = (tmp_path / "r" / "m.html").read_text(encoding="utf-8")
    assert numbers["sentence"] in page and "<h2>Comparison" in page


@pytest.mark.parametrize("name", ["r.pdf", "page", "scan0.nii.gz/r.html"])
def test_a_report_that_cannot_be_written_is_refused_before_the_training(train, tmp_path, capsys, name):
    assert train("--report", tmp_path / name) == 2
    assert str(Path(name).parts[0]) in capsys.readouterr().err
    assert not (tmp_path / "m.safetensors").exists() and not (tmp_path / "m.training").exists()


def test_a_report_that_is_stopped_leaves_the_model(train, tmp_path, capsys, monkeypatch):
    def stopped(*given):
        raise Cancelled

    monkeypatch.setattr(trainreport, "write", stopped)
    assert train("--report", tmp_path / "r.html") == 1
    assert "m.safetensors is there" in capsys.readouterr().err
    assert (tmp_path / "m.safetensors").is_file() and not (tmp_path / "r.html").exists()
