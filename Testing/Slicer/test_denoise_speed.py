"""The window answers during a run, the second run starts at once, cancel is quick, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import time
from itertools import pairwise
from pathlib import Path

import pytest
import slicer
from scenes import add_volume, apply, open_panel, phantom, settle

pytestmark = pytest.mark.timing


class Ticks:
    """A 5 ms timer of the event loop: the longest time between two of its ticks is how long the window did not answer.

    Beside the clock it reads the processor time of this thread: on a machine that is busy with other work, a late tick
    is no fault of ours unless we worked all that time.
    """

    def __init__(self) -> None:
        import qt

        self.restart()
        self._timer = qt.QTimer()
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        self.times.append((time.perf_counter(), time.thread_time()))

    def restart(self) -> None:
        self.times = [(time.perf_counter(), time.thread_time())]

    def longest(self) -> tuple[float, float]:
        """Milliseconds by the clock, and of our own work."""
        self._tick()
        return tuple(1000 * max(b[n] - a[n] for a, b in pairwise(self.times)) for n in (0, 1))


def busy_machine() -> bool:
    """Whether others want the processor too."""
    return os.getloadavg()[0] > 0.75 * len(os.sched_getaffinity(0))


def first_progress(bench, widget) -> float:
    """Apply; seconds from the click to the first sign of work in the panel."""
    began = time.perf_counter()
    heard = []
    show = widget.panel._show_progress
    widget.panel._show_progress = lambda run: heard.append(time.perf_counter()) or show(run)
    bench.click(widget.ui.applyButton)
    widget.panel.run._on_progress = widget.panel._show_progress
    bench.wait_until(lambda: len(heard) > 1 or widget.panel.run.finished)  # the first call shows the start itself
    del widget.panel._show_progress
    return heard[1] - began


def test_the_window_answers_within_50_ms(bench):
    """Quiet time of the event loop over choice, two whole runs with side-by-side view, slider and evidence; a scan of
    usual size.
    """
    add_volume(voxels=phantom((18, 256, 256)))
    widget = open_panel(bench)
    ticks = Ticks()
    longest = {}
    for name in ("first run", "second run"):
        ticks.restart()
        apply(bench, widget)
        longest[name] = ticks.longest()
    ticks.restart()
    for percent in range(0, 101, 10):
        widget.ui.detailSlider.setValue(percent)
        bench.process_events()
    longest["slider"] = ticks.longest()
    ticks.restart()
    settle(bench, widget)
    longest["evidence"] = ticks.longest()
    for name, (clock, work) in longest.items():
        print(f"longest gap between ticks, {name}: {clock:.0f} ms, of it our own work {work:.0f} ms")
    assert max(work for _, work in longest.values()) <= 50
    assert busy_machine() or max(clock for clock, _ in longest.values()) <= 50


def test_the_second_apply_starts_at_once(bench):
    add_volume(voxels=phantom((6, 64, 64)))
    widget = open_panel(bench)
    settle(bench, widget)
    widget.panel._worker.kill()
    cold = first_progress(bench, widget)
    bench.wait_until(lambda: widget.panel.run.finished)
    settle(bench, widget)
    warm = []
    for _ in range(3):
        warm.append(first_progress(bench, widget))
        bench.wait_until(lambda: widget.panel.run.finished)
        settle(bench, widget)
    print(f"first progress after {cold:.2f} s cold, {', '.join(f'{w:.3f}' for w in warm)} s warm")
    assert min(warm) <= 0.3


def test_cancel_takes_effect_within_a_second(bench):
    add_volume(voxels=phantom((40, 192, 192)))
    widget = open_panel(bench)
    took = []
    for pause in (0.0, 0.1, 0.6):
        bench.click(widget.ui.applyButton)
        bench.process_events(pause)
        assert not widget.panel.run.finished
        began = time.perf_counter()
        bench.click(widget.ui.applyButton)
        bench.wait_until(lambda: widget.panel.run.finished)
        took.append(time.perf_counter() - began)
        assert widget.panel.run.state == "cancelled"
    print("cancel took", ", ".join(f"{1000 * t:.0f} ms" for t in took))
    assert max(took) <= 1.0


def memory(pid: int | str = "self") -> float:
    """Resident memory of a process in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def children() -> list[str]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in listed if Path(f"/proc/{pid}/status").read_text().split("State:")[1].split()[0] != "Z"]


def test_fifty_runs_leave_nothing_behind(bench):
    """No process, no file, no memory worth naming: the output volume is the same one every time."""
    add_volume(voxels=phantom((3, 48, 48)))
    widget = open_panel(bench)
    widget._parameterNode.keepNoise = widget._parameterNode.showWhenDone = False
    run = apply(bench, widget)
    widget._parameterNode.outputVolume = run.result.volume
    nodes = processes = here = there = None
    for number in range(50):
        run = apply(bench, widget)
        if number == 9:  # caches are full by now
            settle(bench, widget)
            gc.collect()
            nodes, processes = slicer.mrmlScene.GetNumberOfNodes(), children()
            here, there = memory(), memory(widget.panel._worker.started.pid)
    settle(bench, widget)
    gc.collect()
    grown, grown_there = memory() - here, memory(widget.panel._worker.started.pid) - there
    files = [path.name for path in Path(slicer.app.temporaryPath).iterdir() if path.name.startswith("C2S")]
    print(f"40 further runs: {grown:+.1f} MiB here, {grown_there:+.1f} MiB in the worker, {len(processes)} process(es)")
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert children() == processes and files == []
    assert grown < 20 and grown_there < 60
