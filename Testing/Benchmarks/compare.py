"""The fair comparison: the same network, data, augmentation, steps and seeds for every learnt method, and the
classical ones.

Gaussian noise is simulated on clean scans. Learnt methods train on the noisy training scans (Noise2Noise sees a
second noisy image, supervised the truth) and denoise a test scan that none has seen, with the true sigma; the
classical ones get the true sigma too. PSNR and SSIM per slice, mean over seeds, and paired t-tests over slices of
ours against every row. Writes compare.json, compare.md and compare.png.

    python compare.py --budget quick
    python compare.py --budget full --train T1W_a.nii.gz T1W_b.nii.gz --test T1W_c.nii.gz --snr 5 10 20
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import common
import numpy as np
import peers
import phantoms
from learning import Budget, Simulated, apply, learn, score, simulate
from losses import METHODS
from pictures import draw_bars

OURS = "C2S, ours"
WITH_MORE = ("Noise2Noise", "Supervised")  # these see what one noisy scan does not have
BUDGETS = {"quick": Budget(steps=400, patch=48), "full": Budget(steps=6000)}
SHAPES = {"quick": (10, 96, 96), "full": (18, 192, 192)}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("--budget", choices=BUDGETS, default="quick", help="(default: %(default)s)")
    made.add_argument("--train", nargs="+", default=(), help="clean scans to learn from (default: two simulated heads)")
    made.add_argument("--test", help="clean scan to be scored on (default: a third simulated head)")
    made.add_argument("--snr", type=float, nargs="+", help="(default: 10; full: 5 10 20)")
    made.add_argument("--seeds", type=int, default=3, help="trainings of each method (default: %(default)s)")
    made.add_argument("--steps", type=int, help="instead of the budget's")
    made.add_argument(
        "--slices", type=int, default=8, help="score so many slices, spread evenly (default: %(default)s)"
    )
    made.add_argument(
        "--methods", nargs="+", choices=METHODS, default=tuple(METHODS), help="learnt ones (default: all)"
    )
    made.add_argument("--name", default="compare", help="of the result files (default: %(default)s)")
    options = made.parse_args(arguments)
    if bool(options.train) != bool(options.test):
        made.error("--train and --test go together")
    common.prepare(options)
    start = time.monotonic()
    budget = BUDGETS[options.budget]
    budget = budget if options.steps is None else dataclasses.replace(budget, steps=options.steps)
    values: dict[str, Any] = {
        "environment": common.environment(options.seed),
        "budget": vars(budget),
        "seeds": options.seeds,
    }
    values |= {
        "data": [*(common.files.read_one(p).name for p in options.train)] or "simulated heads",
        "left_out": [],
        "levels": [],
    }
    for snr in options.snr or ((10.0,) if options.budget == "quick" else (5.0, 10.0, 20.0)):
        train, test = _scans(options, snr)
        values["levels"].append(_level(train, test, snr, budget, options, values["left_out"]))
    values["minutes"] = (time.monotonic() - start) / 60
    level = values["levels"][min(1, len(values["levels"]) - 1)]
    bars = {name: (row["psnr"]["mean"], row["psnr"]["std"]) for name, row in _ordered(level)}
    draw_bars(bars, options.out / f"{options.name}.png", f"PSNR at SNR {level['snr']:g} (dB)")
    common.write_results(options.out, options.name, values, _text(values))
    return values


def _scans(options: argparse.Namespace, snr: float) -> tuple[list[Simulated], Simulated]:
    """Training scans and the test scan; the noise of every one has a seed of its own."""
    if options.train:
        clean = [common.read_clean(path) for path in (*options.train, options.test)]
    else:
        shape = SHAPES[options.budget]
        clean = [(f"head {n}", phantoms.head(shape, options.seed + n)) for n in range(3)]
    scans = [simulate(name, voxels, snr, options.seed + n) for n, (name, voxels) in enumerate(clean)]
    return scans[:-1], scans[-1]


def _level(
    train: list[Simulated],
    test: Simulated,
    snr: float,
    budget: Budget,
    options: argparse.Namespace,
    left_out: list[str],
) -> dict[str, Any]:
    """Every row at one SNR."""
    rows = common.spread(len(test.clean), options.slices)
    noisy = test.noisy[rows]
    found = {"Noisy": [score(test, noisy, rows)]}
    for name, peer in peers.PEERS.items():
        try:
            found[name] = [score(test, peer(noisy, test.sigma), rows)]
        except ImportError:
            if name not in left_out:
                left_out.append(name)
    seconds: dict[str, float] = {}
    for name in options.methods:
        method, began = METHODS[name], time.monotonic()
        trained = [learn(method, train, budget, options.seed + n) for n in range(options.seeds)]
        seconds[name] = (time.monotonic() - began) / options.seeds
        found[name] = [score(test, apply(net, method, noisy, test.sigma, options.seed), rows) for net in trained]
        print(f"SNR {snr:g}, {name}: {np.mean([f['psnr'].mean() for f in found[name]]):.2f} dB", flush=True)
    means = {name: {m: np.mean([f[m] for f in runs], axis=0) for m in runs[0]} for name, runs in found.items()}
    table = {}
    for name, scored in means.items():
        table[name] = common.summary(scored) | {"seconds": seconds.get(name)}
        table[name]["seeds_psnr"] = [float(f["psnr"].mean()) for f in found[name]]
        if OURS in means and name != OURS:
            table[name]["ours_less_this"] = {m: common.paired(means[OURS][m], scored[m]) for m in scored}
    return {"snr": snr, "test": test.name, "rows": table}


def _ordered(level: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Rows from worst to best, those that saw more than one noisy image last."""
    return sorted(level["rows"].items(), key=lambda row: (row[0] in WITH_MORE, row[1]["psnr"]["mean"]))


def _text(values: dict[str, Any]) -> str:
    budget = values["budget"]
    data = values["data"] if isinstance(values["data"], str) else ", ".join(values["data"])
    parts = [
        "# The same network, data, steps and seeds for every loss",
        f"Network `{budget['size']}`, {budget['steps']} steps of {budget['batch']} patches of {budget['patch']} "
        "pixels, "
        f"{values['seeds']} seeds, white Gaussian noise. Trained on {data}; tested on a scan that was not trained on. "
        "Mean over slices of the mean over seeds ± standard deviation over slices; p: paired t-test over slices "
        "of ours against the row. Noise2Noise and supervised see more than one noisy scan. The whole comparison took "
        f"{values['minutes']:.0f} minutes.",
    ]
    if values["left_out"]:
        parts.append(f"Left out, since not installed: {', '.join(values['left_out'])}.")
    header = ("method", "PSNR dB", "spread over seeds", "SSIM", "ours - this, dB", "p", "ours - this, SSIM", "p")
    for level in values["levels"]:
        rows = []
        for name, row in _ordered(level):
            less = row.get("ours_less_this")
            seeds = row["seeds_psnr"]
            rows.append(
                (
                    f"**{name}**" if name == OURS else name,
                    f"{row['psnr']['mean']:.2f} ± {row['psnr']['std']:.2f}",
                    f"{np.std(seeds):.2f}" if len(seeds) > 1 else "-",
                    f"{row['ssim']['mean']:.4f}",
                    f"{less['psnr']['mean']:+.2f}" if less else "-",
                    common.probability(less["psnr"]["p"]) if less else "-",
                    f"{less['ssim']['mean']:+.4f}" if less else "-",
                    common.probability(less["ssim"]["p"]) if less else "-",
                )
            )
        parts += [f"## SNR {level['snr']:g}, {level['test']}", common.table(header, rows)]
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
