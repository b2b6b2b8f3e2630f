"""A training that was stopped or killed is resumed exactly, and only with its own recipe and scans."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainings import LONGER, TINY, UNSEEN, noisy_disk, one_scan, train, weights

from C2SCore import config, model, state, training
from C2SCore.errors import Cancelled, UserError
from C2SCore.events import Log, Message
from C2SCore.patches import Case
from C2SCore.runfolder import run_folder


def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train(one_scan(), TINY, whole)
    steps = 0

    def stop_after_seven() -> bool:
        nonlocal steps
        steps += 1
        return steps > 8

    train(one_scan(), TINY, parts, cancelled=stop_after_seven)
    _, facts = state.load_state(run_folder(parts) / "state.safetensors")
    assert 0 < facts["step"] < TINY.steps
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for item in (parts, run_folder(parts)):
        item.rename(moved / item.name)
    train(one_scan(), TINY, moved / parts.name, resume=True)
    a, b = weights(whole), weights(moved / parts.name)
    assert all(torch.equal(a[k], b[k]) for k in a)
    _, facts = state.load_state(run_folder(moved / parts.name) / "state.safetensors")
    assert [point["step"] for point in facts["history"]] == [4, 8, 12]


KILLED = """
import sys
from pathlib import Path
import trainings
from C2SCore import training
training.FIRST_CHECKPOINT = 0.01
training.LOOKS = 1
trainings.train(trainings.one_scan(), trainings.UNSEEN, Path(sys.argv[1]))
"""


@pytest.fixture
def one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "LOOKS", 1)


def test_killed_soon_after_the_start_and_resumed_equals_uninterrupted(
    tmp_path: Path, one_look: None, one_thread: None
) -> None:
    """A real kill, after the first checkpoint and before the first validation."""
    assert training.FIRST_CHECKPOINT <= 10
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    state_file = run_folder(killed) / "state.safetensors"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(config.__file__).parents[1])])
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(killed)], env={**os.environ, "PYTHONPATH": path})
    deadline = time.monotonic() + 60
    while not state_file.exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    assert process.wait() != 0
    groups, facts = state.load_state(state_file)
    assert 0 < facts["step"] < UNSEEN.steps and facts["history"] == [] and "best" not in groups
    assert (run_folder(killed) / "lock").exists() and not killed.exists()

    train(one_scan(), UNSEEN, killed, resume=True)
    train(one_scan(), UNSEEN, whole)
    a, b = weights(whole), weights(killed)
    assert all(torch.equal(a[k], b[k]) for k in a)
    histories = [state.load_state(run_folder(p) / "state.safetensors")[1]["history"] for p in (whole, killed)]
    assert histories[0] == histories[1] and len(histories[0]) == 1


def test_a_slow_training_is_validated_often_and_resumed_at_the_same_steps(tmp_path: Path) -> None:
    recipe = LONGER.replace(steps=110, validate_every=1000)
    whole, parts, calls = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors", 0

    def stop_after_eight() -> bool:
        nonlocal calls
        calls += 1
        return calls > 9

    train(one_scan(), recipe, parts, cancelled=stop_after_eight)
    train(one_scan(), recipe, parts, resume=True)
    train(one_scan(), recipe, whole)
    seen = [
        [point["step"] for point in state.load_state(run_folder(path) / "state.safetensors")[1]["history"]]
        for path in (whole, parts)
    ]
    assert seen[0] == seen[1] == [*range(6, 110, 6), 110]
    a, b = weights(whole), weights(parts)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_stopped_before_the_first_validation_keeps_what_a_checkpoint_has(tmp_path: Path, one_look: None) -> None:
    out, steps = tmp_path / "m.safetensors", 0

    def stop_after_seven() -> bool:
        nonlocal steps
        steps += 1
        return steps > 8

    with pytest.raises(Cancelled):
        train(one_scan(), UNSEEN.replace(checkpoint_every=1e-6), out, cancelled=stop_after_seven)
    _, facts = state.load_state(run_folder(out) / "state.safetensors")
    assert facts["step"] == 7 and len(facts["losses"]) == 7


def test_resuming_what_is_complete_says_so(tmp_path: Path) -> None:
    out, logs = tmp_path / "m.safetensors", []
    train(one_scan(), TINY, out)
    before = weights(out)
    train(one_scan(), TINY, out, resume=True, emit=lambda m: logs.append(m.text) if isinstance(m, Log) else None)
    assert any("used up its steps" in text for text in logs)
    assert all(torch.equal(value, before[name]) for name, value in weights(out).items())


def test_what_a_complete_training_is_told_depends_on_what_ended_it(tmp_path: Path) -> None:
    by_steps, by_minutes = tmp_path / "steps.safetensors", tmp_path / "minutes.safetensors"
    short = TINY.replace(steps=10**6, minutes=1e-4)
    train(one_scan(), TINY, by_steps)
    train(one_scan(), short, by_minutes)
    for out, recipe, says in (
        (by_steps, TINY.replace(minutes=5.0), "used up its steps (12), so that more minutes add none. To learn"),
        (by_minutes, short, "used up its 0.0001 minutes; give it more (--minutes)"),
    ):
        messages: list[Message] = []
        train(one_scan(), recipe, out, resume=True, emit=messages.append)
        assert any(says in m.text for m in messages if isinstance(m, Log))


def test_resuming_without_a_state_overwrites_no_model_and_begins_where_there_is_none(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    train(one_scan(), TINY.replace(steps=1), out, resume=True)
    before = out.read_bytes()
    (run_folder(out) / "state.safetensors").unlink()
    left = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"is a model without a training to resume.*Choose another name"):
        train(one_scan(), TINY, out, resume=True)
    assert out.read_bytes() == before and sorted(tmp_path.rglob("*")) == left


def test_resume_refuses_another_recipe_but_takes_a_longer_budget(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    train(one_scan(), TINY, out)
    with pytest.raises(UserError, match="recipe differs"):
        train(one_scan(), TINY.replace(batch=2), out, resume=True)
    train(one_scan(), TINY.replace(steps=16), out, resume=True)
    assert model.load(out).card.quality["steps"] == 16


def test_resuming_on_changed_scans_is_refused_by_name(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"

    def cases(**changed: Any) -> list[Case]:
        return [
            Case(name, changed.get(name, noisy_disk(n)), [noisy_disk(9)], optional=True) for n, name in enumerate("abc")
        ]

    broken = noisy_disk(1) * np.nan
    train([*cases()[:2], Case("bad", broken, [noisy_disk(9)], optional=True), cases()[2]], TINY, out)
    state_file = run_folder(out) / "state.safetensors"
    before = out.read_bytes(), state_file.read_bytes()
    for scan, names in ((noisy_disk(5), "b"), (noisy_disk(1)[..., ::-1], "b"), (broken, "b"), (0 * noisy_disk(1), "b")):
        with pytest.raises(UserError, match=rf"training m began.*changed.*: {names}\. .*as they were.*--initial"):
            train(cases(b=scan), TINY, out, resume=True)
    for given, names in (
        (cases(a=noisy_disk(7), c=noisy_disk(8)), "a, c"),
        (cases()[:2], "c"),
        (cases()[::-1], "a, c"),
        ([Case("a", noisy_disk(0), [noisy_disk(3)]), *cases()[1:]], "a"),
        ([*cases(), Case("new", noisy_disk(6), [noisy_disk(9)])], "new"),
    ):
        with pytest.raises(UserError, match=rf": {names}\. "):
            train(given, TINY, out, resume=True)
    assert (out.read_bytes(), state_file.read_bytes()) == before
    nearly = np.nextafter(noisy_disk(1), np.float32(np.inf))  # as another library transforms k-space
    extra = Case("later", noisy_disk(6), [noisy_disk(9)], optional=True)
    train([*cases(b=nearly), extra], TINY.replace(steps=14), out, resume=True)
    assert model.load(out).card.trained_on == ("a", "b", "c")


def test_a_state_that_says_nothing_of_its_scans_is_resumed(tmp_path: Path) -> None:
    """Those of earlier versions."""
    out = tmp_path / "m.safetensors"
    train(one_scan(), TINY, out)
    path = run_folder(out) / "state.safetensors"
    groups, facts = state.load_state(path)
    del facts["scans"]
    state.save_state(path, groups, facts)
    train([Case("scan", noisy_disk(1))], TINY.replace(steps=14), out, resume=True)
    assert model.load(out).card.quality["steps"] == 14
    assert state.load_state(path)[1]["scans"][0][0] == "scan"
