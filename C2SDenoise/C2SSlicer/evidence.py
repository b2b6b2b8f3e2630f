"""The evidence beside a result, in words and numbers for the reader of the image."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from C2SCore import events
from C2SSlicer import handover, job, volumes
from C2SSlicer.errand import Errand

SENTENCES = {
    "noise": "What was removed looks like noise. Still compare with the source before you rely on fine detail.",
    "anatomy": (
        "What was removed contains anatomy: raise Detail kept, check the noise level, or adapt the model to this scan."
    ),
    "clean": "The volume has hardly any noise; there is little to remove. Keep working with the source.",
    "unknown": "There is too little tissue to say whether noise or anatomy was removed: look at both yourself.",
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


def without_reference(text: str) -> str:
    """The numbers, as JSON, without those against a reference."""
    numbers = json.loads(text) if text else {}
    kept = {name: value for name, value in numbers.items() if not name.startswith(("psnr", "ssim"))}
    return text if kept == numbers else json.dumps(kept)


class Measurement:
    """Measures a result again: after the detail slider was moved, or against a reference. The last order wins."""

    def __init__(self, worker: job.Worker, on_end: Callable[[events.Message], None]) -> None:
        self._errand, self._on_end = Errand(worker), on_end

    def start(
        self,
        source: Any,
        denoised: Any,
        detail: float,
        sigma: float | np.ndarray,
        reference: np.ndarray | None = None,
    ) -> None:
        """Measure two volume nodes and, if there is one, a reference (K, J, I), all on one grid.

        `detail` is that of the denoised one, `sigma` the level of the noise or a map (K, J, I).
        """

        def write(folder: Path) -> Iterator[None]:
            yield from handover.save(source, folder / "source.npy")
            yield from handover.save(denoised, folder / "denoised.npy")
            if reference is not None:
                yield from handover.save_array(reference, folder / "reference.npy")
            if isinstance(sigma, np.ndarray):
                yield from handover.save_array(sigma, folder / "levels.npy")

        def order(folder: Path) -> events.Job:
            before, after, against = (str(folder / f"{name}.npy") for name in ("source", "denoised", "reference"))
            against = against if reference is not None else ""
            noise = str(folder / "levels.npy") if isinstance(sigma, np.ndarray) else float(sigma)
            axis = volumes.slice_axis(source)
            return events.EvidenceJob(job.new_id(), before, after, noise, against, axis, detail)

        self._errand.start(write, order, self._on_end)

    def stop(self) -> None:
        """Forget the measurement that runs."""
        self._errand.stop()
