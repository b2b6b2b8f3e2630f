"""The training loop: it learns, resumes exactly, ends well in every way, and refuses what cannot work."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from C2SCore import config, model, runlock, state, stepping, training
from C2SCore.config import Levels, Noise, TrainConfig
from C2SCore.corruption import coloured, make_example, patch_size
from C2SCore.denoiser import with_contrasts
from C2SCore.errors import Cancelled, UserError
from C2SCore.events import Curve, Log, Message, Preview, Progress
from C2SCore.patches import Case, PatchSampler, hold_back
from C2SCore.runfolder import LOCK, run_folder
from C2SCore.spectrum import BINS, Spectrum
from C2SCore.tensors import to_tensor

train = functools.partial(training.train, device="cpu")  # where the same seed gives the same weights
TINY = TrainConfig(steps=12, batch=4, patch=32, validate_every=4, warm_up=2, precision="float32", checkpoint_every=1e-6)
LONGER = TINY.replace(checkpoint_every=60)  # a checkpoint at every step takes longer than the step


def _scan(seed: int = 0, count: int = 6, sigma: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] / 64 - 0.5
    clean = (x**2 + y**2 < 0.16) * (1 + 0.3 * np.sin(20 * x + seed) * np.cos(15 * y))
    return (1000 * (clean + sigma * rng.standard_normal((count, 64, 64)))).astype(np.float32)


def _cases(**changes: object) -> list[Case]:
    return [Case("scan", _scan(), **changes)]


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return model.load(path).denoiser.state_dict()


def test_it_learns_from_noise_alone(tmp_path: Path) -> None:
    curves: list[float] = []

    def emit(message: object) -> None:
        if isinstance(message, Curve):
            curves.append(message.values["validation"] or np.nan)

    recipe = LONGER.replace(steps=150, validate_every=50, precision="auto")
    out = train(_cases(), recipe, tmp_path / "m.safetensors", emit=emit)
    # 1 is the noise itself: what is left after it must be well below.
    assert curves[-1] < 0.5
    card = model.load(out).card
    assert card.trained_on == ("scan",) and card.slices == 6 and card.neighbours == 1
    assert card.sigma_range[0] == pytest.approx(0.1, rel=0.15)
    assert TrainConfig.from_dict(card.config) == recipe


def test_same_seed_same_weights_other_seed_other_weights(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.safetensors" for n in range(3)]
    for path, seed in zip(paths, (0, 0, 1)):
        train(_cases(), TINY.replace(seed=seed), path)
    first, second, third = map(_weights, paths)
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not all(torch.equal(first[k], third[k]) for k in first)


def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train(_cases(), TINY, whole)
    steps = 0

    def stop_after_seven() -> bool:
        nonlocal steps
        steps += 1
        return steps > 8

    train(_cases(), TINY, parts, cancelled=stop_after_seven)
    _, facts = state.load_state(run_folder(parts) / "state.safetensors")
    assert 0 < facts["step"] < TINY.steps
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for item in (parts, run_folder(parts)):
        item.rename(moved / item.name)
    train(_cases(), TINY, moved / parts.name, resume=True)
    a, b = _weights(whole), _weights(moved / parts.name)
    assert all(torch.equal(a[k], b[k]) for k in a)
    _, facts = state.load_state(run_folder(moved / parts.name) / "state.safetensors")
    assert [point["step"] for point in facts["history"]] == [4, 8, 12]


KILLED = """
import sys
from pathlib import Path
import test_training as here
from C2SCore import training
training.FIRST_CHECKPOINT = 0.01
training.LOOKS = 1
here.train(here._cases(), here.UNSEEN, Path(sys.argv[1]))
"""
UNSEEN = TINY.replace(steps=60, validate_every=60, checkpoint_every=3600.0)  # not validated before its end


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

    train(_cases(), UNSEEN, killed, resume=True)
    train(_cases(), UNSEEN, whole)
    a, b = _weights(whole), _weights(killed)
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

    train(_cases(), recipe, parts, cancelled=stop_after_eight)
    train(_cases(), recipe, parts, resume=True)
    train(_cases(), recipe, whole)
    seen = [
        [point["step"] for point in state.load_state(run_folder(path) / "state.safetensors")[1]["history"]]
        for path in (whole, parts)
    ]
    assert seen[0] == seen[1] == [*range(6, 110, 6), 110]
    a, b = _weights(whole), _weights(parts)
    assert all(torch.equal(a[k], b[k]) for k in a)


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
    train(_cases(), recipe, out, cancelled=lambda: now >= 18)
    train(_cases(), recipe, out, resume=True)
    _, facts = state.load_state(run_folder(out) / "state.safetensors")
    assert [point["step"] for point in facts["history"]] == list(range(6, 121, 6))


def test_progress_tells_the_part_of_the_budget_that_ends_first(tmp_path: Path) -> None:
    for budget in ({"minutes": 60.0}, {"steps": 1_000_000, "minutes": 0.02}):
        messages: list[Message] = []
        train(_cases(), TINY.replace(**budget), tmp_path / f"{len(budget)}.safetensors", emit=messages.append)
        parts = [m.fraction for m in messages if isinstance(m, Progress) and m.stage == "train"]
        assert parts == sorted(parts) and 0 < parts[0] <= 0.5 and parts[-1] <= 1


def test_stopped_before_the_first_validation_keeps_what_a_checkpoint_has(tmp_path: Path, one_look: None) -> None:
    out, steps = tmp_path / "m.safetensors", 0

    def stop_after_seven() -> bool:
        nonlocal steps
        steps += 1
        return steps > 8

    with pytest.raises(Cancelled):
        train(_cases(), UNSEEN.replace(checkpoint_every=1e-6), out, cancelled=stop_after_seven)
    _, facts = state.load_state(run_folder(out) / "state.safetensors")
    assert facts["step"] == 7 and len(facts["losses"]) == 7


def test_a_loss_that_is_not_finite_ends_it_and_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, calls, recipe_loss = tmp_path / "m.safetensors", 0, stepping.recipe_loss

    def diverging(*given: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return recipe_loss(*given) * (1 if calls < 3 else float("nan"))

    monkeypatch.setattr(stepping, "recipe_loss", diverging)
    with pytest.raises(UserError, match="lower learning_rate"):
        train(_cases(), TINY, out)
    _, facts = state.load_state(run_folder(out) / "state.safetensors")
    assert facts["step"] == 2


def test_weights_that_the_last_step_broke_make_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses before it are finite; that on the slices held back is not."""
    out, recipe_loss = tmp_path / "m.safetensors", training.recipe_loss
    monkeypatch.setattr(training, "recipe_loss", lambda *given: recipe_loss(*given) * math.inf)
    with pytest.raises(UserError, match=r"became inf at step 4.*lower learning_rate"):
        train(_cases(), LONGER.replace(steps=4), out)
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
            train(_cases(), TINY, out)
    assert not out.exists()
    train(_cases(), TINY, out, resume=True)
    whole = train(_cases(), TINY, tmp_path / "whole.safetensors")
    assert all(torch.equal(value, _weights(whole)[name]) for name, value in _weights(out).items())


