"""Training that begins with a model: never worse than it, resumed without it, with further contrasts."""

from __future__ import annotations

from pathlib import Path

import torch
from trainings import LONGER, TINY, noisy_disk, one_scan, train, weights

from C2SCore import model, state
from C2SCore.denoiser import with_contrasts
from C2SCore.patches import Case
from C2SCore.runfolder import run_folder


def test_a_fine_tuning_is_resumed_without_the_model_that_it_began_with(tmp_path: Path) -> None:
    first = train(one_scan(), TINY, tmp_path / "a.safetensors")
    recipe, seen = TINY.replace(initial=str(first)), 0

    def stop_after_five() -> bool:
        nonlocal seen
        seen += 1
        return seen > 6

    whole = train(one_scan(), recipe, tmp_path / "whole.safetensors")
    out = train(one_scan(), recipe, tmp_path / "b.safetensors", cancelled=stop_after_five)
    first.unlink()
    train(one_scan(), recipe, out, resume=True)
    a, b = weights(whole), weights(out)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_fine_tuning_stopped_before_its_first_step_goes_on(tmp_path: Path) -> None:
    first = train(one_scan(), TINY, tmp_path / "a.safetensors")
    recipe, asked = TINY.replace(initial=str(first)), iter([False])
    whole = train(one_scan(), recipe, tmp_path / "whole.safetensors")
    out = train(one_scan(), recipe, tmp_path / "b.safetensors", cancelled=lambda: next(asked, True))
    assert model.load(out).card.quality["steps"] == 0
    train(one_scan(), recipe, out, resume=True)
    a, b = weights(whole), weights(out)
    assert all(torch.equal(a[k], b[k]) for k in a)
    _, facts = state.load_state(run_folder(out) / "state.safetensors")
    assert [point["step"] for point in facts["history"]] == [0, 4, 8, 12]


def test_fine_tuning_starts_from_the_model(tmp_path: Path) -> None:
    first = train(one_scan(), TINY, tmp_path / "a.safetensors")
    second = train(
        one_scan(),
        TINY.replace(steps=1, validate_every=1, learning_rate=1e-9),
        tmp_path / "b.safetensors",
        initial=model.load(first),
    )
    a, b = weights(first), weights(second)
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)


def test_a_start_that_cannot_be_bettered_is_kept(tmp_path: Path) -> None:
    first = train(one_scan(), LONGER.replace(steps=150, validate_every=150), tmp_path / "a.safetensors")
    ruinous = TINY.replace(steps=4, learning_rate=0.05, fine_tune=1.0, initial=str(first))
    second = train(one_scan(), ruinous, tmp_path / "b.safetensors")
    assert model.load(second).card.quality["best_step"] == 0
    a, b = weights(first), weights(second)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_model_without_contrasts_can_learn_to_use_them(tmp_path: Path) -> None:
    first = train(one_scan(), TINY, tmp_path / "a.safetensors")
    wider = with_contrasts(model.load(first).denoiser, 2)
    x, near, other = torch.randn(1, 1, 24, 24) + 5, torch.randn(1, 2, 24, 24), torch.randn(1, 2, 24, 24)
    with torch.no_grad():
        before = model.load(first).denoiser(x, torch.ones(1), near)
        after = wider(x, torch.ones(1), torch.cat([near, other], 1))
    assert torch.allclose(before, after, atol=1e-5)
    cases = [Case("a", noisy_disk(), auxiliary=[noisy_disk(5), noisy_disk(6)])]
    second = train(cases, TINY.replace(initial=str(first)), tmp_path / "b.safetensors")
    assert model.load(second).denoiser.contrasts == 2
