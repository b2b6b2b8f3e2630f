"""What a training refuses, and how it ends where memory, disk, or the loss fail: nothing bad is saved."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainings import LONGER, TINY, noisy_disk, one_scan, train, weights

from C2SCore import model, runlock, state, stepping, training
from C2SCore.errors import UserError
from C2SCore.events import Log, Message
from C2SCore.patches import Case
from C2SCore.runfolder import LOCK, run_folder


def test_a_loss_that_is_not_finite_ends_it_and_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, calls, recipe_loss = tmp_path / "m.safetensors", 0, stepping.recipe_loss

    def diverging(*given: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return recipe_loss(*given) * (1 if calls < 3 else float("nan"))

    monkeypatch.setattr(stepping, "recipe_loss", diverging)
    with pytest.raises(UserError, match="lower learning_rate"):
        train(one_scan(), TINY, out)
    _, facts = state.load_state(run_folder(out) / "state.safetensors")
    assert facts["step"] == 2


def test_weights_that_the_last_step_broke_make_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses before it are finite; that on the slices held back is not."""
    out, recipe_loss = tmp_path / "m.safetensors", training.recipe_loss
    monkeypatch.setattr(training, "recipe_loss", lambda *given: recipe_loss(*given) * math.inf)
    with pytest.raises(UserError, match=r"became inf at step 4.*lower learning_rate"):
        train(one_scan(), LONGER.replace(steps=4), out)
    assert not out.exists() and not (run_folder(out) / "state.safetensors").exists()


def test_memory_that_ends_is_said_with_the_way_out_and_the_training_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls, recipe_loss = tmp_path / "m.safetensors", 0, stepping.recipe_loss

    def hungry(*given: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return recipe_loss(*given)

    with monkeypatch.context() as patch:
        patch.setattr(stepping, "recipe_loss", hungry)
        with pytest.raises(UserError, match="4 patches of 32 pixels"):
            train(one_scan(), TINY, out)
    assert not out.exists()
    train(one_scan(), TINY, out, resume=True)
    whole = train(one_scan(), TINY, tmp_path / "whole.safetensors")
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(out).items())


@pytest.mark.parametrize("step", ["validation_set", "recipe_loss"])
def test_memory_that_ends_at_the_slices_held_back_is_said_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def hungry(*given: Any) -> None:
        raise MemoryError("Unable to allocate 6.00 GiB")

    monkeypatch.setattr(training, step, hungry)
    with pytest.raises(UserError, match="4 patches of 32 pixels"):
        train(one_scan(), TINY, tmp_path / "m.safetensors")


def test_a_full_disk_at_the_model_leaves_only_that_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Complete, and stopped before its end."""
    whole = train(one_scan(), TINY, tmp_path / "whole.safetensors")
    logs: list[str] = []

    def full(path: Path, data: bytes) -> None:
        if path.parent == tmp_path:
            raise OSError(28, "No space left on device")
        write_bytes(path, data)

    write_bytes = Path.write_bytes
    for name, seen, left in (("a", 100, "only writes the model"), ("b", 8, "goes on, and writes the model at its end")):
        out, asked = tmp_path / f"{name}.safetensors", iter([False] * seen)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full)
            with pytest.raises(UserError, match=rf"No space left.*room.*Free some space and resume.*{left}\."):
                train(one_scan(), TINY, out, cancelled=lambda asked=asked: next(asked, True))
        assert not out.exists() and not list(tmp_path.glob(".c2s*"))
        path = run_folder(out) / "state.safetensors"
        before = path.stat()
        with monkeypatch.context() as patch:
            if name == "a":
                patch.setattr(training._Run, "advance", None)
            train(
                one_scan(), TINY, out, resume=True, emit=lambda m: logs.append(m.text) if isinstance(m, Log) else None
            )
        after = path.stat()
        assert (name == "a") == ((before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns))
        assert all(torch.equal(value, weights(whole)[key]) for key, value in weights(out).items())
    assert logs == ["This training is complete; what is left is to write its model."]


def test_two_trainings_cannot_share_a_folder_but_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    """Also where a living process has the number of the dead one, as in a container or after a restart."""
    out = tmp_path / "m.safetensors"
    run_folder(out).mkdir()
    lock = run_folder(out) / LOCK
    handle = runlock.claim(lock)
    assert handle is not None
    with pytest.raises(UserError, match=f"Process {os.getpid()} is training into"):
        train(one_scan(), TINY, out)
    runlock.release(lock, handle)
    lock.write_text(str(os.getppid()))
    train(one_scan(), TINY, out)
    assert out.is_file() and not lock.exists()


def test_an_existing_model_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    out.write_bytes(b"precious")
    with pytest.raises(UserError, match="exists already"):
        train(one_scan(), TINY, out)
    assert out.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (Case("flat", np.ones((4, 64, 64), dtype=np.float32)), "no noise or no signal"),
        (Case("nan", np.full((4, 64, 64), np.nan, dtype=np.float32)), "NaN"),
        (Case("thin", np.ones((64, 64), dtype=np.float32)), "has shape"),
        (Case("odd", noisy_disk(), auxiliary=[np.ones((3, 64, 64), dtype=np.float32)]), "one grid"),
        (Case("twice", noisy_disk(), auxiliary=[noisy_disk(1), noisy_disk()]), "that scan itself"),
        (
            Case("beside", noisy_disk(), auxiliary=[np.full((6, 64, 64), np.inf, dtype=np.float32)]),
            "beside beside has NaN",
        ),
    ],
)
def test_bad_scans_are_refused_by_name_and_nothing_is_written(tmp_path: Path, case: Case, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        train([case], TINY, tmp_path / "m.safetensors")
    assert case.name in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_all_bad_scans_are_named_at_once_and_optional_ones_left_out(tmp_path: Path) -> None:
    flat = np.ones((4, 64, 64), dtype=np.float32)
    cases = [Case("good", noisy_disk()), *(Case(f"flat{n}", flat) for n in range(7))]
    with pytest.raises(UserError, match="flat0") as error:
        train(cases, TINY, tmp_path / "m.safetensors")
    assert "flat4" in str(error.value) and "And 2 more" in str(error.value)
    said: list[str] = []
    for case in cases[1:]:
        case.optional = True
    out = train(
        cases,
        TINY.replace(steps=1),
        tmp_path / "m.safetensors",
        emit=lambda m: said.append(m.text) if isinstance(m, Log) else None,
    )
    assert said[0].startswith("Left out: flat0") and said[6].startswith("Left out: flat6")
    assert len(said) == 8 and said[7].startswith("Only 6 slices")
    assert model.load(out).card.trained_on == ("good",)
    with pytest.raises(UserError, match="any of the scans"):
        train(cases[1:], TINY, tmp_path / "n.safetensors")


def test_a_contrast_with_the_noise_of_the_scan_is_told(tmp_path: Path) -> None:
    computed, acquired = 2000 - noisy_disk(), noisy_disk(1)
    heard: list[str] = []
    for name, contrast in (("computed", computed), ("acquired", acquired)):
        messages: list[Message] = []
        case = Case("scan", noisy_disk(), auxiliary=[contrast])
        train([case], TINY.replace(steps=1), tmp_path / f"{name}.safetensors", emit=messages.append)
        heard += [f"{name}: {message.text}" for message in messages if isinstance(message, Log)]
    told = [text for text in heard if "learns to keep the noise" in text]
    assert len(told) == 1 and told[0].startswith("computed: What looks like noise in scan is nearly the same")
