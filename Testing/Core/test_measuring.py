"""What is measured of a scan is measured once, and never taken for another scan's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from phantom import noisy, phantom

from C2SCore import measuring, noise
from C2SCore.config import TrainConfig
from C2SCore.measuring import Cache, Measurement, measure
from C2SCore.patches import Case
from C2SCore.preparing import prepare
from C2SCore.tissue import foreground, signal_level, thickest


def scan(sigma: float = 20.0, seed: int = 0, count: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    j, i = np.mgrid[-1:1:96j, -1:1:80j]
    plane = 200.0 * (j**2 + i**2 < 0.8) - 60.0 * ((j - 0.2) ** 2 + i**2 < 0.1)
    return (plane + sigma * rng.standard_normal((count, 96, 80))).astype(np.float32)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with every scan that is measured."""
    calls, once = [], measuring._measured

    def measured(*given: object) -> Measurement:
        calls.append(1)
        return once(*given)

    monkeypatch.setattr(measuring, "_measured", measured)
    return calls


def test_the_numbers_are_those_of_the_estimators() -> None:
    volume = scan()
    found, mask = measure(volume), foreground(volume)
    passed = noise.HighPassed(volume, mask, found.spectrum)
    assert found.sigmas == pytest.approx(passed.slice_sigmas(passed.sigma(thickest(mask))))
    assert found.sigmas == pytest.approx(20, rel=0.15) and found.signal == signal_level(volume, mask)
    assert found.correlation == pytest.approx(passed.slice_correlation(mask))
    assert (found.low, found.high) == (volume.min(), volume.max())
    assert found.powers == pytest.approx(np.square(volume, dtype=np.float64).mean(axis=(1, 2)))


def test_what_is_kept_is_bit_for_bit_what_was_measured(tmp_path: Path, counted: list[int]) -> None:
    path = tmp_path / "m.jsonl"
    plain, first, again = (Case("s", scan()) for _ in range(3))
    plain.prepare()
    first.prepare(cache=Cache(path))
    again.prepare(cache=Cache(path))
    assert len(counted) == 2
    for name in ("sigmas", "powers", "slices", "signal", "span", "independent_slices", "scales"):
        values = [getattr(case, name) for case in (plain, first, again)]
        assert np.array_equal(values[0], values[1]) and np.array_equal(values[1], values[2]), name
    assert np.array_equal(plain.spectrum.rows, again.spectrum.rows)


def test_another_scan_or_another_question_is_measured(tmp_path: Path, counted: list[int]) -> None:
    cache = Cache(tmp_path / "m.jsonl")
    for changed in (scan(), scan(seed=1), scan().reshape(4, 80, 96)):
        measure(changed, cache=cache)
    measure(scan(), "white", cache=cache)
    measure(scan(), levels=False, cache=cache)
    assert len(counted) == 5
    measure(scan(seed=1), cache=cache)
    assert len(counted) == 5


def test_a_newer_estimator_measures_again(tmp_path: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "m.jsonl")
    measure(scan(), cache=cache)
    monkeypatch.setattr(measuring, "_estimator", lambda: "of the next version")
    measure(scan(), cache=cache)
    assert len(counted) == 2


