"""What the panel says about a run, in words."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

STAGES = {
    "measure": "Measuring the noise",
    "denoise": "Denoising",
    "uncertainty": "Estimating the uncertainty",
    "prepare": "Preparing to adapt",
    "train": "Adapting the model to this scan",
}
DEVICES = {"cpu": "processor", "cuda": "NVIDIA graphics card", "mps": "Apple GPU"}


def running(run: Any) -> str:
    """One line while a run goes on: stage, time left, device."""
    prefix, mark, stage = run.stage.rpartition(": ")
    parts = [f"{prefix}{mark}{STAGES.get(stage, stage)}…"]
    if run.seconds_left is not None:
        parts.append(f"{duration(run.seconds_left)} left")
    if run.device:
        parts.append(f"on the {device_name(run.device)}")
    return ", ".join(parts)


def done(run: Any) -> str:
    """One line at its end, warnings included."""
    seconds = run.result.numbers.get("seconds")
    text = "Done" + (f" in {duration(seconds)}" if seconds is not None else "")
    text = html.escape(f"{text} on the {device_name(run.device)}." if run.device else f"{text}.")
    return "<br>".join([text, *(f"<b>Note:</b> {html.escape(w)}" for w in run.result.warnings)])


def plain(text: str) -> str:
    """Text for a label that also takes HTML: without a tag, it would show `&amp;` as it stands."""
    return f"<span>{html.escape(text)}</span>"


def failed(message: str) -> str:
    """A failure, marked as such in words too, not by colour alone; white on red can be read in a dark theme too."""
    return f'<b style="color:white; background-color:#c0392b">&nbsp;Not done.&nbsp;</b> {html.escape(message)}'


def noise(found: Mapping[str, Any]) -> str:
    """Measured noise of a volume."""
    sigma, snr = found.get("sigma"), found.get("snr")
    if not sigma:
        return "no noise found"
    return (
        f"σ = {sigma:.4g}" + (f", SNR {snr:.1f}" if snr else "") + (", with the model" if found.get("refined") else "")
    )


def device(numbers: Mapping[str, Any]) -> str:
    """The preflight line once PyTorch has been loaded."""
    kind = str(numbers.get("device", ""))
    name = numbers.get("name") or device_name(kind)
    threads = f", {numbers['threads']} threads" if kind == "cpu" else ""
    return f"Ready: PyTorch {numbers.get('torch')} on the {name}{threads}."


def device_name(kind: str) -> str:
    return DEVICES.get(kind.split(":")[0], kind)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
