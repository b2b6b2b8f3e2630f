"""For all tests: one thread each, and what a machine that cannot run Qt or has no slicer-core leaves out."""

from __future__ import annotations

import importlib.util
import os

from qt_libraries import advice, missing_libraries

# Before any test imports torch, and for the processes that tests start. What is computed here is small: two threads
# gain little on a quiet machine, and on a busy one they wait for each other ten times as long as they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _reason() -> str:
    missing = missing_libraries()
    if missing:
        return advice(missing)
    for module in ("PySide6", "vtk"):
        if importlib.util.find_spec(module) is None:
            return f"The Python module {module} is not installed: the tests of the Slicer modules are left out."
    return ""


REASON = _reason()
# Also where the folder itself is asked for, which `collect_ignore` lets through.
collect_ignore_glob = ["Slicer/*"] if REASON else []


def pytest_report_header() -> list[str]:
    return [REASON] if REASON else []


def pytest_terminal_summary(terminalreporter) -> None:
    if REASON:
        terminalreporter.section("Slicer tests left out", yellow=True)
        terminalreporter.line(REASON)
