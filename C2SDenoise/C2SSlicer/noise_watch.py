"""The noise of the chosen volume, measured in the background as soon as it is chosen; it also warms the worker up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from C2SCore import events
from C2SSlicer import handover, install, job, volumes
from C2SSlicer.errand import Errand


class NoiseWatch:
    """Measures one volume at a time; results are remembered by volume and time of change.

    `on_measured` gets the numbers `sigma`, `signal` and `snr`, or a line of text where they could not be had.
    """

    def __init__(self, worker: job.Worker, on_measured: Callable[[Mapping[str, Any] | str], None]) -> None:
        self._worker, self._errand, self._on_measured = worker, Errand(worker), on_measured
        self._key: tuple[str, int] = ("", 0)
        self._known: dict[tuple[str, int], Mapping[str, Any]] = {}
        self._warm = False

    def remember(self, key: tuple[str, int], found: Mapping[str, Any]) -> None:
        """Take what a run has found with the help of the model: it is closer than what the volume alone tells. `key`
        is that of the volume when the run began.
        """
        self._known[key] = {**{name: found.get(name) for name in ("sigma", "signal", "snr")}, "refined": True}

    def knows(self, volume: Any) -> bool:
        return key_of(volume) in self._known

    def look(self, volume: Any) -> None:
        """Measure this volume, unless that is known; nothing else is measured any more."""
        key = key_of(volume)
        if key in self._known:
            self.stop()
            self._on_measured(self._known[key])
            return
        if self._errand.busy and self._key == key:
            return

        def write(folder: Path) -> Iterator[None]:
            return handover.save(volume, folder / "volume.npy")

        def order(folder: Path) -> events.Job:
            return events.NoiseJob(job.new_id(), str(folder / "volume.npy"), volumes.slice_axis(volume))

        def ended(ending: events.Message) -> None:
            if isinstance(ending, events.Done):
                self._known[key] = ending.numbers
                self._on_measured(ending.numbers)
            elif isinstance(ending, events.Failed):
                self._on_measured(f"The noise could not be measured: {ending.message} {ending.advice}".strip())

        self._key = key
        self._errand.start(write, order, ended)

    def warm_up(self, on_ready: Callable[[Mapping[str, Any]], None]) -> None:
        """Load PyTorch in the worker before it is needed, if it is installed; `on_ready` gets device and versions."""
        if self._warm or install.missing([f"torch{install.TORCH}"]):
            return
        self._warm = True

        def ended(ending: events.Message) -> None:
            if isinstance(ending, events.Done):
                on_ready(ending.numbers)

        self._worker.submit(events.CheckJob(job.new_id()), on_end=ended, grace=job.STOP_GRACE)

    def stop(self) -> None:
        """Forget the measurement that runs."""
        self._errand.stop()


def key_of(volume: Any) -> tuple[str, int]:
    """A volume as it is now: the time of its last change says whether a measurement still holds."""
    return volume.GetID(), volume.GetImageData().GetMTime()
