"""Study: do other contrasts of the same anatomy help, and what if one of them does not lie where it should?

The first scan of each group is denoised, the others help as auxiliary channels; all have simulated noise of their own.
Trained alone, with the first helper, and with all of them: the product's recipe, and in the study's loop (learning.py,
no neighbouring slices) our loss, Noise2Noise and supervised, all else alike. Then the first helper is shifted by 1 and
3 pixels where the network is used. Writes study_contrasts.json, study_contrasts.md and study_contrasts.png.

    python study_contrasts.py --train A_T1W.nii.gz A_FLAIR.nii.gz A_T2W.nii.gz --test B_T1W.nii.gz B_FLAIR.nii.gz \\
        B_T2W.nii.gz --steps 2000
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import common
import numpy as np
import peers
import phantoms
import product
from learning import Budget, Simulated, apply, learn, score, simulate
from losses import METHODS
from pictures import draw_curves

from C2SCore.denoising import Options, denoise
from C2SCore.patches import Case

SHIFTS = (0, 1, 3)  # pixels, of the first helper, at test
PRODUCT = "ours, product"
COMPARED = ("C2S, ours", "Noise2Noise", "Supervised")
CONTRASTS = 3  # of a simulated head
Use = Callable[[Simulated], np.ndarray]  # a scan with its helpers -> its denoised slices


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument(
        "--train", nargs="+", action="append", help="a scan and its helpers, on one grid; may be given again for more"
    )
    made.add_argument("--test", nargs="+", help="the same contrasts of another session (default: the first group)")
    made.add_argument("--snr", type=float, default=5.0, help="of every contrast (default: %(default)s)")
    made.add_argument(
        "--methods", nargs="+", choices=(PRODUCT, *COMPARED), default=(PRODUCT, *COMPARED), help="(default: all)"
    )
    made.add_argument("--slices", type=int, default=4, help="scored, spread evenly (default: %(default)s)")
    made.add_argument("--side", type=int, default=96, help="pixels of the simulated heads (default: %(default)s)")
    product.add_arguments(made, steps=150)
    options = made.parse_args(arguments)
    common.prepare(options)
    train, test = _scans(options)
    if any(len(scan.helpers) != len(test.helpers) for scan in train) or not test.helpers:
        made.error("every group of scans needs the same number of them, at least two")
    rows = common.spread(len(test.clean), options.slices)
    names = test.name.split(" + ")
    values: dict[str, Any] = {"environment": common.environment(options.seed), "snr": options.snr}
    values |= {"train": [scan.name for scan in train], "test": names, "training": product.facts(options)}
    values |= {"slices": len(rows), "methods": {}}
    values["noisy"] = common.summary(score(test, test.noisy[rows], rows))
    values["BM3D"] = common.summary(score(test, peers.bm3d(test.noisy[rows], test.sigma), rows))
    counts = sorted({0, 1, len(test.helpers)})
    for name in options.methods:
        runs: dict[tuple[int, int], list[dict[str, np.ndarray]]] = {}
        for seed in range(options.seeds):
            for count in counts:
                use = _trained(name, [_with(scan, count) for scan in train], options, rows, seed)
                for shift in SHIFTS if count else (0,):
                    scored = score(test, use(_with(test, count, shift)), rows)
                    runs.setdefault((count, shift), []).append(scored)
        values["methods"][name] = _method(runs)
        print(
            f"{name}: {common.told(values['methods'][name]['cells'][-len(SHIFTS)]['gain']['psnr'])} by all", flush=True
        )
    curves = {}
    for name, method in values["methods"].items():
        for count in counts[1:]:
            gains = [cell["gain"]["psnr"]["mean"] for cell in method["cells"] if cell["helpers"] == count]
            curves[f"{name}, {count} helper{'s' if count > 1 else ''}"] = (SHIFTS, gains)
    across, up = "first helper shifted by (pixels)", "PSNR over that of the scan alone (dB)"
    draw_curves(curves, options.out / "study_contrasts.png", across, up)
    common.write_results(options.out, "study_contrasts", values, _text(values))
    return values


def _scans(options: argparse.Namespace) -> tuple[list[Simulated], Simulated]:
    """Scans with all their helpers; noise differs between any two images."""
    if options.train:
        groups = [[common.read_clean(path) for path in paths] for paths in options.train]
        same = options.test is None
        groups.append(groups[0] if same else [common.read_clean(path) for path in options.test])
    else:
        shape, same = (12, options.side, options.side), False
        groups = [
            [
                (f"head {n}" if c == 0 else f"contrast {c}", phantoms.head(shape, options.seed + n, c))
                for c in range(CONTRASTS)
            ]
            for n in range(2)
        ]
    scans = [_simulated(group, options.snr, options.seed + 100 * n) for n, group in enumerate(groups)]
    return scans[:-1], scans[0] if same else scans[-1]


def _simulated(group: Sequence[tuple[str, np.ndarray]], snr: float, seed: int) -> Simulated:
    """The first scan of a group, the noisy others as its helpers."""
    target, *helpers = (simulate(name, clean, snr, seed + n) for n, (name, clean) in enumerate(group))
    name = " + ".join(name for name, _ in group)
    return dataclasses.replace(target, name=name, helpers=tuple(helper.noisy for helper in helpers))


def _with(scan: Simulated, count: int, shift: int = 0) -> Simulated:
    """The scan with its first `count` helpers, the first of them shifted along the rows; air comes in from outside."""
    helpers = list(scan.helpers[:count])
    if shift:
        helpers[0] = np.roll(helpers[0], shift, axis=2)
    return dataclasses.replace(scan, helpers=tuple(helpers))


def _trained(name: str, train: Sequence[Simulated], options: argparse.Namespace, rows: np.ndarray, seed: int) -> Use:
    """A network trained on scans with their helpers, as the function that denoises with it."""
    if name == PRODUCT:
        cases = [Case(scan.name, scan.noisy, scan.helpers, sigma=scan.sigma) for scan in train]
        loaded = product.trained(cases, product.recipe(options, seed))

        def use(scan: Simulated) -> np.ndarray:
            given = Options(sigma=scan.sigma, noise="gaussian")
            return denoise(scan.noisy, loaded, given, scan.helpers).estimate[rows]

        return use
    budget = Budget(options.steps, options.patch, options.batch)
    net = learn(METHODS[name], train, budget, options.seed + seed)
    return lambda scan: apply(net, METHODS[name], scan.noisy, scan.sigma, rows, helpers=scan.helpers)


def _method(runs: dict[tuple[int, int], list[dict[str, np.ndarray]]]) -> dict[str, Any]:
    """Cells in the order of helpers and shifts, each with its gain over none."""
    found = {key: common.over_seeds(scored) for key, scored in sorted(runs.items())}
    alone = found[0, 0]
    return {
        "cells": [
            {"helpers": count, "shift": shift, "scores": common.summary(scored)}
            | {"gain": {m: common.paired(scored[m], alone[m]) for m in scored}}
            | {"seeds_psnr": [float(run["psnr"].mean()) for run in runs[count, shift]]}
            for (count, shift), scored in found.items()
        ]
    }


def _helped(names: Sequence[str], cell: dict[str, Any]) -> str:
    if not cell["helpers"]:
        return "alone"
    return f"helped by {', '.join(names[1 : cell['helpers'] + 1])}"


def _text(values: dict[str, Any]) -> str:
    names, training = values["test"], values["training"]
    rows = []
    for name, method in values["methods"].items():
        for cell in method["cells"]:
            moved = f", {names[1]} shifted by {cell['shift']}" if cell["shift"] else ""
            first = cell["helpers"] == 0
            rows.append(
                (
                    f"{name}, {_helped(names, cell)}{moved}",
                    f"{cell['scores']['psnr']['mean']:.2f} ± {cell['scores']['psnr']['std']:.2f}",
                    f"{cell['scores']['ssim']['mean']:.4f}",
                    "-" if first else f"{cell['gain']['psnr']['mean']:+.2f}",
                    "-" if first else common.probability(cell["gain"]["psnr"]["p"]),
                )
            )
    marks = (f"{way} {values[way]['psnr']['mean']:.2f} dB" for way in ("noisy", "BM3D"))
    return "\n\n".join(
        [
            "# Other contrasts, in place and shifted",
            f"{product.in_words(training)} In the study's loop: network `small`, the same steps, patches and batch, no "
            f"neighbouring slices. Gaussian noise, SNR {values['snr']:g} in every contrast, true sigma; trained on "
            f"{'; '.join(values['train'])}; scored on {names[0]}, {values['slices']} slices: {', '.join(marks)}.",
            common.table(("method, helped by", "PSNR dB", "SSIM", "gain over alone, dB", "p"), rows),
            "## What it shows",
            "\n\n".join(_shows(name, names, method) for name, method in values["methods"].items()),
        ]
    )


def _shows(name: str, names: Sequence[str], method: dict[str, Any]) -> str:
    cells = method["cells"]
    helped = [f"{_helped(names, c)} {common.told(c['gain']['psnr'])}" for c in cells if c["helpers"] and not c["shift"]]
    most = cells[-1]["helpers"]
    moved = [
        f"{common.told(c['gain']['psnr'])} by {c['shift']} pixel{'s' if c['shift'] > 1 else ''}"
        for c in cells
        if c["helpers"] == most and c["shift"]
    ]
    return (
        f"{name[0].upper() + name[1:]}, against {names[0]} alone: {', '.join(helped)}. With all helpers and {names[1]} "
        f"shifted where the network is used: {', '.join(moved)}."
    )


if __name__ == "__main__":
    main()
