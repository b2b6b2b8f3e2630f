"""Batches made ahead of their use by threads."""

from __future__ import annotations

import os
import threading
import time

import pytest

from C2SCore.feeding import AHEAD, MOST_THREADS, Feeder, threads_for


def test_every_step_gets_its_own_whoever_is_first() -> None:
    def make(step: int) -> int:
        time.sleep(0.02 if step % 2 else 0.0)
        return step**2

    with Feeder(make, 4) as feeder:
        assert [feeder.get(step) for step in range(5, 25)] == [step**2 for step in range(5, 25)]


def test_no_more_is_made_ahead_than_needed() -> None:
    made: list[int] = []
    with Feeder(lambda step: made.append(step), 2) as feeder:
        feeder.get(0)
        time.sleep(0.1)
        assert sorted(made) == list(range(2 * AHEAD))


def test_an_error_comes_at_the_step_whose_it_is_and_nothing_runs_on() -> None:
    def make(step: int) -> int:
        if step == 3:
            raise ValueError("three")
        return step

    before = threading.active_count()
    with pytest.raises(ValueError, match="three"), Feeder(make, 2) as feeder:
        for step in range(3):
            assert feeder.get(step) == step
        feeder.get(3)
    assert threading.active_count() == before


def test_a_processor_that_computes_has_one_thread_draw_a_gpu_several() -> None:
    assert threads_for("cpu") == 1
    assert 1 <= threads_for("cuda") <= MOST_THREADS


def test_no_more_threads_draw_than_there_are_cores_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert threads_for("cuda") == 2
