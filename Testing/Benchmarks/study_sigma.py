"""Study: what a wrong noise level costs.

At inference, one model and BM3D are told factors of the true sigma. A network trained from nothing by the study's loop
(learning.py) is told them too; and, since the level enters the loss, networks are trained and used at a wrong level,
which is what happens if sigma is badly estimated from the only scan there is. Writes study_sigma.json, study_sigma.md
and study_sigma.png.

    python study_sigma.py --train A_T1W.nii.gz --test B_T1W.nii.gz --steps 2000 --slices 8
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import common
import numpy as np
import peers
from learning import Budget, Simulated, apply, learn, score, simulate
from losses import METHODS
from pictures import draw_curves

from C2SCore import model
from C2SCore.denoising import Options, denoise

FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)  # of the true sigma
OURS, FRESH, THROUGHOUT = "ours", "from nothing, wrong when used", "from nothing, wrong throughout"
SMALL = 0.2  # dB: a loss that hardly shows
METHOD = "C2S, ours"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("--train", nargs="+", default=(), help="clean scans to learn from (default: a simulated head)")
    made.add_argument("--test", help="clean scan to be scored on (default: another head, or the training scan)")
    made.add_argument("--snr", type=float, default=10.0, help="(default: %(default)s)")
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--steps", type=int, default=150, help="of each training (default: %(default)s)")
    made.add_argument("--patch", type=int, default=48, help="pixels (default: %(default)s)")
    made.add_argument("--batch", type=int, default=8, help="patches (default: %(default)s)")
    made.add_argument("--seeds", type=int, default=1, help="trainings at each level (default: %(default)s)")
    made.add_argument(
        "--trained", type=float, nargs="+", default=(0.5, 0.75, 1.25, 1.5), help="factors of sigma to train at"
    )
    made.add_argument("--slices", type=int, default=2, help="scored, spread evenly (default: %(default)s)")
    made.add_argument("--side", type=int, default=96, help="pixels of the simulated heads (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    shape = (12, options.side, options.side)
    paths = options.train or (None,)
    train = [
        simulate(*common.anatomy(path, shape, options.seed + n, f"head {n}"), options.snr, options.seed + n)
        for n, path in enumerate(paths)
    ]
    # Without --test, the scan that was trained on, as a user's only scan would be; two simulated heads differ.
    last = options.test or (paths[0] if options.train else None)
    other = simulate(*common.anatomy(last, shape, options.seed + 1, "head 1"), options.snr, options.seed + len(paths))
    test = train[0] if options.train and not options.test else other
    rows = common.spread(len(test.clean), options.slices)
    budget = Budget(options.steps, options.patch, options.batch)
    loaded = model.load(options.model)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "budget": vars(budget)}
    values |= {"seeds": options.seeds, "snr": options.snr, "train": [scan.name for scan in train], "test": test.name}
    values |= {"model": loaded.card.name, "slices": len(rows), "ways": {}}
    for title, (factors, found) in _ways(train, test, rows, loaded, budget, options.trained, options.seeds).items():
        values["ways"][title] = _way(factors, found)
        print(f"{title}: {', '.join(f'{v:.2f}' for v in values['ways'][title]['loss'])} dB lost", flush=True)
    curves = {
        title: ([100 * (f - 1) for f in way["factors"]], [-v for v in way["loss"]])
        for title, way in values["ways"].items()
    }
    draw_curves(curves, options.out / "study_sigma.png", "error of sigma (%)", "PSNR less that at the true sigma (dB)")
    common.write_results(options.out, "study_sigma", values, _text(values))
    return values


def _ways(
    train: Sequence[Simulated],
    test: Simulated,
    rows: np.ndarray,
    loaded: model.Model,
    budget: Budget,
    trained: Sequence[float],
    seeds: int,
) -> dict[str, tuple[Sequence[float], list[dict[str, np.ndarray]]]]:
    """Factors and the scores at each of them."""
    method, noisy = METHODS[METHOD], test.noisy[rows]
    told = [Options(sigma=f * test.sigma, noise="gaussian") for f in FACTORS]
    found: dict[str, tuple[Sequence[float], list[dict[str, np.ndarray]]]] = {
        OURS: (FACTORS, [score(test, denoise(test.noisy, loaded, option).estimate[rows], rows) for option in told]),
        "BM3D": (FACTORS, [score(test, peers.bm3d(noisy, f * test.sigma), rows) for f in FACTORS]),
    }

    def networks(factor: float) -> list[Any]:
        wrong = [dataclasses.replace(scan, sigma=factor * scan.sigma) for scan in train]
        return [learn(method, wrong, budget, seed) for seed in range(seeds)]

    def scored(nets: list[Any], factor: float) -> dict[str, np.ndarray]:
        images = [apply(net, method, test.noisy, factor * test.sigma, rows) for net in nets]
        return common.over_seeds([score(test, image, rows) for image in images])

    right = networks(1.0)
    found[FRESH] = (FACTORS, [scored(right, f) for f in FACTORS])
    levels = sorted({*trained, 1.0})
    found[THROUGHOUT] = (levels, [scored(right if f == 1 else networks(f), f) for f in levels])
    return found


def _way(factors: Sequence[float], found: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Scores, what is lost against the true sigma, and the range of factors in which that is less than SMALL."""
    true = found[list(factors).index(1.0)]
    less = [common.paired(true["psnr"], scored["psnr"]) for scored in found]
    loss = [v["mean"] for v in less]
    return {
        "factors": list(factors),
        "scores": [common.summary(scored) for scored in found],
        "loss": loss,
        "paired": less,
        "small_from": _edge(factors, loss, -1),
        "small_to": _edge(factors, loss, 1),
        "best_factor": float(factors[int(np.argmin(loss))]),
    }


