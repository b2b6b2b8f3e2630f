"""Memory of the worker while it trains on many scans, as C2S Train starts it; writes training_memory.json and .md.

    python training_memory.py --scans 200 --steps 30

The scans (18 slices of 256 x 256, 16 bit) are written to a temporary folder first. Their noise level is given, so that
measuring it, which takes its time, is left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import SimpleITK as sitk

from C2SCore import events

SIGMA = 40.0


def write_scans(folder: Path, count: int) -> list[str]:
    """Noisy phantoms; each shifts the same noise."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    clean = 400.0 * (x**2 + y**2 < 0.7) + 150.0 * ((x - 0.2) ** 2 + y**2 < 0.1)
    noise = SIGMA * np.random.default_rng(0).standard_normal((18, 256, 256))
    paths = []
    for n in range(count):
        voxels = (clean + np.roll(noise, 7 * n, axis=1)).astype(np.int16)
        paths.append(str(folder / f"scan{n}.nii"))
        sitk.WriteImage(sitk.GetImageFromArray(voxels), paths[-1])
    return paths


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("--scans", type=int, default=200)
    made.add_argument("--steps", type=int, default=30)
    options = made.parse_args(arguments)
    common.prepare(options)
    with tempfile.TemporaryDirectory(prefix="C2S-memory-") as name:
        paths = write_scans(Path(name), options.scans)
        recipe = {"initial": "", "steps": options.steps, "minutes": 0.0, "noise": {"spectrum": "white"}}
        cases = tuple({"target": path, "sigma": SIGMA} for path in paths)
        order = events.TrainJob("t", str(Path(name) / "m.safetensors"), cases, config=recipe)
        stages = list(_stages(order))
    values = {"environment": common.environment(options.seed), "scans": options.scans, "steps": options.steps}
    values["stages"] = stages
    common.write_results(options.out, "training_memory", values, _text(values))
    return values


def _stages(order: events.TrainJob) -> Iterator[dict[str, Any]]:
    """When each stage began and the largest memory that the worker said up to its end, in bytes."""
    environment = {**os.environ, "PYTHONPATH": str(Path(events.__file__).resolve().parent.parent)}
    command = [sys.executable, "-u", "-m", "C2SCore.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(events.encode(order).encode("ascii") + b"\n")
        worker.stdin.flush()
        began, stage, peak = time.monotonic(), {"stage": "start", "seconds": 0.0}, 0
        for line in worker.stdout:
            message = events.decode(line)
            if isinstance(message, events.Progress):
                peak = max(peak, message.memory)
                if message.stage != stage["stage"]:
                    yield {**stage, "bytes": peak}
                    stage = {"stage": message.stage, "seconds": time.monotonic() - began}
            if isinstance(message, events.ENDINGS):
                yield {**stage, "bytes": peak}
                yield {"stage": type(message).__name__, "seconds": time.monotonic() - began, "bytes": peak}
                break
        worker.stdin.close()


def _text(values: dict[str, Any]) -> str:
    rows = [(s["stage"], f"{s['seconds']:.0f}", f"{s['bytes'] / 2**30:.2f}") for s in values["stages"]]
    return "\n\n".join(
        [
            "# Memory of a training on many scans",
            f"{values['scans']} scans of 256 x 256 x 18 voxels of 16 bit, {values['steps']} steps, noise levels given.",
            common.table(("stage", "begins after, s", "memory up to its end, GiB"), rows),
        ]
    )


if __name__ == "__main__":
    main()
