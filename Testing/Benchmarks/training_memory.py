"""Memory of the worker while it trains on many scans, as C2S Train starts it; prints one line a stage.

    python Testing/Benchmarks/training_memory.py [--scans 200] [--steps 30]

The scans (18 slices of 256 x 256, 16 bit) are written to a temporary folder first. Their noise level is given, so that
measuring it, which takes its time, is left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    environment = {**os.environ, "PYTHONPATH": str(Path(events.__file__).resolve().parent.parent)}
    with tempfile.TemporaryDirectory(prefix="C2S-memory-") as name:
        paths = write_scans(Path(name), options.scans)
        recipe = {"initial": "", "steps": options.steps, "minutes": 0.0, "noise": {"spectrum": "white"}}
        cases = tuple({"target": path, "sigma": SIGMA} for path in paths)
        order = events.TrainJob("t", str(Path(name) / "m.safetensors"), cases, config=recipe)
        command = [sys.executable, "-u", "-m", "C2SCore.worker"]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(events.encode(order).encode("ascii") + b"\n")
        worker.stdin.flush()
        began, stage, peak = time.monotonic(), "", 0
        for line in worker.stdout:
            message = events.decode(line)
            if isinstance(message, events.Progress):
                peak = max(peak, message.memory)
                if message.stage != stage:
                    stage = message.stage
                    print(f"{time.monotonic() - began:6.0f} s  {peak / 2**30:.2f} GiB  {stage}", flush=True)
            if isinstance(message, events.ENDINGS):
                print(f"{time.monotonic() - began:6.0f} s  {peak / 2**30:.2f} GiB  {type(message).__name__}")
                break
        worker.stdin.close()
        worker.wait()


if __name__ == "__main__":
    main()
