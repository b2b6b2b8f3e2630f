"""Study: do the slices above and below help?

Noise is simulated on a clean scan, and the product's recipe learns from that noisy scan alone, with and without
neighbouring slices as auxiliary channels, all else alike; once with every slice and once with every second one left
out, which stands for thick slices: the anatomy changes twice as much from one to the next. Each network is used as it
was trained, and the one with neighbours also on slices by themselves. The default model is used in both ways too. All
are scored on the same slices. Writes study_neighbours.json, study_neighbours.md and study_neighbours.png.

    python study_neighbours.py T1W.nii.gz isotropic.nii.gz --steps 2000 --patch 64 --batch 12
"""

from __future__ import annotations

import argparse
from typing import Any

import common
import numpy as np
import product
from pictures import draw_bars

from C2SCore import model
from C2SCore.denoising import Options, denoise
from C2SCore.patches import Case
from C2SCore.tissue import foreground, signal_level

DISTANCES = {"every slice": 1, "every second slice": 2}
WITHOUT, WITH, HIDDEN = "trained without", "trained with", "trained with, used without"
MARK, MARK_ALONE = "default model", "default model, used without"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scans", nargs="*", help="scans taken for the truth (default: a simulated head)")
    made.add_argument("--snr", type=float, default=10.0, help="(default: %(default)s)")
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--slices", type=int, default=4, help="scored, spread evenly (default: %(default)s)")
    made.add_argument("--side", type=int, default=96, help="pixels of the simulated head (default: %(default)s)")
    product.add_arguments(made, steps=250)
    options = made.parse_args(arguments)
    common.prepare(options)
    loaded = model.load(options.model)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "snr": options.snr}
    values |= {"training": product.facts(options), "model": loaded.card.name, "cells": []}
    for path in options.scans or (None,):
        name, clean = common.anatomy(path, (16, options.side, options.side), options.seed)
        sigma = signal_level(clean) / options.snr
        noisy = common.add_noise(clean, sigma, "gaussian", options.seed)
        for title, step in DISTANCES.items():
            cell = _cell(clean, noisy, sigma, step, loaded, options)
            values["cells"].append({"scan": name, "distance": title} | cell)
            print(f"{name}, {title}: {common.told(cell['gain']['psnr'])} by neighbours", flush=True)
    bars = {
        f"{cell['scan']}, {cell['distance']}: {way}": (found["psnr"]["mean"], found["psnr"]["std"])
        for cell in values["cells"]
        for way, found in cell["ways"].items()
        if way != "noisy"
    }
    draw_bars(bars, options.out / "study_neighbours.png", f"PSNR at SNR {options.snr:g} (dB)")
    common.write_results(options.out, "study_neighbours", values, _text(values))
    return values


def _cell(
    clean: np.ndarray, noisy: np.ndarray, sigma: float, step: int, loaded: model.Model, options: argparse.Namespace
) -> dict[str, Any]:
    """One scan with every `step`-th slice: scores of all ways, on slices that are there for every step."""
    widest = max(DISTANCES.values())
    scored = common.spread(len(clean) // widest, options.slices) * widest
    clean, noisy, rows = clean[::step], noisy[::step], scored // step
    mask, peak = foreground(clean), float(np.ptp(clean))
    runs: dict[str, list[dict[str, np.ndarray]]] = {}

    def add(way: str, image: np.ndarray) -> None:
        runs.setdefault(way, []).append(common.scores(clean[rows], image, mask[rows], peak))

    add("noisy", noisy[rows])
    for seed in range(options.seeds):
        for neighbours in (0, 1):
            made = product.recipe(options, seed, neighbours=neighbours)
            found = product.trained([Case("scan", noisy, sigma=sigma)], made)
            add(WITH if neighbours else WITHOUT, _used(found, noisy, sigma, rows))
            if neighbours:
                add(HIDDEN, _used(found, noisy, sigma, rows, alone=True))
    add(MARK, _used(loaded, noisy, sigma, rows))
    add(MARK_ALONE, _used(loaded, noisy, sigma, rows, alone=True))
    ways = {way: common.over_seeds(found) for way, found in runs.items()}
    return {
        "slices": len(rows),
        "likeness": _likeness(clean, mask),
        "ways": {way: common.summary(found) for way, found in ways.items()},
        "gain": {m: common.paired(ways[WITH][m], ways[WITHOUT][m]) for m in ways[WITH]},
        "gain_of_use": {m: common.paired(ways[WITH][m], ways[HIDDEN][m]) for m in ways[WITH]},
        "gain_of_default": {m: common.paired(ways[MARK][m], ways[MARK_ALONE][m]) for m in ways[MARK]},
    }


def _likeness(clean: np.ndarray, mask: np.ndarray) -> float:
    """Median correlation of neighbouring slices in their common foreground."""
    pairs = [(a[both], b[both]) for a, b, both in zip(clean[1:], clean, mask[1:] & mask[:-1]) if both.sum() > 100]
    return float(np.median([np.corrcoef(a, b)[0, 1] for a, b in pairs])) if pairs else float("nan")


def _used(loaded: model.Model, noisy: np.ndarray, sigma: float, rows: np.ndarray, alone: bool = False) -> np.ndarray:
    """The slices `rows`; `alone`: without the others beside them."""
    given = Options(sigma=sigma, noise="gaussian")
    if alone:
        return np.concatenate([denoise(noisy[k : k + 1], loaded, given).estimate for k in rows])
    return denoise(noisy, loaded, given).estimate[rows]


def _text(values: dict[str, Any]) -> str:
    rows = [
        (
            f"{cell['scan']}, {cell['distance']}, {way}",
            f"{found['psnr']['mean']:.2f} ± {found['psnr']['std']:.2f}",
            f"{found['psnr_mask']['mean']:.2f}",
            f"{found['ssim']['mean']:.4f}",
        )
        for cell in values["cells"]
        for way, found in cell["ways"].items()
    ]
    return "\n\n".join(
        [
            "# Neighbouring slices",
            f"{product.in_words(values['training'])} Trained and scored on one noisy scan, Gaussian noise, SNR "
            f"{values['snr']:g}, true sigma; default model: {values['model']}. Mean ± standard deviation over slices.",
            common.table(("scan, slices, way", "PSNR dB", "in foreground", "SSIM"), rows),
            "## What it shows",
            *(_shows(cell) for cell in values["cells"]),
        ]
    )


def _shows(cell: dict[str, Any]) -> str:
    return (
        f"{cell['scan']}, {cell['distance']} (a slice and the next correlate by {cell['likeness']:.2f}): training with "
        f"neighbours changes the result by {common.told(cell['gain']['psnr'])}. The network trained with them changes "
        f"by {common.told(cell['gain_of_use']['psnr'])} where it is given them, the default model by "
        f"{common.told(cell['gain_of_default']['psnr'])}."
    )


if __name__ == "__main__":
    main()
