"""Real noisy scans denoised by every row of the comparison, written to files that an independent reference can score.

Each loss trains a network on the noisy scans given, together, and on nothing else: same network, patches, steps and
seed. All are told the level that the program measures and, as their formulas assume, take the noise for white. "ours,
product" is what `c2s train` makes of the same scans in as many steps: noise of the measured spectrum, neighbouring
slices. Repetitions that were kept apart score the files with `c2s evaluate`; the table says what can be said without
one. Writes real_compare.json, real_compare.md and real_compare.png.

    python real_compare.py T1.nii.gz T2.nii.gz FLAIR.nii.gz --images denoised
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import peers
import product
from compare import BUNDLED, WITH_MORE
from learning import Budget, Simulated, apply, learn
from losses import METHODS
from pictures import Tile, draw_slices

from C2SCore import files, model
from C2SCore.denoising import Options, denoise
from C2SCore.noise import estimate_sigma
from C2SCore.patches import Case
from C2SCore.quality import residual_checks
from C2SCore.scan import Scan
from C2SCore.tissue import signal_level

PRODUCT = "C2S, ours, product"
ROWS = tuple(name for name in METHODS if name not in WITH_MORE)
Use = Callable[[int], np.ndarray]  # number of a scan -> its denoised voxels


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scans", nargs="+", help="noisy scans")
    made.add_argument("--images", type=Path, help="folder for the denoised scans (default: they are not written)")
    made.add_argument("--methods", nargs="+", choices=ROWS, default=ROWS, help="learnt ones (default: all)")
    made.add_argument("--model", default="default", help="used as it is, by name or file (default: %(default)s)")
    product.add_arguments(made, steps=300)
    options = made.parse_args(arguments)
    common.prepare(options)
    scans = [scan for path in options.scans for scan in files.read(path)]
    noisy = [_noisy(scan) for scan in scans]
    values: dict[str, Any] = {"environment": common.environment(options.seed), "training": product.facts(options)}
    values |= {
        "scans": {s.name: {"sigma": n.sigma * signal_level(s.voxels), "snr": 1 / n.sigma} for s, n in zip(scans, noisy)}
    }
    values |= {"left_out": [], "cells": []}
    tiles = {"source": [Tile(scan.name, _middle(scan.voxels)) for scan in scans]}
    for name, use in _rows(scans, noisy, options):
        for number, scan in enumerate(scans):
            began = time.monotonic()
            try:
                image = use(number)
            except ImportError:
                values["left_out"].append(name)
                break
            checks = residual_checks(scan.voxels, image, values["scans"][scan.name]["sigma"])
            values["cells"].append({"scan": scan.name, "method": name, "seconds": time.monotonic() - began} | checks)
            removed = Tile("removed", _middle(scan.voxels - image), True)
            tiles.setdefault(name, []).extend([Tile(scan.name, _middle(image)), removed])
            if options.images:
                files.write(scan.with_voxels(image), options.images / f"{scan.name}_{_slug(name)}.nii.gz")
        print(f"{name} done", flush=True)
    draw_slices(tiles, options.out / "real_compare.png")
    common.write_results(options.out, "real_compare", values, _text(values))
    return values


def _middle(volume: np.ndarray) -> np.ndarray:
    """The middle of the middle slice, half as wide and high."""
    plane = volume[len(volume) // 2]
    (j, i), (height, width) = (n // 4 for n in plane.shape), (n // 2 for n in plane.shape)
    return plane[j : j + height, i : i + width]


def _noisy(scan: Scan) -> Simulated:
    """The scan in units of its signal; there is no truth and no second image, so no row may look at them."""
    voxels = (scan.voxels / signal_level(scan.voxels)).astype(np.float32)
    return Simulated(scan.name, voxels, voxels, voxels, estimate_sigma(voxels))


def _rows(scans: list[Scan], noisy: list[Simulated], options: argparse.Namespace) -> Iterator[tuple[str, Use]]:
    """Every row with the function that denoises a scan; a network is trained when its row is asked for."""
    unit = [signal_level(scan.voxels) for scan in scans]
    for name, peer in peers.PEERS.items():
        yield name, lambda n, peer=peer: peer(noisy[n].noisy, noisy[n].sigma) * unit[n]
    budget = Budget(options.steps, options.patch, options.batch)
    for name in options.methods:
        nets = [learn(METHODS[name], noisy, budget, options.seed + seed) for seed in range(options.seeds)]

        def use(n: int, name: str = name, nets: list[Any] = nets) -> np.ndarray:
            every = np.arange(len(noisy[n].noisy))
            images = [apply(net, METHODS[name], noisy[n].noisy, noisy[n].sigma, every, options.seed) for net in nets]
            return np.mean(images, axis=0) * unit[n]

        yield name, use
    cases = [Case(scan.name, scan.voxels) for scan in scans]
    learnt = [product.trained(cases, product.recipe(options, seed)) for seed in range(options.seeds)]
    yield PRODUCT, lambda n: np.mean([_product(scans[n], one, noisy[n].sigma * unit[n]) for one in learnt], axis=0)
    bundled = model.load(options.model)
    yield BUNDLED, lambda n: denoise(scans[n].voxels, bundled).estimate


def _product(scan: Scan, learnt: model.Model, sigma: float) -> np.ndarray:
    return denoise(scan.voxels, learnt, Options(sigma=sigma)).estimate


def _slug(name: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in name).split())


def _text(values: dict[str, Any]) -> str:
    rows = []
    for cell in values["cells"]:
        auto = cell["residual_autocorrelation"]
        rows.append(
            (
                f"{cell['scan']}, {cell['method']}",
                f"{cell['removed']:.2f}",
                f"{cell['residual_edge_correlation']:.3f}",
                f"{cell['residual_detail_correlation']:.3f}",
                f"{auto[0]:.2f}, {auto[1]:.2f}",
                cell["verdict"],
                f"{cell['seconds']:.1f}",
            )
        )
    header = ("scan, method", "removed / noise", "edges", "detail", "lag 1, J and I", "verdict", "seconds")
    found = "; ".join(f"{name}: SNR {facts['snr']:.1f}" for name, facts in values["scans"].items())
    left_out = f" Left out, since not installed: {', '.join(values['left_out'])}." if values["left_out"] else ""
    return (
        "# Real noisy scans by every row of the comparison\n\n"
        f"{found}, as measured. Learnt from these scans alone, white noise assumed. "
        f"{product.in_words(values['training'])} "
        "Where there are several seeds, their results are averaged. What was removed: its strength over that of the "
        "noise, its correlation with edges and with fine detail of the result, and its autocorrelation at lag 1. None "
        f"of this says which is best: that takes a reference, which was kept apart.{left_out}\n\n"
        + common.table(header, rows)
    )


if __name__ == "__main__":
    main()