@pytest.mark.parametrize("step", ["validation_set", "recipe_loss"])
def test_memory_that_ends_at_the_slices_held_back_is_said_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def hungry(*given: Any) -> None:
        raise MemoryError("Unable to allocate 6.00 GiB")

    monkeypatch.setattr(training, step, hungry)
    with pytest.raises(UserError, match="4 patches of 32 pixels"):
        train(_cases(), TINY, tmp_path / "m.safetensors")


def test_resuming_what_is_complete_says_so(tmp_path: Path) -> None:
    out, logs = tmp_path / "m.safetensors", []
    train(_cases(), TINY, out)
    before = _weights(out)
    train(_cases(), TINY, out, resume=True, emit=lambda m: logs.append(m.text) if isinstance(m, Log) else None)
    assert any("used up its steps" in text for text in logs)
    assert all(torch.equal(value, before[name]) for name, value in _weights(out).items())


def test_a_full_disk_at_the_model_leaves_only_that_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Complete, and stopped before its end."""
    whole = train(_cases(), TINY, tmp_path / "whole.safetensors")
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
                train(_cases(), TINY, out, cancelled=lambda asked=asked: next(asked, True))
        assert not out.exists() and not list(tmp_path.glob(".c2s*"))
        path = run_folder(out) / "state.safetensors"
        before = path.stat()
        with monkeypatch.context() as patch:
            if name == "a":
                patch.setattr(training._Run, "advance", None)
            train(_cases(), TINY, out, resume=True, emit=lambda m: logs.append(m.text) if isinstance(m, Log) else None)
        after = path.stat()
        assert (name == "a") == ((before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns))
        assert all(torch.equal(value, _weights(whole)[key]) for key, value in _weights(out).items())
    assert logs == ["This training is complete; what is left is to write its model."]


def test_what_a_complete_training_is_told_depends_on_what_ended_it(tmp_path: Path) -> None:
    by_steps, by_minutes = tmp_path / "steps.safetensors", tmp_path / "minutes.safetensors"
    short = TINY.replace(steps=10**6, minutes=1e-4)
    train(_cases(), TINY, by_steps)
    train(_cases(), short, by_minutes)
    for out, recipe, says in (
        (by_steps, TINY.replace(minutes=5.0), "used up its steps (12), so that more minutes add none. To learn"),
        (by_minutes, short, "used up its 0.0001 minutes; give it more (--minutes)"),
    ):
        messages: list[Message] = []
        train(_cases(), recipe, out, resume=True, emit=messages.append)
        assert any(says in m.text for m in messages if isinstance(m, Log))


def test_a_fine_tuning_is_resumed_without_the_model_that_it_began_with(tmp_path: Path) -> None:
    first = train(_cases(), TINY, tmp_path / "a.safetensors")
    recipe, seen = TINY.replace(initial=str(first)), 0

    def stop_after_five() -> bool:
        nonlocal seen
        seen += 1
        return seen > 6

    whole = train(_cases(), recipe, tmp_path / "whole.safetensors")
    out = train(_cases(), recipe, tmp_path / "b.safetensors", cancelled=stop_after_five)
    first.unlink()
    train(_cases(), recipe, out, resume=True)
    a, b = _weights(whole), _weights(out)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_fine_tuning_stopped_before_its_first_step_goes_on(tmp_path: Path) -> None:
    first = train(_cases(), TINY, tmp_path / "a.safetensors")
    recipe, asked = TINY.replace(initial=str(first)), iter([False])
    whole = train(_cases(), recipe, tmp_path / "whole.safetensors")
    out = train(_cases(), recipe, tmp_path / "b.safetensors", cancelled=lambda: next(asked, True))
    assert model.load(out).card.quality["steps"] == 0
    train(_cases(), recipe, out, resume=True)
    a, b = _weights(whole), _weights(out)
    assert all(torch.equal(a[k], b[k]) for k in a)
    _, facts = state.load_state(run_folder(out) / "state.safetensors")
    assert [point["step"] for point in facts["history"]] == [0, 4, 8, 12]


def test_cancelled_before_anything_was_learnt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        train(_cases(), TINY.replace(checkpoint_every=60), tmp_path / "m.safetensors", cancelled=lambda: True)
    assert list(tmp_path.iterdir()) == []


def test_pause_holds_and_goes_on(tmp_path: Path) -> None:
    seen: list[str] = []
    answers = iter([True, True, False])
    train(
        _cases(),
        TINY.replace(steps=2, validate_every=2),
        tmp_path / "m.safetensors",
        paused=lambda: next(answers, False),
        emit=lambda m: seen.append(m.stage) if isinstance(m, Progress) else None,
    )
    assert "paused" in seen and (tmp_path / "m.safetensors").is_file()


def test_events_carry_a_preview_in_the_unit_of_the_scan(tmp_path: Path) -> None:
    previews: list[Preview] = []
    train(
        _cases(),
        TINY,
        tmp_path / "m.safetensors",
        emit=lambda m: previews.append(m) if isinstance(m, Preview) else None,
    )
    source, result, removed = np.load(previews[-1].path)
    assert any(np.array_equal(source, plane) for plane in _scan())
    assert np.allclose(source, result + removed, atol=1e-3)


def test_two_trainings_cannot_share_a_folder_but_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    """Also where a living process has the number of the dead one, as in a container or after a restart."""
    out = tmp_path / "m.safetensors"
    run_folder(out).mkdir()
    lock = run_folder(out) / LOCK
    handle = runlock.claim(lock)
    assert handle is not None
    with pytest.raises(UserError, match=f"Process {os.getpid()} is training into"):
        train(_cases(), TINY, out)
    runlock.release(lock, handle)
    lock.write_text(str(os.getppid()))
    train(_cases(), TINY, out)
    assert out.is_file() and not lock.exists()


def test_an_existing_model_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    out.write_bytes(b"precious")
    with pytest.raises(UserError, match="exists already"):
        train(_cases(), TINY, out)
    assert out.read_bytes() == b"precious"


def test_resuming_without_a_state_overwrites_no_model_and_begins_where_there_is_none(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    train(_cases(), TINY.replace(steps=1), out, resume=True)
    before = out.read_bytes()
    (run_folder(out) / "state.safetensors").unlink()
    left = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"is a model without a training to resume.*Choose another name"):
        train(_cases(), TINY, out, resume=True)
    assert out.read_bytes() == before and sorted(tmp_path.rglob("*")) == left


def test_resume_refuses_another_recipe_but_takes_a_longer_budget(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    train(_cases(), TINY, out)
    with pytest.raises(UserError, match="recipe differs"):
        train(_cases(), TINY.replace(batch=2), out, resume=True)
    train(_cases(), TINY.replace(steps=16), out, resume=True)
    assert model.load(out).card.quality["steps"] == 16


def test_resuming_on_changed_scans_is_refused_by_name(tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"

    def cases(**changed: Any) -> list[Case]:
        return [Case(name, changed.get(name, _scan(n)), [_scan(9)], optional=True) for n, name in enumerate("abc")]

    broken = _scan(1) * np.nan
    train([*cases()[:2], Case("bad", broken, [_scan(9)], optional=True), cases()[2]], TINY, out)
    state_file = run_folder(out) / "state.safetensors"
    before = out.read_bytes(), state_file.read_bytes()
    for scan, names in ((_scan(5), "b"), (_scan(1)[..., ::-1], "b"), (broken, "b"), (0 * _scan(1), "b")):
        with pytest.raises(UserError, match=rf"training m began.*changed.*: {names}\. .*as they were.*--initial"):
            train(cases(b=scan), TINY, out, resume=True)
    for given, names in (
        (cases(a=_scan(7), c=_scan(8)), "a, c"),
        (cases()[:2], "c"),
        (cases()[::-1], "a, c"),
        ([Case("a", _scan(0), [_scan(3)]), *cases()[1:]], "a"),
        ([*cases(), Case("new", _scan(6), [_scan(9)])], "new"),
    ):
        with pytest.raises(UserError, match=rf": {names}\. "):
            train(given, TINY, out, resume=True)
    assert (out.read_bytes(), state_file.read_bytes()) == before
    nearly = np.nextafter(_scan(1), np.float32(np.inf))  # as another library transforms k-space
    extra = Case("later", _scan(6), [_scan(9)], optional=True)
    train([*cases(b=nearly), extra], TINY.replace(steps=14), out, resume=True)
    assert model.load(out).card.trained_on == ("a", "b", "c")


def test_a_state_that_says_nothing_of_its_scans_is_resumed(tmp_path: Path) -> None:
    """Those of earlier versions."""
    out = tmp_path / "m.safetensors"
    train(_cases(), TINY, out)
    path = run_folder(out) / "state.safetensors"
    groups, facts = state.load_state(path)
    del facts["scans"]
    state.save_state(path, groups, facts)
    train([Case("scan", _scan(1))], TINY.replace(steps=14), out, resume=True)
    assert model.load(out).card.quality["steps"] == 14
    assert state.load_state(path)[1]["scans"][0][0] == "scan"


def test_fine_tuning_starts_from_the_model(tmp_path: Path) -> None:
    first = train(_cases(), TINY, tmp_path / "a.safetensors")
    second = train(
        _cases(),
        TINY.replace(steps=1, validate_every=1, learning_rate=1e-9),
        tmp_path / "b.safetensors",
        initial=model.load(first),
    )
    a, b = _weights(first), _weights(second)
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)


def test_a_start_that_cannot_be_bettered_is_kept(tmp_path: Path) -> None:
    first = train(_cases(), LONGER.replace(steps=150, validate_every=150), tmp_path / "a.safetensors")
    ruinous = TINY.replace(steps=4, learning_rate=0.05, fine_tune=1.0, initial=str(first))
    second = train(_cases(), ruinous, tmp_path / "b.safetensors")
    assert model.load(second).card.quality["best_step"] == 0
    a, b = _weights(first), _weights(second)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_model_without_contrasts_can_learn_to_use_them(tmp_path: Path) -> None:
    first = train(_cases(), TINY, tmp_path / "a.safetensors")
    wider = with_contrasts(model.load(first).denoiser, 2)
    x, near, other = torch.randn(1, 1, 24, 24) + 5, torch.randn(1, 2, 24, 24), torch.randn(1, 2, 24, 24)
    with torch.no_grad():
        before = model.load(first).denoiser(x, torch.ones(1), near)
        after = wider(x, torch.ones(1), torch.cat([near, other], 1))
    assert torch.allclose(before, after, atol=1e-5)
    cases = [Case("a", _scan(), auxiliary=[_scan(5), _scan(6)])]
    second = train(cases, TINY.replace(initial=str(first)), tmp_path / "b.safetensors")
    assert model.load(second).denoiser.contrasts == 2


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (Case("flat", np.ones((4, 64, 64), dtype=np.float32)), "no noise or no signal"),
        (Case("nan", np.full((4, 64, 64), np.nan, dtype=np.float32)), "NaN"),
        (Case("thin", np.ones((64, 64), dtype=np.float32)), "has shape"),
        (Case("odd", _scan(), auxiliary=[np.ones((3, 64, 64), dtype=np.float32)]), "one grid"),
        (Case("twice", _scan(), auxiliary=[_scan(1), _scan()]), "that scan itself"),
        (Case("beside", _scan(), auxiliary=[np.full((6, 64, 64), np.inf, dtype=np.float32)]), "beside beside has NaN"),
    ],
)
def test_bad_scans_are_refused_by_name_and_nothing_is_written(tmp_path: Path, case: Case, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        train([case], TINY, tmp_path / "m.safetensors")
    assert case.name in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_all_bad_scans_are_named_at_once_and_optional_ones_left_out(tmp_path: Path) -> None:
    flat = np.ones((4, 64, 64), dtype=np.float32)
    cases = [Case("good", _scan()), *(Case(f"flat{n}", flat) for n in range(7))]
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


def test_contrasts_and_neighbours_reach_the_network(tmp_path: Path) -> None:
    cases = [Case("a", _scan(), auxiliary=[_scan(5), _scan(6)])]
    out = train(cases, TINY, tmp_path / "m.safetensors")
    assert model.load(out).denoiser.contrasts == 2
    with pytest.raises(UserError, match="same ones"):
        train([*cases, Case("b", _scan())], TINY, tmp_path / "n.safetensors")


@pytest.mark.parametrize("density", ["uniform", "range"])
def test_examples_have_the_levels_they_claim(density: str) -> None:
    case = Case("scan", _scan(sigma=0.02))
    case.prepare()
    recipe = TINY.replace(batch=64, levels=Levels(density=density, sigma_range=(0.05, 0.2)), neighbours=1)
    batch = PatchSampler([case], 32, 1).draw(64, np.random.default_rng(0))
    example = make_example(batch, recipe, np.random.default_rng(1), torch.Generator().manual_seed(1))
    added = (example.x_t[0] - example.x_d).std(dim=(1, 2, 3))
    assert torch.allclose(added, example.sigma_tau, rtol=0.15)
    assert torch.allclose(example.x_t[0] + example.x_t[1], 2 * example.x_d, atol=1e-5)
    if density == "range":
        assert float(example.sigma_t.min()) >= 0.05 * 0.999 and float(example.sigma_t.max()) <= 0.2 * 1.001
        # Neighbours are at the same level, or the model would learn to copy from quieter ones.
        assert example.aux is not None
        assert float((example.aux[:, 0] - to_tensor(batch.x[:, 1])).abs().mean()) > 0.01


def test_magnitude_examples_are_stabilised() -> None:
    case = Case("scan", _scan(sigma=0.005))
    case.prepare()
    recipe = TINY.replace(
        batch=64,
        levels=Levels(density="range", sigma_range=(0.1, 0.2)),
        noise=Noise(rician=1.0),
        loss=config.Loss(antithetic=False),
    )
    batch = PatchSampler([case], 32, 1).draw(64, np.random.default_rng(0))
    example = make_example(batch, recipe, np.random.default_rng(1), torch.Generator().manual_seed(1))
    residual = (example.x_t[0] - example.x_d).std(dim=(1, 2, 3))
    assert torch.allclose(residual, torch.ones(64), atol=0.15)
    assert torch.allclose(example.sigma_t, torch.ones(64), atol=1e-4)


def test_coloured_noise_has_its_spectrum_and_unit_variance() -> None:
    power = torch.ones(400, 16, 16)
    power[:, :, 4:13] = 0
    power = power / power.mean(dim=(1, 2), keepdim=True)
    z, other = coloured(power, torch.Generator().manual_seed(0), 2)
    assert float(z.std()) == pytest.approx(1, rel=0.02) and float(other.std()) == pytest.approx(1, rel=0.02)
    assert abs(float((z * other).mean())) < 0.02
    measured = torch.fft.fft2(z).abs().square().mean(dim=(0, 1)) / 256
    assert torch.allclose(measured, power[0], atol=0.35)


def test_band_limited_patches_lose_their_high_frequencies() -> None:
    case = Case("scan", _scan(sigma=0.05))
    case.prepare()
    recipe = TINY.replace(noise=Noise(band_limited=1.0))
    batch = PatchSampler([case], 32, 1).draw(32, np.random.default_rng(0), patch_size(recipe))
    example = make_example(batch, recipe, np.random.default_rng(1), torch.Generator().manual_seed(1))
    power = torch.fft.fft2(example.z).abs().square().mean(dim=(0, 1))
    assert example.x_d.shape[-1] == 32
    assert float(power[16, 16]) < 0.2 * float(power[2, 2])


def test_held_back_slices_are_never_trained_on() -> None:
    cases = [Case("a", _scan()), Case("b", _scan(1))]
    for case in cases:
        case.prepare()
    held = hold_back(cases, 0.25, seed=3)
    trained, kept = PatchSampler(cases, 32, 0, held), PatchSampler(cases, 32, 0, held, only_held=True)
    assert len(held) == 3 and set(kept.index) == set(held)
    assert not set(trained.index) & set(held) and len(trained.index) + len(held) == 12


def test_patches_come_from_the_scan_and_small_slices_are_padded() -> None:
    case = Case("scan", _scan())
    case.prepare()
    batch = PatchSampler([case], 96, 1).draw(2, np.random.default_rng(0))
    assert batch.x.shape == (2, 3, 96, 96)
    values = set(np.round(case.target / case.signal, 4).ravel().tolist())
    assert set(np.round(batch.x[0, 0], 4).ravel().tolist()) <= values


def test_patches_are_windows_turned_and_flipped_beside_what_lies_there() -> None:
    shape, side = (6, 40, 50), 16
    voxels = np.arange(1, 1 + math.prod(shape), dtype=np.float32).reshape(shape)  # each tells where it lies
    spectrum = Spectrum(np.ones(BINS), np.linspace(1, 0.1, BINS))
    case = Case("scan", voxels, [7 * voxels], sigmas=np.arange(1, 7), powers=np.full(6, 50.0), signal=1.0)
    case.spectrum, case.slices, case.scales = spectrum, np.arange(6), (7.0,)
    batch = PatchSampler([case], side, 1).draw(200, np.random.default_rng(0))
    k, j, i = np.unravel_index(batch.x[:, 0].astype(int) - 1, shape)
    assert (k == k[:, :1, :1]).all() and np.array_equal(batch.sigma_d, k[:, 0, 0] + 1)
    steps = np.stack([np.diff(v, axis=axis)[:, :1, :1].ravel() for v in (j, i) for axis in (1, 2)], axis=1)
    assert len({tuple(step) for step in steps}) == 8 and (np.abs(steps).sum(axis=1) == 2).all()
    assert all(np.ptp(v, axis=(1, 2)).max() == side - 1 for v in (j, i))
    assert len(set(zip(j.min(axis=(1, 2)), i.min(axis=(1, 2))))) > 100
    for d, beside in ((-1, batch.x[:, 1]), (1, batch.x[:, 2])):
        inside = (k + d >= 0) & (k + d < 6)
        assert np.array_equal(beside, np.where(inside, batch.x[:, 0] + d * 2000, 0))
    assert np.allclose(batch.contrasts[:, 0], batch.x[:, 0])
    rows, columns = spectrum.profiles(side, side)
    for profiles, step in zip(batch.profiles, steps):
        assert np.allclose(profiles, [columns, rows] if step[0] == 0 else [rows, columns])


def test_known_levels_replace_the_measured_ones() -> None:
    case = Case("scan", _scan(), source="/data/openms/scan.nii")
    case.prepare(known={"*other*": 0.5, "*openms*": 0.03})
    assert case.sigmas / case.signal == pytest.approx(np.full(6, 0.03))


def test_recipes_that_come_with_the_program_are_valid_and_survive_yaml(tmp_path: Path) -> None:
    import yaml

    for name in config.presets():
        recipe = config.preset(name)
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe.to_dict()))
        assert config.load(path) == recipe


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"stepz": 3}, "unknown setting 'stepz'"),
        ({"steps": "many"}, "whole number"),
        ({"loss": {"form": "magic"}}, "'plain' or 'normalised'"),
        ({"levels": {"tau_min": 2.0, "tau_max": 1.0}}, "below levels.tau_max"),
        ({"patch": 63}, "multiple of 8"),
        ({"learning_rate": -1.0}, "above 0"),
        ({"ghosts": 2.0}, "between 0 and 1"),
        ({"seed": -1}, "0 or more"),
        ({"noise": 3}, "group of settings"),
        ({True: 3, "abc": 4}, "unknown setting True"),
        ({"seed": 99999999999999999999999}, "at most 9223372036854775807"),
        ({"batch": 10**6}, "from 1 to 4096"),
        ({"learning_rate": 1e300}, "above 0 and at most 1"),
        ({"learning_rate": 10**400}, "a number"),
        ({"weight_decay": 1e300}, "between 0 and 100"),
        ({"levels": {"tau_max": 1e300}}, "at most 100"),
        ({"loss": {"alpha": 1e300}}, "between -10 and 10"),
        ({"noise": {"known": {"*": 7.0}}}, "between 0 and 1"),
        ({"noise": {"rician": 0.5}}, r"noise\.rician is 0\.5; it must be 0 unless levels\.density is 'range'"),
    ],
)
def test_bad_recipes_name_value_and_rule(values: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        TrainConfig.from_dict(values)
