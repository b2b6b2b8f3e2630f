"""The training loop: it learns, repeats itself exactly, keeps its budget, and can be paused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainings import LONGER, TINY, noisy_disk, one_scan, train, weights

from C2SCore import model, state, training
from C2SCore.config import TrainConfig
from C2SCore.errors import Cancelled, UserError
from C2SCore.events import Curve, Message, Preview, Progress
from C2SCore.patches import Case
from C2SCore.runfolder import run_folder


def test_it_learns_from_noise_alone(tmp_path: Path) -> None:
    curves: list[float] = []

    def emit(message: object) -> None:
        if isinstance(message, Curve):
            curves.append(message.values["validation"] or np.nan)

    recipe = LONGER.replace(steps=150, validate_every=50, precision="auto")
    out = train(one_scan(), recipe, tmp_path / "m.safetensors", emit=emit)
    # 1 is the noise itself: what is left after it must be well below.
    assert curves[-1] < 0.5
    card = model.load(out).card
    assert card.trained_on == ("scan",) and card.slices == 6 and card.neighbours == 1
    assert card.sigma_range[0] == pytest.approx(0.1, rel=0.15)
    assert TrainConfig.from_dict(card.config) == recipe


def test_same_seed_same_weights_other_seed_other_weights(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.safetensors" for n in range(3)]
    for path, seed in zip(paths, (0, 0, 1)):
        train(one_scan(), TINY.replace(seed=seed), path)
    first, second, third = map(weights, paths)
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not all(torch.equal(first[k], third[k]) for k in first)


def test_a_budget_of_time_is_looked_at_twenty_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of two seconds each, by a clock that the test turns; also across a stop."""
    now = 0.0
    advance = training._Run.advance

    def slow(run: training._Run, *drawn: Any) -> None:
        nonlocal now
        now += 2.0
        advance(run, *drawn)

    monkeypatch.setattr(training.time, "monotonic", lambda: now)
    monkeypatch.setattr(training._Run, "advance", slow)
    recipe = LONGER.replace(steps=1_000_000, minutes=4.0, validate_every=250)
    out = tmp_path / "m.safetensors"
    train(one_scan(), recipe, out, cancelled=lambda: now >= 18)
    train(one_scan(), recipe, out, resume=True)
    _, facts = state.load_state(run_folder(out) / "state.safetensors")
    assert [point["step"] for point in facts["history"]] == list(range(6, 121, 6))


def test_progress_tells_the_part_of_the_budget_that_ends_first(tmp_path: Path) -> None:
    for budget in ({"minutes": 60.0}, {"steps": 1_000_000, "minutes": 0.02}):
        messages: list[Message] = []
        train(one_scan(), TINY.replace(**budget), tmp_path / f"{len(budget)}.safetensors", emit=messages.append)
        parts = [m.fraction for m in messages if isinstance(m, Progress) and m.stage == "train"]
        assert parts == sorted(parts) and 0 < parts[0] <= 0.5 and parts[-1] <= 1


def test_cancelled_before_anything_was_learnt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        train(one_scan(), TINY.replace(checkpoint_every=60), tmp_path / "m.safetensors", cancelled=lambda: True)
    assert list(tmp_path.iterdir()) == []


def test_pause_holds_and_goes_on(tmp_path: Path) -> None:
    seen: list[str] = []
    answers = iter([True, True, False])
    train(
        one_scan(),
        TINY.replace(steps=2, validate_every=2),
        tmp_path / "m.safetensors",
        paused=lambda: next(answers, False),
        emit=lambda m: seen.append(m.stage) if isinstance(m, Progress) else None,
    )
    assert "paused" in seen and (tmp_path / "m.safetensors").is_file()


def test_events_carry_a_preview_in_the_unit_of_the_scan(tmp_path: Path) -> None:
    previews: list[Preview] = []
    train(
        one_scan(),
        TINY,
        tmp_path / "m.safetensors",
        emit=lambda m: previews.append(m) if isinstance(m, Preview) else None,
    )
    source, result, removed = np.load(previews[-1].path)
    assert any(np.array_equal(source, plane) for plane in noisy_disk())
    assert np.allclose(source, result + removed, atol=1e-3)


def test_contrasts_and_neighbours_reach_the_network(tmp_path: Path) -> None:
    cases = [Case("a", noisy_disk(), auxiliary=[noisy_disk(5), noisy_disk(6)])]
    out = train(cases, TINY, tmp_path / "m.safetensors")
    assert model.load(out).denoiser.contrasts == 2
    with pytest.raises(UserError, match="same ones"):
        train([*cases, Case("b", noisy_disk())], TINY, tmp_path / "n.safetensors")
