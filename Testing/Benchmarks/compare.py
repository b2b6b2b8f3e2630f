"""The fair comparison: the same network, data, augmentation, steps and seeds for every learnt method, and the
classical ones.

Gaussian noise is simulated on clean scans. Learnt methods train on the noisy training scans, each of which is seen at
every SNR (Noise2Noise sees a second noisy image, supervised the truth), and denoise a test scan that none has seen,
with the true sigma; the classical ones get the true sigma too. The bundled model, trained for hours on other scans, is
scored beside them. PSNR and SSIM per slice, mean over seeds, and paired t-tests over slices of ours against every row.
Writes compare.json, compare.md and compare.png.

    python compare.py --budget quick
    python compare.py --budget full --train T1W_a.nii.gz T1W_b.nii.gz --test T1W_c.nii.gz --networks trained
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import peers
import phantoms
from learning import Budget, Simulated, apply, learn, score, simulate
from losses import METHODS
from pictures import draw_bars
from safetensors.torch import load_file, save_file

from C2SCore import model
from C2SCore.denoiser import Denoiser
from C2SCore.denoising import Options, denoise
from C2SCore.writing import atomic

OURS = "C2S, ours"
BUNDLED = "Bundled model"
PLAIN = "C2S, paper, without detail refinement"
WITH_MORE = ("Noise2Noise", "Supervised", BUNDLED)  # these see what the training scans, noisy once, do not have
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
    made.add_argument("--model", default="default", help="scored as it is, by name or file (default: %(default)s)")
    made.add_argument("--networks", type=Path, help="folder that keeps what was trained, so that a run can go on")
    made.add_argument("--name", default="compare", help="of the result files (default: %(default)s)")
    options = made.parse_args(arguments)
    if bool(options.train) != bool(options.test):
        made.error("--train and --test go together")
    common.prepare(options)
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
    train, tests = _scans(options)
    trained = _trained(train, budget, options)
    values["seconds"] = {name: seconds for name, (_, seconds) in trained.items()}
    for test in tests:
        values["levels"].append(_level(test, trained, options, values["left_out"]))
    level = values["levels"][min(1, len(values["levels"]) - 1)]
    bars = {name: (row["psnr"]["mean"], row["psnr"]["std"]) for name, row in _ordered(level)}
    draw_bars(bars, options.out / f"{options.name}.png", f"PSNR at SNR {level['snr']:g} (dB)")
    common.write_results(options.out, options.name, values, _text(values))
    return values


def _scans(options: argparse.Namespace) -> tuple[list[Simulated], list[Simulated]]:
    """Training scans at every SNR, and the test scan at every SNR; all have noise of their own."""
    if options.train:
        clean = [common.read_clean(path) for path in (*options.train, options.test)]
    else:
        shape = SHAPES[options.budget]
        clean = [(f"head {n}", phantoms.head(shape, options.seed + n)) for n in range(3)]
    levels = options.snr or ((10.0,) if options.budget == "quick" else (5.0, 10.0, 20.0))
    scans = [
        [simulate(name, voxels, snr, options.seed + len(clean) * m + n) for m, snr in enumerate(levels)]
        for n, (name, voxels) in enumerate(clean)
    ]
    return [scan for group in scans[:-1] for scan in group], scans[-1]


def _trained(
    train: list[Simulated], budget: Budget, options: argparse.Namespace
) -> dict[str, tuple[list[Denoiser], float | None]]:
    """Networks of every method, one per seed, and the mean seconds of a training, None where all were kept."""
    facts = [budget, [(scan.name, scan.sigma, scan.noisy.shape) for scan in train]]
    mark = hashlib.sha256(repr(facts).encode()).hexdigest()[:8]
    found: dict[str, list[Denoiser]] = {name: [] for name in options.methods}
    seconds: dict[str, list[float]] = {name: [] for name in options.methods}
    for seed in range(options.seed, options.seed + options.seeds):
        for name in options.methods:
            method, began = METHODS[name], time.monotonic()
            kept = options.networks and options.networks / f"{_slug(name)}-{seed}-{mark}.safetensors"
            if kept and kept.is_file():
                net = Denoiser(budget.size, method.neighbours).eval()
                net.load_state_dict(load_file(kept))
            else:
                net = learn(method, train, budget, seed)
                seconds[name].append(time.monotonic() - began)
                print(f"{name}, seed {seed}: trained in {seconds[name][-1]:.0f} s", flush=True)
                if kept:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    with atomic(kept, ".safetensors") as temporary:
                        save_file({key: v.contiguous() for key, v in net.state_dict().items()}, temporary)
            found[name].append(net)
    return {name: (nets, float(np.mean(seconds[name])) if seconds[name] else None) for name, nets in found.items()}


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _level(
    test: Simulated,
    trained: dict[str, tuple[list[Denoiser], float | None]],
    options: argparse.Namespace,
    left_out: list[str],
) -> dict[str, Any]:
    """Every row at one SNR."""
    rows = common.spread(len(test.clean), options.slices)
    noisy = test.noisy[rows]
    found = {"Noisy": [score(test, noisy, rows)]}
    for name, peer in peers.PEERS.items():
        try:
            image = peer(test.noisy, test.sigma)[rows] if name in peers.ACROSS else peer(noisy, test.sigma)
            found[name] = [score(test, image, rows)]
        except ImportError:
            if name not in left_out:
                left_out.append(name)
    snr = 1 / test.sigma
    told = Options(sigma=test.sigma, noise="gaussian")
    found[BUNDLED] = [score(test, denoise(test.noisy, model.load(options.model), told).estimate[rows], rows)]
    for name, (nets, _) in trained.items():
        images = [apply(net, METHODS[name], test.noisy, test.sigma, rows, options.seed) for net in nets]
        found[name] = [score(test, image, rows) for image in images]
        print(f"SNR {snr:g}, {name}: {np.mean([f['psnr'].mean() for f in found[name]]):.2f} dB", flush=True)
    means = {name: {m: np.mean([f[m] for f in runs], axis=0) for m in runs[0]} for name, runs in found.items()}
    table = {}
    for name, scored in means.items():
        table[name] = common.summary(scored)
        table[name]["seeds_psnr"] = [float(f["psnr"].mean()) for f in found[name]]
        if OURS in means and name != OURS:
            table[name]["ours_less_this"] = {m: common.paired(means[OURS][m], scored[m]) for m in scored}
    return {"snr": snr, "test": test.name, "rows": table}


def _ordered(level: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Rows from worst to best, those that saw more than the others last."""
    return sorted(level["rows"].items(), key=lambda row: (row[0] in WITH_MORE, row[1]["psnr"]["mean"]))


