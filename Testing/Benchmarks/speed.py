"""Speed and memory, as ratios within one run, so that they mean the same on every machine.

forward   a forward pass of each network against one large channels_last convolution in the device's fast dtype
train     a whole training step likewise
volume    one volume denoised, against BM3D and scikit-image's fast NLM (timed on a few slices and scaled up)
imports   what the user interface imports, in a fresh process
memory    peak memory of denoising a large volume, in a process of its own
cuda      256 x 256 x 256 from file to file, where there is such a device

Writes speed.json and speed.md, after every part; with --only, the other parts stay as they were.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import peers
import phantoms
import torch
from throughput import fast_dtype, forward_ratios, training_ratio

from C2SCore import files, model, scanjob
from C2SCore.denoising import denoise
from C2SCore.device import choose_device
from C2SCore.scan import Scan

PARTS = ("forward", "train", "volume", "imports", "memory", "cuda")
SIZES = ("small", "base", "large")
TARGETS = {"forward": 0.5, "train": 0.4, "BM3D": 20.0, "NLM": 1.0, "imports": 0.2, "memory": 3.0, "cuda": 1.0}
NLM_SETTINGS = {"NLM": (5, 6), "NLM at its defaults": (7, 11)}  # patch, distance: scikit-image's example and defaults
IMPORTS = """
import sys, time
start = time.perf_counter()
import C2SCore.events, C2SCore.config, C2SCore.card
print(time.perf_counter() - start, "torch" in sys.modules)
"""


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run (default: all)")
    made.add_argument(
        "--scan", help="a scan for the part `volume` (default: a simulated one of 18 slices of 256 x 256)"
    )
    made.add_argument("--sizes", nargs="+", choices=SIZES, default=SIZES, help="networks of forward and train")
    made.add_argument("--model", default="default", help="model of volume, memory and cuda (default: %(default)s)")
    made.add_argument("--side", type=int, default=256, help="pixels of simulated slices (default: %(default)s)")
    made.add_argument("--rounds", type=int, default=9, help="measurements of each ratio (default: %(default)s)")
    made.add_argument("--memory-size", type=int, nargs=3, metavar=("K", "J", "I"), default=(300, 512, 512))
    options = made.parse_args(arguments)
    common.prepare(options)
    device = choose_device("auto")
    noisy = _noisy_head(options)
    measure = {
        "forward": lambda: forward_ratios(options.sizes, device, options.side, options.rounds),
        "train": lambda: {s: training_ratio(s, device, noisy, options.rounds) for s in options.sizes},
        "volume": lambda: _volume(options, noisy),
        "imports": _imports,
        "memory": lambda: _memory(options),
        "cuda": lambda: _cuda(options) if torch.cuda.is_available() else None,
    }
    values = _earlier(options)
    values |= {"environment": common.environment(options.seed), "device": device.type}
    values["dtype"] = str(fast_dtype(device)).removeprefix("torch.")
    for part in options.only:
        print(f"... {part}", flush=True)
        values.setdefault("load", {})[part] = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
        values[part] = measure[part]()
        # After every part: one that fails or takes too long costs nothing of the others.
        common.write_results(options.out, "speed", values, _text(values), show=part == options.only[-1])
    return values


def _earlier(options: argparse.Namespace) -> dict[str, Any]:
    """With --only: the parts measured before, which stay in the table."""
    path = options.out / "speed.json"
    if set(options.only) == set(PARTS) or not path.is_file():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


def _text(values: dict[str, Any]) -> str:
    rows: list[tuple[str, str, str, str]] = []
    for part in (p for p in PARTS if p in values):
        found = values[part]
        if part in ("forward", "train"):
            what = "forward pass" if part == "forward" else "training step"
            rows += [_ratio_row(f"{what}, {size}", ratio, TARGETS[part]) for size, ratio in found.items()]
        elif part == "volume":
            rows += _volume_rows(found)
        elif part == "imports":
            fine = found["seconds"] < TARGETS[part] and not found["torch"]
            shown = f"{found['seconds']:.3f} s, torch {'imported' if found['torch'] else 'not imported'}"
            rows.append(("importing events, config and card", shown, "< 0.2 s, torch not imported", _yes(fine)))
        elif part == "memory":
            rows.append(_memory_row(found))
        elif found is None:
            rows.append(("256 x 256 x 256, file to file", "no CUDA device here", "< 1 s on an H200", "-"))
        else:
            shown, fine = f"{found['seconds']:.2f} s ({found['device']})", found["seconds"] < TARGETS[part]
            rows.append(("256 x 256 x 256, file to file", shown, "< 1 s on an H200", _yes(fine)))
    load = ", ".join(f"{part} {value}" for part, value in values["load"].items())
    return (
        f"# Speed\n\nDevice {values['device']}, {values['dtype']}.\n\n"
        + common.table(("what", "measured", "target", "met"), rows)
        + f"\n\n{NOTES} Programs that waited for a core when each part began (load average): {load}."
    )


NOTES = """Ratios of the forward pass and of the training step: convolution operations per second of the network over
those of the fastest of three large 3 x 3 convolutions (64 channels at 256 x 256 pixels, 128 at 128 x 128, 256 at
64 x 64) timed beside it, median over the rounds; only convolutions are counted. "Its convolutions alone" is what a
network would reach if nothing else in it took time. BM3D and NLM run slice by slice on one
core, as their packages do, on a few slices; their time is scaled to the volume. Memory is the growth of the process
over what the program takes for a small volume, the noisy volume itself included."""


def _noisy_head(options: argparse.Namespace) -> np.ndarray:
    clean = phantoms.head((18, options.side, options.side), options.seed)
    return common.add_noise(clean, common.sigma_at(clean, 10), "rician", options.seed)


def _ratio_row(name: str, found: dict[str, Any], target: float) -> tuple[str, str, str, str]:
    bound = f"; its convolutions alone: {found['bound']:.0%}" if found.get("bound") else ""
    shown = f"{found['ratio']:.0%} of a convolution ({found['gflop_per_s']:.0f} GFLOP/s{bound})"
    return name, shown, f">= {target:.0%}", _yes(found["ratio"] >= target)


def _yes(fine: bool) -> str:
    return "yes" if fine else "NO"


def _volume(options: argparse.Namespace, noisy: np.ndarray) -> dict[str, Any]:
    """Ours on the whole volume, the others on slices from its middle, in turns."""
    name = "simulated head, Rician noise, SNR 10"
    if options.scan:
        scan = files.read_one(options.scan)
        name, noisy = scan.name, scan.voxels
    loaded = model.load(options.model)
    result = denoise(noisy, loaded)  # measures sigma for the others, and warms up
    middle, count = noisy[len(noisy) // 2 - 1 : len(noisy) // 2 + 1], len(noisy)
    seconds: dict[str, list[float]] = {"ours": [], "BM3D": []} | {n: [] for n in NLM_SETTINGS}
    for _ in range(max(2, options.rounds // 3)):
        seconds["ours"].append(_seconds(lambda: denoise(noisy, loaded)))
        seconds["BM3D"].append(_seconds(lambda: peers.bm3d(middle[:1], result.sigma)) * count)
        for title, (patch, distance) in NLM_SETTINGS.items():
            elapsed = _seconds(lambda patch=patch, distance=distance: peers.nlm(middle, result.sigma, patch, distance))
            seconds[title].append(elapsed * count / len(middle))
    medians = {n: float(np.median(v)) for n, v in seconds.items()}
    ratios = {n: float(np.median(np.array(v) / np.array(seconds["ours"]))) for n, v in seconds.items() if n != "ours"}
    return {
        "scan": name,
        "shape": list(noisy.shape),
        "device": result.device,
        "seconds": medians,
        "times_faster_than": ratios,
        "rounds": len(seconds["ours"]),
    }


def _seconds(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _volume_rows(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    shape = " x ".join(map(str, reversed(found["shape"])))
    rows = []
    for name, ratio in found["times_faster_than"].items():
        target = TARGETS["BM3D" if name == "BM3D" else "NLM"]
        shown = f"{ratio:.1f} times faster ({found['seconds']['ours']:.1f} s against {found['seconds'][name]:.1f} s)"
        rows.append((f"{shape} against {name}", shown, f"> {target:.0f} times", _yes(ratio > target)))
    return rows


def _imports() -> dict[str, Any]:
    """Median of five fresh processes."""
    runs = []
    for _ in range(5):
        made = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
        seconds, torch_too = made.stdout.split()
        runs.append((float(seconds), torch_too == "True"))
    return {"seconds": float(np.median([s for s, _ in runs])), "torch": any(t for _, t in runs)}


def _memory(options: argparse.Namespace) -> dict[str, Any]:
    script = Path(__file__).with_name("peak_memory.py")
    command = [sys.executable, str(script), "--model", str(options.model), "--size", *map(str, options.memory_size)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = json.loads(made.stdout.splitlines()[-1])
    if facts["peak_bytes"] is None:
        return facts | {"times_volume": None}
    facts["growth_bytes"] = facts["peak_bytes"] - facts["program_bytes"]
    return facts | {"times_volume": facts["growth_bytes"] / facts["volume_bytes"]}


def _memory_row(found: dict[str, Any]) -> tuple[str, str, str, str]:
    shape = " x ".join(map(str, reversed(found["size"])))
    name, target = (
        f"peak memory, {shape} (float32: {found['volume_bytes'] / 2**20:.0f} MiB)",
        "<= 3 times its size and the model",
    )
    if found["times_volume"] is None:
        return name, "this system does not tell", target, "-"
    growth, ratio = f"{found['growth_bytes'] / 2**20:.0f} MiB", f"{found['times_volume']:.2f} times its size"
    shown = f"{growth}, {ratio}, in {found['seconds']:.0f} s"
    fine = found["growth_bytes"] <= TARGETS["memory"] * found["volume_bytes"] + found["model_bytes"]
    return name, f"{shown} ({found['peak_bytes'] / 2**20:.0f} MiB with the program itself)", target, _yes(fine)


def _cuda(options: argparse.Namespace) -> dict[str, Any]:
    """Best of three after one to warm up: reading, denoising and writing an uncompressed file."""
    clean = phantoms.head((256, 256, 256), options.seed)
    noisy = common.add_noise(clean, common.sigma_at(clean, 10), "rician", options.seed)
    with tempfile.TemporaryDirectory() as folder:
        source = files.write(Scan(noisy), Path(folder) / "source.nii")
        job = scanjob.ScanJob(str(source), str(Path(folder) / "denoised.nii"), model=str(options.model), device="cuda")
        scanjob.run(job)
        seconds = [_seconds(lambda: scanjob.run(job)) for _ in range(3)]
    return {"seconds": min(seconds), "all": seconds, "device": torch.cuda.get_device_name()}


if __name__ == "__main__":
    main()
