"""A card is edited after the training; the weights stay, and so does everything else that the file says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors
import torch

from C2SCore import card, model, runlock
from C2SCore.card import Card, read_card, read_header
from C2SCore.cardedit import edit_card
from C2SCore.cli import main
from C2SCore.errors import UserError
from C2SCore.runfolder import LOCK, run_folder
from C2SCore.trainrecord import Record


@pytest.fixture
def own(model_file: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(model_file, tmp_path / "own ü.safetensors"))


def test_the_words_change_and_nothing_else(own: Path, model_file: Path) -> None:
    changes = {"description": "Knee, 0.3 T – für alle", "contrasts": ["T1W", " PD "], "licence": "CC BY 4.0"}
    edited = edit_card(own, changes)
    assert edited == read_card(own) and edited.contrasts == ("T1W", "PD")
    before, after = model.load(model_file), model.load(own)  # the digest of the weights still holds
    assert after.card.description == changes["description"] and after.card.sigma_range == before.card.sigma_range
    a, b = before.denoiser.state_dict(), after.denoiser.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert read_header(own)[1] % 8 == 0
    with safetensors.safe_open(str(own), "pt") as file:
        assert len(file.keys()) == len(a)
    edit_card(own, {"description": "", "contrasts": "T2W"})
    assert read_card(own).contrasts == ("T2W",) and read_card(own).licence == "CC BY 4.0"


def test_names_of_scans_are_taken_out_before_a_model_is_shared(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save(own, model.load(own).denoiser, Card("own", trained_on=("DOE_JOHN_T1", "DOE_JANE_T1")))
    words, shared = tmp_path / "words.yaml", tmp_path / "shared.safetensors"
    assert main(["models", "export", str(own), str(shared)]) == 0
    told = capsys.readouterr()
    assert told.out.count("\n") == 1 and "The card names 2 scans" in told.err and "trained_on: []" in told.err
    assert f'c2s models edit "{shared}" --card' in told.err
    words.write_text("trained_on: [p1, p2]")
    assert main(["models", "edit", str(shared), "--card", str(words)]) == 0
    assert read_card(shared).trained_on == ("p1", "p2") and len(read_card(own).trained_on) == 2
    words.write_text("trained_on: []")
    assert main(["models", "edit", str(shared), "--card", str(words)]) == 0
    assert read_card(shared).trained_on == () and "JOHN" not in shared.read_bytes().decode("latin-1")
    capsys.readouterr()
    for name, file in ((str(shared), "again"), ("default", "bundled")):  # what bundled models have seen is public
        assert main(["models", "export", name, str(tmp_path / file)]) == 0
        assert capsys.readouterr().err == ""


def test_what_a_later_version_wrote_is_kept(own: Path) -> None:
    header, _ = read_header(own)
    future = json.loads(header["__metadata__"]["card"]) | {"of the future": 1}
    header["__metadata__"]["card"] = json.dumps(future)
    text = json.dumps(header).encode()
    rest = own.read_bytes()[read_header(own)[1] :]
    own.write_bytes(len(text).to_bytes(8, "little") + text + rest)
    edit_card(own, {"note": "x"})
    assert json.loads(read_header(own)[0]["__metadata__"]["card"])["of the future"] == 1


def test_its_training_takes_the_words_on(own: Path) -> None:
    record = Record(own, [{"target": str(own)}], card={"note": "old", "anatomy": "knee"}, state="stopped")
    record.save()
    edit_card(own, {"note": "new"})
    assert Record.load(own).card == {"note": "new", "anatomy": "knee"}
    handle = runlock.claim(run_folder(own) / LOCK)
    assert handle is not None
    with pytest.raises(UserError, match=f"being trained by process {os.getpid()}"):
        edit_card(own, {"note": "too late"})
    runlock.release(run_folder(own) / LOCK, handle)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sigma_range": [0, 1]}, "'sigma_range' cannot be edited"),
        ({"note": 3}, "must be text"),
        ({"contrasts": [1]}, "list of words"),
    ],
)
def test_what_was_measured_cannot_be_edited(own: Path, changes: dict, says: str) -> None:
    before = own.read_bytes()
    with pytest.raises(UserError, match=says):
        edit_card(own, changes)
    assert own.read_bytes() == before


def test_a_full_disk_leaves_the_model_as_it_was(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = own.read_bytes()

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        edit_card(own, {"note": "x"})
    assert own.read_bytes() == before and list(own.parent.iterdir()) == [own]


def test_the_command_line_edits_own_models_and_leaves_bundled_ones(own: Path, tmp_path: Path, capsys) -> None:
    words = tmp_path / "card.yaml"
    words.write_text("{anatomy: knee, contrasts: [T1W]}")
    assert main(["models", "edit", str(own), "--card", str(words), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["anatomy"] == "knee"
    words.write_text("{quality: great}")
    assert main(["models", "edit", str(own), "--card", str(words)]) == 2
    assert "cannot be edited" in capsys.readouterr().err
    bundled = next(entry for entry in card.list_models() if entry.bundled)
    words.write_text("{note: mine}")
    assert main(["models", "edit", bundled.name, "--card", str(words)]) == 2
    assert "is bundled" in capsys.readouterr().err
