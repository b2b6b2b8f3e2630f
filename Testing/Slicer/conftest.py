"""Fixtures of the Slicer tests; where Qt or slicer-core cannot start, each test is skipped with the reason."""

from __future__ import annotations

import pytest
from qt_libraries import advice, missing_libraries

try:
    from Bench.bench import bench, headless_bench
except ImportError as error:
    REASON = (
        advice(missing_libraries())
        if missing_libraries()
        else f"The Slicer tests need PySide6 and slicer-core: {error}"
    )

    @pytest.fixture
    def bench() -> None:
        pytest.skip(REASON)

    headless_bench = bench

from scenes import models, warm_worker
from trainscenes import nothing_left

__all__ = ["bench", "headless_bench", "models", "nothing_left", "warm_worker"]
