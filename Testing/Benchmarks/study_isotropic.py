"""Study: voxels as thick as wide, as in most 3-D scans.

Gaussian noise is simulated on a 3-D scan. It is denoised slice by slice (BM3D and ours) and as a volume: by BM4D, and
by ours along every axis, which is what the program does with such scans. BM3D and BM4D are told the true sigma, ours
measures it unless said. A model that learnt from nothing but the noisy scan, from slices along every axis, is used in
both ways too (--minutes). Scores are those of the foreground of the slices along K. Writes study_isotropic.json and
study_isotropic.md.

    python study_isotropic.py T1_1mm.nii.gz EPI_2mm.nii.gz --slab 60 --minutes 2
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import peers

from C2SCore import config, model
from C2SCore.denoising import Options, denoise
from C2SCore.patches import Case
from C2SCore.tissue import foreground
from C2SCore.training import train

SLICES, ALONG_EACH = "ours, slice by slice", "ours"
TOLD = "ours, true sigma"
OWN_SLICES, OWN = "own model, slice by slice", "own model"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scans", nargs="*", help="taken for the truth (default: a simulated head)")
    made.add_argument("--snr", type=float, nargs="+", default=(5.0, 10.0, 20.0), help="(default: 5 10 20)")
    made.add_argument("--slab", type=int, default=0, help="so many slices from the middle alone (default: all)")
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--minutes", type=float, default=0.0, help="of training on the noisy scan (default: none)")
    made.add_argument("--steps", type=int, default=10**7, help="of that at most (default: minutes decide)")
    made.add_argument("--side", type=int, default=48, help="voxels of the simulated head (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    loaded = model.load(options.model)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "model": loaded.card.name}
    values |= {"minutes": options.minutes, "cells": []}
    for path in options.scans or [None]:
        name, clean = common.anatomy(path, (options.side,) * 3, options.seed)
        clean = common.middle(clean, options.slab)
        facts = {"scan": name, "shape": clean.shape, "seen_by_model": name in loaded.card.trained_on}
        values["cells"] += [facts | _cell(name, clean, snr, loaded, options) for snr in options.snr]
    common.write_results(options.out, "study_isotropic", values, _text(values))
    return values


def _cell(name: str, clean: np.ndarray, snr: float, loaded: model.Model, options: argparse.Namespace) -> dict[str, Any]:
    sigma = common.sigma_at(clean, snr)
    noisy = common.add_noise(clean, sigma, "gaussian", options.seed)
    denoise(noisy[:2], loaded)  # what the first call costs is not the method's
    seconds: dict[str, float] = {}
    images: dict[str, np.ndarray] = {"noisy": noisy}

    def timed(way: str, make: Callable[[], np.ndarray]) -> None:
        start = time.monotonic()
        images[way] = make()
        seconds[way] = time.monotonic() - start

    def ours(one: model.Model, isotropic: bool, level: str | float = "auto") -> Callable[[], np.ndarray]:
        return lambda: denoise(noisy, one, Options(sigma=level, isotropic=isotropic)).estimate

    timed("BM3D", lambda: peers.bm3d(noisy, sigma))
    timed("BM4D", lambda: peers.bm4d(noisy, sigma))
    timed(SLICES, ours(loaded, False))
    timed(ALONG_EACH, ours(loaded, True))
    timed(TOLD, ours(loaded, True, sigma))
    if options.minutes:
        own = _trained(name, noisy, options)
        timed(OWN_SLICES, ours(own, False))
        timed(OWN, ours(own, True))
    mask, peak = foreground(clean), float(np.quantile(clean, 0.999))
    found = {way: common.summary(common.scores(clean, image, mask, peak)) for way, image in images.items()}
    over = {way: common.compared(found[ALONG_EACH], scored, "psnr_mask") for way, scored in found.items()}
    if options.minutes:
        over[OWN + ", both ways"] = common.compared(found[OWN], found[OWN_SLICES], "psnr_mask")
    for way, scored in found.items():
        print(f"{name}, SNR {snr:g}, {way}: {scored['psnr_mask']['mean']:.2f} dB", flush=True)
    return {"snr": snr, "sigma": sigma, "ways": found, "ours_over": over, "seconds": seconds}


def _trained(name: str, noisy: np.ndarray, options: argparse.Namespace) -> model.Model:
    """A model that saw nothing but the noisy scan."""
    recipe = config.preset("quick").replace(minutes=options.minutes, steps=options.steps, seed=options.seed, initial="")
    with tempfile.TemporaryDirectory() as folder:
        return model.load(train([Case(name, noisy, isotropic=True)], recipe, Path(folder) / "own.safetensors"))


def _text(values: dict[str, Any]) -> str:
    rows = []
    for cell in values["cells"]:
        for way, scored in cell["ways"].items():
            over, took = cell["ours_over"][way], cell["seconds"].get(way)
            rows.append(
                (
                    f"{cell['scan']}, {cell['snr']:g}, {way}",
                    f"{scored['psnr_mask']['mean']:.2f} ± {scored['psnr_mask']['std']:.2f}",
                    f"{scored['ssim_mask']['mean']:.4f}",
                    "-" if way == ALONG_EACH else f"{over['mean']:+.2f}",
                    "-" if way == ALONG_EACH else common.probability(over["p"]),
                    "-" if took is None else f"{took / cell['seconds'][SLICES]:.1f}",
                )
            )
    sizes = {cell["scan"]: " x ".join(str(n) for n in cell["shape"]) for cell in values["cells"]}
    shapes = ", ".join(f"{name} ({size} voxels)" for name, size in sizes.items())
    own = f"; own model: preset `quick`, {values['minutes']:g} minutes on the noisy scan" if values["minutes"] else ""
    return "\n\n".join(
        [
            "# Voxels as thick as wide",
            f"{shapes}; Gaussian noise, model {values['model']}{own}. BM3D and BM4D know sigma. Mean ± standard "
            "deviation over slices, foreground. Time over that of ours slice by slice.",
            common.table(("scan, SNR, method", "PSNR dB", "SSIM", "ours over this, dB", "p", "time"), rows),
            "## What it shows",
            _shows(values),
        ]
    )


def _shows(values: dict[str, Any]) -> str:
    parts = []
    for cell in values["cells"]:
        over, took = cell["ours_over"], cell["seconds"]
        slower, faster = took[ALONG_EACH] / took[SLICES], took["BM4D"] / took[ALONG_EACH]
        text = (
            f"{cell['scan']}, SNR {cell['snr']:g}: the slices along every axis gain {common.told(over[SLICES])} over "
            f"those along one, at {slower:.1f} times the time; ours over BM4D {common.told(over['BM4D'])}, in "
            f"1/{faster:.0f} of its time, over BM3D {common.told(over['BM3D'])}."
        )
        if both := over.get(OWN + ", both ways"):
            text += f" A model of the scan's own gains {common.told(both)}."
        parts.append(text)
    if seen := list(dict.fromkeys(cell["scan"] for cell in values["cells"] if cell["seen_by_model"])):
        parts.append(f"The model saw {', '.join(seen)} in training, with other noise than this.")
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