def _text(values: dict[str, Any]) -> str:
    budget = values["budget"]
    data = values["data"] if isinstance(values["data"], str) else ", ".join(values["data"])
    parts = [
        "# The same network, data, steps and seeds for every loss",
        f"Network `{budget['size']}`, {budget['steps']} steps of {budget['batch']} patches of {budget['patch']} "
        f"pixels, {values['seeds']} seeds, white Gaussian noise. Trained on {data}, every scan at every SNR of the "
        "tables; tested on a scan that was not trained on. Mean over slices of the mean over seeds ± standard "
        "deviation over slices; p: paired t-test over slices of ours against the row. Noise2Noise and supervised see "
        "more than one noisy scan; the bundled model was trained for hours on more scans and contrasts.",
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
    shown = [text for level in values["levels"] if (text := _shows(level))]
    return "\n\n".join(parts + (["## What it shows", " ".join(shown)] if shown else []))


def _shows(level: dict[str, Any]) -> str:
    """What ours gains over the paper's loss, of what there is to gain."""
    rows = level["rows"]
    if not {OURS, PLAIN, "Noise2Noise", "Supervised"} <= set(rows):
        return ""
    ours, second, most = (common.compared(rows[name], rows[PLAIN]) for name in (OURS, "Noise2Noise", "Supervised"))
    return (
        f"SNR {level['snr']:g}: over the paper's C2S without detail refinement, ours gains {common.told(ours)}, "
        f"Noise2Noise {common.told(second)}, and supervised training, which sees the truth, {common.told(most)}."
    )


if __name__ == "__main__":
    main()
