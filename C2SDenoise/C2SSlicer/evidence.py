"""The evidence beside a result, in words and numbers for the reader of the image."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from C2SCore import events
from C2SSlicer import job, run

SENTENCES = {
    "noise": "What was removed looks like noise. Still compare with the source before you rely on fine detail.",
    "anatomy": (
        "What was removed contains anatomy: raise Detail kept, check the noise level, or adapt the model to this scan."
    ),
    "clean": "The volume has hardly any noise; there is little to remove. Keep working with the source.",
}


def rows(numbers: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(label, value, explanation) of every number that was measured."""
    table = []

    def add(label: str, text: str, explanation: str, *keys: str) -> None:
        if all(isinstance(numbers.get(key), (int, float)) for key in keys):
            table.append((label, text.format(**{key: numbers[key] for key in keys}), explanation))

    before, after = "noise_before", "noise_after"
    add("Noise (σ)", "{noise_before:.4g} → {noise_after:.4g}", "Standard deviation in the image's unit.", before, after)
    snr = ("snr_before", "snr_after", "snr_gain_db")
    add(
        "SNR", "{snr_before:.1f} → {snr_after:.1f} ({snr_gain_db:+.1f} dB)", "Median signal of tissue over noise.", *snr
    )
    edges = (
        "How far the removed noise gathers at the edges of the image: 0 or below is good, above 0.1 anatomy went too."
    )
    add("Edges in removed noise", "{residual_edge_correlation:.2f}", edges, "residual_edge_correlation")
    psnr = ("psnr_before", "psnr_after")
    add("PSNR to reference", "{psnr_before:.2f} → {psnr_after:.2f} dB", "Higher is closer to the reference.", *psnr)
    ssim = ("ssim_before", "ssim_after")
    add("SSIM to reference", "{ssim_before:.3f} → {ssim_after:.3f}", "1 is identical to the reference.", *ssim)
    return table


def as_html(numbers: Mapping[str, Any]) -> str:
    """The rows as a small table for a label."""
    cells = "".join(
        f'<tr><td style="padding-right:10px">{html.escape(label)}</td><td><b>{html.escape(value)}</b></td></tr>'
        for label, value, _ in rows(numbers)
    )
    return f"<table>{cells}</table>" if cells else ""


def explanation(numbers: Mapping[str, Any]) -> str:
    """What the numbers mean, for the tooltip."""
    return "\n".join(f"{label}: {text}" for label, _, text in rows(numbers))


def sentence(numbers: Mapping[str, Any]) -> str:
    """The verdict in one plain sentence."""
    return SENTENCES.get(str(numbers.get("verdict")), "")


class Measurement:
    """Measures a result again: after the detail slider was moved, or against a reference. The last order wins."""

    def __init__(self, worker: job.Worker, on_end: Callable[[events.Message], None]) -> None:
        self._worker, self._on_end = worker, on_end
        self._task: job.Task | None = None

    def start(self, arrays: Mapping[str, np.ndarray], sigma: float) -> None:
        """Measure arrays (K, J, I) on one grid: `source`, `denoised` and, if there is one, `reference`."""
        self.stop()
        folder = tempfile.TemporaryDirectory(prefix="C2SDenoise-", dir=run.temporary_folder())
        paths = {name: str(Path(folder.name) / f"{name}.npy") for name in arrays}
        for name, array in arrays.items():
            np.save(paths[name], array)
        order = events.EvidenceJob(job.new_id(), paths["source"], paths["denoised"], sigma, paths.get("reference", ""))

        def ended(ending: events.Message) -> None:
            folder.cleanup()
            if self._task is not None and self._task.job is order:
                self._task = None
                self._on_end(ending)

        # It is short and its process is warm: never worth a kill.
        self._task = self._worker.submit(order, on_end=ended, grace=job.STOP_GRACE)

    def stop(self) -> None:
        """Forget the measurement that runs."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
