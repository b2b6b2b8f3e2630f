"""Model files: what is saved comes back, and what is damaged is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from C2SCore import card, model, runlock
from C2SCore.card import Card, find_model, list_models, models_folder, read_card
from C2SCore.cli import main
from C2SCore.denoiser import Denoiser
from C2SCore.errors import UserError
from C2SCore.modelcache import load_kept
from C2SCore.runfolder import LOCK
from C2SCore.trainrecord import Record


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("C2S_MODELS_DIR", str(tmp_path / "own"))
    torch.manual_seed(0)
    denoiser = Denoiser("small", neighbours=1, contrasts=1)
    torch.nn.init.normal_(denoiser.network.tail.weight, std=0.1)
    facts = Card("mine", description="ein Kopf \u2013 brain", auxiliary=("FLAIR",), sigma_range=(0.05, 0.2), note="n")
    return model.save(tmp_path / "mine.safetensors", denoiser, facts)


def _with_card(path: Path, **changes: object) -> None:
    """Rewrite a file's card, leaving the weights."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["card"]) | changes
    header["__metadata__"]["card"] = json.dumps(facts)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def test_round_trip(saved: Path) -> None:
    loaded = model.load(saved)
    assert (loaded.denoiser.size, loaded.denoiser.neighbours, loaded.denoiser.contrasts) == ("small", 1, 1)
    assert loaded.card.auxiliary == ("FLAIR",) and loaded.card.description == "ein Kopf \u2013 brain"
    assert loaded.card.parameters == sum(p.numel() for p in loaded.denoiser.parameters())
    assert read_card(saved) == loaded.card
    assert not any(p.requires_grad for p in loaded.denoiser.parameters())


def test_export_and_import_give_identical_output(saved: Path, tmp_path: Path) -> None:
    exported = model.export_model(saved, tmp_path / "shared")
    entry = model.import_model(exported, "again")
    x, aux = torch.randn(1, 1, 20, 20), torch.randn(1, 3, 20, 20)
    outputs = [model.load(name).denoiser(x, torch.ones(1), aux) for name in (saved, "again")]
    assert torch.equal(*outputs) and not torch.allclose(outputs[0], x)
    assert [e.name for e in list_models() if not e.bundled] == ["again"]
    assert find_model("again") == entry.path
    model.remove_model("again")
    assert [e.name for e in list_models() if not e.bundled] == []


def test_names_are_unique_and_valid(saved: Path) -> None:
    model.import_model(saved, "twice")
    with pytest.raises(UserError, match="already"):
        model.import_model(saved, "twice")
    for name in ("a/b", "../up", "x" * 90, ".hidden", "a:b"):
        with pytest.raises(UserError, match="model name"):
            model.import_model(saved, name)


def test_a_removed_model_leaves_no_training_that_would_overwrite_the_next_of_its_name(saved: Path) -> None:
    entry = model.import_model(saved, "mine")
    record = Record(entry.path, state="stopped")
    record.save()
    handle = runlock.claim(record.folder / LOCK)
    assert handle is not None
    with pytest.raises(UserError, match="Stop it first"):
        model.remove_model("mine")
    runlock.release(record.folder / LOCK, handle)
    assert entry.path.exists() and model.remove_model("mine") == entry.path
    assert not entry.path.exists() and not record.folder.exists()
    record.save()  # a training that was stopped before it made a model
    with pytest.raises(UserError, match="There is a training 'mine' already"):
        model.import_model(saved, "mine")
    with pytest.raises(UserError, match=r"own models \(mine\)"):
        model.remove_model("default")
    assert model.remove_model("mine") == record.folder and not record.folder.exists()
    model.import_model(saved, "mine")


def test_a_bundled_model_is_imported_under_another_name() -> None:
    entry = model.import_model("default", "copy.safetensors")  # named as a file, which it is
    assert entry.path.read_bytes() == find_model("default").read_bytes()