@pytest.mark.parametrize("harm", ["cut", "changed", "not text", "other numbers"])
def test_damage_is_measured_again_and_the_rest_is_kept(tmp_path: Path, counted: list[int], harm: str) -> None:
    path = tmp_path / "m.jsonl"
    for seed in (0, 1):
        measure(scan(seed=seed), cache=Cache(path))
    content = path.read_bytes()
    whole = measure(scan(seed=1))
    counted.clear()
    if harm == "cut":  # a kill while the last line was written
        content = content[:-40]
    elif harm == "changed":
        place = content.rindex(b'"signal": ') + 10
        content = content[:place] + b"9" + content[place + 1 :]
    elif harm == "not text":
        content = content[:-300] + bytes(range(128, 228)) + content[-200:]
    else:  # well formed, of another program
        first, last = content.decode().strip().split("\n\n")
        key = last.split("\t")[1]
        content = f"{first}\n{measuring._checksum(key, '[1]')}\t{key}\t[1]\n".encode()
    path.write_bytes(content)
    for _ in range(2):
        measure(scan(seed=0), cache=Cache(path))
        assert measure(scan(seed=1), cache=Cache(path)).to_json() == whole.to_json()
    assert len(counted) == 1


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path: Path, counted: list[int]) -> None:
    cache = Cache(tmp_path / "not there" / "m.jsonl")
    measure(scan(), cache=cache)
    measure(scan(), cache=cache)
    assert len(counted) == 1 and not cache.path.parent.exists()


def test_what_nothing_can_be_learnt_from_is_not_kept(tmp_path: Path) -> None:
    measure(np.ones((3, 40, 40), np.float32), cache=Cache(tmp_path / "m.jsonl"))
    assert list(tmp_path.iterdir()) == []


class Half:
    """Says half of the true level, and counts how often it is asked."""

    def __init__(self, mark: str = "half", share: float = 0.5) -> None:
        self.mark, self.share, self.asked = mark, share, 0

    def __call__(self, volume: np.ndarray) -> np.ndarray:
        self.asked += 1
        return np.full(len(volume), 20.0 * self.share)


def test_a_better_estimate_of_the_level_replaces_the_filters(tmp_path: Path, counted: list[int]) -> None:
    cache, half = Cache(tmp_path / "m.jsonl"), Half()
    plain = measure(scan(), cache=cache)
    for again in range(2):
        found = measure(scan(), cache=Cache(tmp_path / "m.jsonl") if again else cache, refine=half)
        assert found.sigmas == pytest.approx(10) and found.signal == plain.signal
    assert half.asked == 1 and len(counted) == 1  # both are kept, and what does not depend on it is not measured again
    assert measure(scan(), cache=cache).sigmas == pytest.approx(plain.sigmas)
    assert measure(scan(), cache=cache, refine=Half("third", 0.3)).sigmas == pytest.approx(6)
    assert measure(scan(), cache=cache, refine=Half("none", 0.0)).sigmas == pytest.approx(plain.sigmas)
    assert not measure(scan(), levels=False, refine=half).sigmas.size


def test_what_repeated_frames_show_bounds_the_level() -> None:
    free, bound = Case("s", scan()), Case("s", scan(), limit=12.0)
    for case in (free, bound):
        case.prepare()
    assert (free.sigmas > 12).all() and bound.sigmas == pytest.approx(12)


@pytest.mark.parametrize("kind", ["gaussian", "rician"])
def test_a_training_takes_the_level_that_the_bundled_model_sees(tmp_path: Path, kind: str) -> None:
    """Fine anatomy, which a filter takes for noise, is none to the model."""
    clean = phantom((4, 128, 128))
    fine = np.random.default_rng(5).normal(0, 1, (1, 128, 128)).astype(np.float32)
    clean = clean + 25 * fine * (clean > 0)  # the same in every slice
    case = Case("s", noisy(clean, 40.0, kind))
    filtered = measure(case.target).sigmas
    (used,) = prepare([case], TrainConfig(), Cache(tmp_path / "m.jsonl"), lambda m: None, lambda: False)
    assert np.abs(used.sigmas - 40).max() < np.abs(filtered - 40).min()
    assert used.sigmas == pytest.approx(40, rel=0.15)


def test_a_scan_from_0_to_1_without_its_background_is_no_map_of_probabilities() -> None:
    volume = np.where(scan(sigma=0.0) > 0, scan(), 0)
    part = np.zeros((4, 240, 200), np.float32)
    part[:, 20:116, 30:110] = np.clip(volume / np.quantile(volume[volume > 0], 0.98), 0, 1)
    measuring.check_values("scan", part)