def _edge(factors: Sequence[float], loss: Sequence[float], step: int) -> float:
    """The last factor on one side of 1 before more than SMALL is lost."""
    n = list(factors).index(1.0)
    while 0 <= n + step < len(factors) and loss[n + step] < SMALL:
        n += step
    return float(factors[n])


def _text(values: dict[str, Any]) -> str:
    shown = sorted({f for way in values["ways"].values() for f in way["factors"]})
    rows = []
    for title, way in values["ways"].items():
        known = dict(zip(way["factors"], way["loss"]))
        true = way["scores"][way["factors"].index(1.0)]["psnr"]["mean"]
        rows.append((title, f"{true:.2f}", *(f"{known[f]:.2f}" if f in known else "-" for f in shown)))
    budget = values["budget"]
    return "\n\n".join(
        [
            "# A wrong noise level",
            f"{values['test']}, {values['slices']} slices, Gaussian noise, SNR {values['snr']:g}; model "
            f"{values['model']}. From nothing: network `{budget['size']}`, loss `{METHOD}`, {budget['steps']} steps of "
            f"{budget['batch']} patches of {budget['patch']} pixels, {values['seeds']} seeds, on "
            f"{', '.join(values['train'])}. PSNR lost (dB) against the true sigma.",
            common.table(("told", "PSNR at the true sigma", *(f"{100 * (f - 1):+.0f} %" for f in shown)), rows),
            "## What it shows",
            _shows(values),
        ]
    )


def _shows(values: dict[str, Any]) -> str:
    sentences = []
    for title, way in values["ways"].items():
        first, last = way["factors"][0], way["factors"][-1]
        sentences.append(
            f"{title[0].upper() + title[1:]}: {way['loss'][0]:.2f} dB lost at {100 * (first - 1):+.0f} %, "
            f"{way['loss'][-1]:.2f} dB at {100 * (last - 1):+.0f} %, less than {SMALL} dB from "
            f"{100 * (way['small_from'] - 1):+.0f} % to {100 * (way['small_to'] - 1):+.0f} %; best at "
            f"{100 * (way['best_factor'] - 1):+.0f} %."
        )
    return " ".join(sentences)


if __name__ == "__main__":
    main()