def test_a_copy_that_cannot_be_written_is_told(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    assert main(["models", "export", str(saved), str(tmp_path / "shared")]) == 2
    assert "shared.safetensors cannot be written (No space left on device)" in capsys.readouterr().err
    with pytest.raises(UserError, match="cannot be written"):
        model.import_model(saved, "mine")


def test_bundled_models_stay(saved: Path) -> None:
    bundled = [e for e in list_models() if e.bundled]
    assert bundled and bundled[0].name == "default"
    with pytest.raises(UserError, match="bundled ones stay"):
        model.remove_model("default")


def test_truncated(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut short|no model|not a safetensors|damaged"):
            model.load(saved)


def test_edited_weights(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-3] ^= 0x40
    saved.write_bytes(data)
    with pytest.raises(UserError, match="edited or damaged"):
        model.load(saved)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_are_never_opened(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "evil.safetensors"
    path.write_bytes(pickle.dumps({"weights": 1}, protocol=protocol))
    with pytest.raises(UserError, match="pickle"):
        model.load(path)
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(UserError, match="pickle or zip"):
        model.load(path)


def test_newer_format_and_unknown_network(saved: Path) -> None:
    _with_card(saved, format_version=99)
    with pytest.raises(UserError, match="Update the program"):
        model.load(saved)
    _with_card(saved, format_version=1, network={"size": "gigantic"})
    with pytest.raises(UserError, match="gigantic"):
        model.load(saved)


@pytest.mark.parametrize(("ratio", "says"), [(0.024, "less"), (0.026, ""), (0.1, ""), (0.23, ""), (0.25, "more")])
def test_the_card_tells_noise_that_the_model_has_not_learnt(ratio: float, says: str) -> None:
    assert Card("mine", sigma_range=(0.05, 0.2)).unlike(ratio) == says and Card("mine").unlike(ratio) == ""


def test_a_strange_card_neither_hides_the_other_models_nor_breaks_its_own(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = model.import_model(saved, "odd")
    strange = {"description": 2024, "contrasts": "T1W", "sigma_range": 0.1, "slices": "many", "versions": 3}
    _with_card(entry.path, **strange, note=None)
    assert main(["models", "list"]) == 0
    assert "2024" in capsys.readouterr().out
    found = model.load("odd").card
    assert (found.contrasts, found.sigma_range, found.slices, found.versions) == (("T1W",), (0.0, 0.0), 0, {})
    assert found.note == ""


def test_weights_of_other_channels(saved: Path) -> None:
    _with_card(saved, network={"size": "small", "neighbours": 0, "contrasts": 0})
    with pytest.raises(UserError, match="do not fit"):
        model.load(saved)


def test_unknown_card_fields_of_later_versions_are_ignored(saved: Path) -> None:
    _with_card(saved, invented_later=[1, 2])
    assert model.load(saved).card.name == "mine"


def test_files_that_are_no_models(tmp_path: Path) -> None:
    plain = tmp_path / "plain.safetensors"
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.ones(2)}, plain)
    with pytest.raises(UserError, match="no model card"):
        model.load(plain)
    plain.write_text("hello, I am a text file of some length")
    with pytest.raises(UserError, match="not a safetensors"):
        read_card(plain)
    with pytest.raises(UserError, match="does not exist"):
        model.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(UserError, match="There is no model 'nothing'; known: default"):
        model.load("nothing")


@pytest.mark.parametrize(
    "header", ['{"a": 1}', '{"__metadata__": "words"}', '{"a": {"data_offsets": []}}', "[1, 2]", 100_000 * "["]
)
def test_one_odd_file_hides_no_model(header, saved: Path) -> None:
    text = header.encode()
    folder = models_folder()
    folder.mkdir(parents=True)
    (folder / "odd.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    (folder / ".c2s-left.safetensors").write_bytes(saved.read_bytes())  # of a process that was killed
    with pytest.raises(UserError, match="damaged header"):
        read_card(folder / "odd.safetensors")
    assert [entry.name for entry in list_models()] == ["default"]


def test_names_that_differ_by_case_alone_are_one(saved: Path) -> None:
    model.import_model(saved, "Knee")
    with pytest.raises(UserError, match="already"):
        model.import_model(saved, "knee")


@pytest.mark.parametrize("name", ["nul", "COM1", "aux.old"])
def test_names_of_devices_are_no_names(name: str, saved: Path) -> None:
    with pytest.raises(UserError, match="no device"):
        model.import_model(saved, name)


def test_a_kept_model_is_loaded_again_when_its_file_changes(saved: Path) -> None:
    first = load_kept(saved)
    assert load_kept(saved) is first
    other = Denoiser("small", 1)
    with torch.no_grad():
        other.network.tail.bias.add_(1)
    model.save(saved, other, Card("other"))
    os.utime(saved, ns=(1, 1))  # clocks of some systems are too coarse to tell
    assert load_kept(saved).card.name == "other"


def test_saving_where_one_cannot(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        model.save(blocked / "m.safetensors", Denoiser("small"), Card("m"))


def test_cards_configs_and_events_are_read_without_torch_at_once() -> None:
    code = (
        "import time, sys; t = time.process_time(); import C2SCore.events, C2SCore.config, C2SCore.card;"
        "C2SCore.card.list_models(); took = time.process_time() - t;"
        "assert not {'torch', 'numpy', 'SimpleITK', 'yaml'} & set(sys.modules), 'heavy import'; print(took)"
    )
    took = min(
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(3)
    )
    print(f"events, config and card imported in {took:.3f} s")
    assert took < 0.2


def test_default_model_is_there_and_says_what_it_saw() -> None:
    facts = read_card(find_model("default"))
    assert card.find_model("default").stat().st_size <= 20 * 2**20
    assert facts.trained_on and facts.attribution and facts.licence and facts.noise and facts.quality
    assert facts.sigma_range[0] <= 0.01 and facts.sigma_range[1] >= 0.25
