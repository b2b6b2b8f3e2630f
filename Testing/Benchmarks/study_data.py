"""Study: how much data does a model need, and how far does it carry?

The product's recipe learns from one slice, one scan, and all scans of --train, with the same number of steps, and
denoises a scan that none has seen. Then models of several kinds of scans (another contrast, another resolution: --other
NAME TRAIN TEST) are each used on the test scans of all kinds. BM3D with the true sigma and the default model are the
marks. No model here reads neighbouring slices, since one slice has none. Writes study_data.json, study_data.md and
study_data.png.

    python study_data.py --train A_T1W.nii.gz B_T1W.nii.gz --test C_T1W.nii.gz --other T2W A_T2W.nii.gz C_T2W.nii.gz \\
        --other fine A_fine_T1W.nii.gz C_fine_T1W.nii.gz --steps 2000
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import Any

import common
import numpy as np
import peers
import phantoms
import product
from learning import Simulated, score, simulate
from pictures import draw_bars

from C2SCore import model
from C2SCore.denoising import Options, denoise
from C2SCore.patches import Case


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("--train", nargs="+", help="clean scans to learn from (default: three simulated heads)")
    made.add_argument("--test", help="clean scan of a session that is not in --train (default: a fourth head)")
    made.add_argument("--kind", default="first kind", help="what --train and --test are called (default: %(default)s)")
    made.add_argument(
        "--other", nargs=3, action="append", metavar=("NAME", "TRAIN", "TEST"), help="another kind; may be given again"
    )
    made.add_argument("--snr", type=float, default=10.0, help="(default: %(default)s)")
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--slices", type=int, default=3, help="scored, spread evenly (default: %(default)s)")
    made.add_argument("--side", type=int, default=80, help="pixels of the simulated heads (default: %(default)s)")
    product.add_arguments(made, steps=250)
    options = made.parse_args(arguments)
    if bool(options.train) != bool(options.test):
        made.error("--train and --test go together")
    common.prepare(options)
    loaded = model.load(options.model)
    train, kinds = _scans(options)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "snr": options.snr}
    values |= {"training": product.facts(options), "model": loaded.card.name, "train": [scan.name for scan in train]}
    first = next(iter(kinds))
    slice_alone = Case("one slice", train[0].noisy[_fullest(train[0])], sigma=train[0].sigma)
    models = {f"one slice of {first}": _trained([slice_alone], options)}
    carried = {f"one scan of {kind}": _trained([_case(own)], options) for kind, (own, _) in kinds.items()}
    models[f"one scan of {first}"] = carried[f"one scan of {first}"]
    if len(train) > 1:
        models[f"{len(train)} scans of {first}"] = _trained([_case(scan) for scan in train], options)
    values |= {"amounts": list(models), "kinds": {kind: [scan.name for scan in pair] for kind, pair in kinds.items()}}
    values["used_on"] = {}
    for kind, (_, test) in kinds.items():
        values["used_on"][kind] = _used(test, models | carried if kind == first else carried, loaded, options)
        print(f"{kind}: {_line(values['used_on'][kind])}", flush=True)
    bars = {
        f"on {kind}: {way}": (found["psnr"]["mean"], found["psnr"]["std"])
        for kind, used in values["used_on"].items()
        for way, found in used["ways"].items()
        if way != "noisy"
    }
    draw_bars(bars, options.out / "study_data.png", f"PSNR at SNR {options.snr:g} (dB)")
    common.write_results(options.out, "study_data", values, _text(values))
    return values


def _scans(options: argparse.Namespace) -> tuple[list[Simulated], dict[str, tuple[Simulated, Simulated]]]:
    """The training scans, and one to train on and one to be scored on of every kind."""
    if options.train:
        train = [common.read_clean(path) for path in options.train]
        kinds = {options.kind: (train[0], common.read_clean(options.test))}
        for name, *paths in options.other or ():
            kinds[name] = tuple(common.read_clean(path) for path in paths)
    else:
        coarse, fine = ((12, options.side * n, options.side * n) for n in (1, 2))
        seed = options.seed
        train = [(f"head {n}", phantoms.head(coarse, seed + n)) for n in range(3)]
        kinds = {options.kind: (train[0], ("head 3", phantoms.head(coarse, seed + 3)))}
        kinds["other contrast"] = tuple((f"head {n}", phantoms.head(coarse, seed + n, 1)) for n in (0, 3))
        kinds["finer"] = tuple((f"head {n}", phantoms.head(fine, seed + n)) for n in (0, 3))
    noise = iter(range(options.seed, options.seed + 1000))  # no two images share theirs
    scans = [simulate(*scan, options.snr, next(noise)) for scan in train]
    pairs = {}
    for kind, (own, test) in kinds.items():
        learnt = scans[0] if own is train[0] else simulate(*own, options.snr, next(noise))
        pairs[kind] = (learnt, simulate(*test, options.snr, next(noise)))
    return scans, pairs


def _fullest(scan: Simulated) -> slice:
    """The slice with most tissue, as a range, so that a volume remains."""
    k = int(np.argmax(scan.mask.sum(axis=(1, 2))))
    return slice(k, k + 1)


def _case(scan: Simulated) -> Case:
    return Case(scan.name, scan.noisy, sigma=scan.sigma)


def _trained(cases: Sequence[Case], options: argparse.Namespace) -> list[model.Model]:
    """One model per seed."""
    return [
        product.trained(cases, product.recipe(options, seed, neighbours=0, neighbour_dropout=0.0))
        for seed in range(options.seeds)
    ]


def _used(
    test: Simulated, models: dict[str, list[model.Model]], loaded: model.Model, options: argparse.Namespace
) -> dict[str, Any]:
    """Scores of the marks and of the models on one scan, and how each model differs from the default one and BM3D."""
    rows = common.spread(len(test.clean), options.slices)
    given = Options(sigma=test.sigma, noise="gaussian")
    noisy = test.noisy[rows]
    found = {"noisy": score(test, noisy, rows), "BM3D": score(test, peers.bm3d(noisy, test.sigma), rows)}
    for title, several in {"default model": [loaded], **models}.items():
        runs = [score(test, denoise(test.noisy, one, given).estimate[rows], rows) for one in several]
        found[title] = common.over_seeds(runs)
    less = {
        title: {other: common.paired(found[title]["psnr"], found[other]["psnr"]) for other in found if other != title}
        for title in models
    }
    seen = test.name in loaded.card.trained_on
    return {"test": test.name, "slices": len(rows), "seen_by_default": seen, "less": less} | {
        "ways": {way: common.summary(scored) for way, scored in found.items()}
    }


def _line(used: dict[str, Any]) -> str:
    return ", ".join(f"{way} {found['psnr']['mean']:.2f} dB" for way, found in used["ways"].items())


def _text(values: dict[str, Any]) -> str:
    rows = []
    for kind, used in values["used_on"].items():
        for way, found in used["ways"].items():
            less = used["less"].get(way)
            against = []
            for mark in ("BM3D", "default model"):
                against += [f"{less[mark]['mean']:+.2f}", common.probability(less[mark]["p"])] if less else ["-", "-"]
            shown = (f"{found['psnr']['mean']:.2f} ± {found['psnr']['std']:.2f}", f"{found['ssim']['mean']:.4f}")
            rows.append((f"{kind}, {way}", *shown, *against))
    header = ("used on, trained on", "PSNR dB", "SSIM", "over BM3D, dB", "p", "over the default model, dB", "p")
    kinds = "; ".join(f"{kind}: {own}, used on {test}" for kind, (own, test) in values["kinds"].items())
    return "\n\n".join(
        [
            "# How much data, and how far a model carries",
            f"{product.in_words(values['training'])} No neighbouring slices (the default model, {values['model']}, has "
            f"them). Gaussian noise, SNR {values['snr']:g}, true sigma. {kinds}. Several scans: "
            f"{', '.join(values['train'])}. Mean ± standard deviation over slices of a scan that was not trained on.",
            common.table(header, rows),
            "## What it shows",
            _shows_amounts(values),
            *(_shows_carry(kind, used) for kind, used in values["used_on"].items()),
        ]
    )


def _shows_amounts(values: dict[str, Any]) -> str:
    used = next(iter(values["used_on"].values()))
    amounts = values["amounts"]
    steps = [f"{b} over {a} {common.told(used['less'][b][a])}" for a, b in itertools.pairwise(amounts)]
    over = [f"{a} {common.told(used['less'][a]['BM3D'])}" for a in amounts]
    return f"More data, as many steps: {', '.join(steps)}. Over BM3D: {', '.join(over)}."


def _shows_carry(kind: str, used: dict[str, Any]) -> str:
    own = f"one scan of {kind}"
    others = [
        f"{way} {common.told(less[own])}" for way, less in used["less"].items() if "one scan" in way and way != own
    ]
    seen = " It saw this scan in training." if used["seen_by_default"] else ""
    return (
        f"Used on {kind}, against a model of its own kind: {', '.join(others) or 'no other was tried'}. The default "
        f"model differs from a model of its own kind by {-used['less'][own]['default model']['mean']:+.2f} dB.{seen}"
    )


if __name__ == "__main__":
    main()
