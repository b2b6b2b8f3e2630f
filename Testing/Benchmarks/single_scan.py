"""Training on one noisy scan and nothing else, for some minutes: how good is the result?

Noise is simulated on a clean scan, a model is trained on the noisy scan alone (from nothing, or from models that there
are: --starts), and scored against the clean scan, against BM3D with the true sigma and against the default model as it
is. Writes single_scan.json and single_scan.md.

    python single_scan.py T1W.nii.gz --minutes 10 --threads 2 --starts nothing default
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import peers
from simulated import KINDS, Scene

from C2SCore import config, model
from C2SCore.denoising import Options, denoise
from C2SCore.events import Curve, Message
from C2SCore.patches import Case
from C2SCore.training import train

TARGET = 0.3  # dB over BM3D


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scans", nargs="+", help="scans taken for the truth")
    made.add_argument("--snr", type=float, nargs="+", default=(10.0,))
    made.add_argument("--noise", nargs="+", choices=KINDS, default=("gaussian",))
    made.add_argument("--preset", default="quick", help="recipe (default: %(default)s)")
    made.add_argument("--minutes", type=float, default=10.0, help="of training (default: %(default)s)")
    made.add_argument("--steps", type=int, default=10**7, help="of training at most (default: minutes decide)")
    made.add_argument("--starts", nargs="+", default=("nothing",), help="'nothing', or models by name or file")
    made.add_argument("--model", default="default", help="scored as it is (default: %(default)s)")
    made.add_argument("--slices", type=int, default=0, help="score so many slices, spread evenly (default: all)")
    made.add_argument("--cache", type=Path, help="file that keeps BM3D's results between runs")
    made.add_argument("--keep", type=Path, help="folder that keeps the trained models (default: nowhere)")
    made.add_argument("--workers", type=int, default=1, help="processes for BM3D (default: %(default)s)")
    made.add_argument("--name", default="single_scan", help="of the result files (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "minutes": options.minutes}
    values |= {"preset": options.preset, "slices": options.slices, "cells": []}
    cache = peers.Cache(options.cache, options.workers)
    for path in options.scans:
        name, clean = common.read_clean(path)
        scene = Scene(name, clean, options)
        for kind in options.noise:
            for snr in options.snr:
                values["cells"].append(_cell(scene, kind, snr, options, cache))
                cache.store()
    common.write_results(options.out, options.name, values, _text(values))
    return values


def _cell(scene: Scene, kind: str, snr: float, options: argparse.Namespace, cache: peers.Cache) -> dict[str, Any]:
    noisy, sigma = scene.noisy(kind, snr)
    rows = scene.rows
    rivals = peers.bm3d_ways(noisy[rows], sigma, kind, cache)
    rivals.pop(peers.FADED, None)
    found = {"noisy": scene.scores(noisy[rows])} | {name: scene.scores(image) for name, image in rivals.items()}
    rival = max(rivals, key=lambda name: np.nanmean(found[name]["psnr"]))
    models = {"default model": model.load(options.model)}
    training: dict[str, Any] = {}
    for start in options.starts:
        initial = None if start == "nothing" else model.load(start)
        title = f"{Path(start).stem}, adapted to the scan" if initial else "trained on the scan"
        models[title], training[title] = _trained(scene, f"{scene.name}_{kind}_{snr:g}", noisy, initial, options)
    for title, loaded in models.items():
        found[title] = scene.scores(denoise(noisy, loaded).estimate[rows])
        exact = denoise(noisy, loaded, Options(sigma=sigma, noise=kind)).estimate[rows]
        found[f"{title}, true sigma"] = scene.scores(exact)
    gain = {title: {m: common.paired(found[title][m], found[rival][m]) for m in found[title]} for title in models}
    for title, values in gain.items():
        print(f"{scene.name} {kind} SNR {snr:g}, {title}: {values['psnr']['mean']:+.2f} dB over {rival}", flush=True)
    cell = {"scan": scene.name, "noise": kind, "snr": snr, "sigma": sigma, "rival": rival, "training": training}
    return cell | {"methods": {title: common.summary(scored) for title, scored in found.items()}, "gain": gain}


def _trained(
    scene: Scene, name: str, noisy: np.ndarray, initial: model.Model | None, options: argparse.Namespace
) -> tuple[model.Model, dict[str, Any]]:
    """A model that saw nothing but the noisy scan, and how its training went."""
    recipe = config.preset(options.preset).replace(
        minutes=options.minutes, steps=options.steps, seed=options.seed, initial=""
    )
    curve: list[dict[str, float]] = []

    def listen(message: Message) -> None:
        if isinstance(message, Curve):
            curve.append({"step": message.step} | message.values)
            print(f"  {name} step {message.step}: validation {message.values['validation']:.5f}", flush=True)

    if initial is not None:
        recipe = recipe.replace(neighbours=initial.denoiser.neighbours)
        name += "_adapted"
    with tempfile.TemporaryDirectory() as folder:
        out = (options.keep or Path(folder)) / f"{name}.safetensors"
        start = time.monotonic()
        train([Case(scene.name, noisy)], recipe, out, initial=initial, emit=listen)
        seconds = time.monotonic() - start
        loaded = model.load(out)
    steps, best = loaded.card.quality["steps"], loaded.card.quality["best_step"]
    facts = {"seconds": seconds, "steps": steps, "best_step": best, "recipe": recipe.to_dict(), "curve": curve}
    return loaded, facts


def _text(values: dict[str, Any]) -> str:
    rows = []
    for cell in values["cells"]:
        label = f"{cell['scan']}, {cell['noise']}, {cell['snr']:g}"
        for title, scored in cell["methods"].items():
            gain = cell["gain"].get(title)
            trained = cell["training"].get(title)
            fine = "-" if gain is None or trained is None else "yes" if gain["psnr"]["mean"] >= TARGET else "NO"
            rows.append(
                (
                    label,
                    title,
                    f"{scored['psnr']['mean']:.2f} ± {scored['psnr']['std']:.2f}",
                    f"{scored['ssim']['mean']:.4f}",
                    f"{gain['psnr']['mean']:+.2f} ± {gain['psnr']['std']:.2f}" if gain else "-",
                    common.probability(gain["psnr"]["p"]) if gain else "-",
                    str(trained["steps"]) if trained else "-",
                    fine,
                )
            )
    header = ("scan, noise, SNR", "method", "PSNR dB", "SSIM", "over BM3D, dB", "p", "steps", "target met")
    scored = f"{values['slices']} slices spread evenly" if values["slices"] else "all slices"
    return (
        "# Learnt from one noisy scan\n\n"
        f"Preset `{values['preset']}`, {values['minutes']:g} minutes; mean ± standard deviation over {scored}; sigma "
        f"estimated by the program unless said; BM3D knows the true one. Target: {TARGET} dB over BM3D.\n\n"
        + common.table(header, rows)
    )


if __name__ == "__main__":
    main()
