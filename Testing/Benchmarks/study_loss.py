"""Study: which member of the GDSM family, and what happens where inference is, at tau = 0.

Plain loss, divided by gamma and by gamma^2, antithetic or not, over several ranges of tau, beside SURE (the limit)
and Noise2Noise, all trained alike (learning.py). Each is scored at tau = 0 and, with further noise added, at tau > 0
(mean of a few draws). Writes study_loss.json, study_loss.md and study_loss.png.

    python study_loss.py --steps 2000 --train T1W_a.nii.gz --test T1W_b.nii.gz
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
from learning import Budget, Simulated, apply, learn, score, simulate
from losses import METHODS, Method, matching, uniform_tau
from pictures import draw_curves

TAUS = (0.0, 0.1, 0.3, 0.5, 1.0, 2.0)  # in units of sigma_d, at inference
DRAWS = 4
OURS, PAPERS = "over gamma^2, antithetic, (0.5, 1.5]", "plain, (0, 3]"
ANTITHETIC, SINGLE = "over gamma^2, antithetic, (0.1, 1]", "over gamma^2, (0.1, 1]"  # alike in all else
FAMILY = {
    "plain, (0, 3]": matching(uniform_tau(0.001, 3.0)),
    "plain, (0, 1]": matching(uniform_tau(0.001, 1.0)),
    "over gamma, (0.1, 3]": matching(uniform_tau(0.1, 3.0), power=1),
    "over gamma^2, (0.1, 3]": matching(uniform_tau(0.1, 3.0), power=2),
    "over gamma^2, (0.1, 1]": matching(uniform_tau(0.1, 1.0), power=2),
    "over gamma, antithetic, (0.1, 1]": matching(uniform_tau(0.1, 1.0), power=1, antithetic=True),
    "over gamma^2, antithetic, (0.1, 1]": matching(uniform_tau(0.1, 1.0), power=2, antithetic=True),
    "over gamma^2, antithetic, (0.05, 0.3]": matching(uniform_tau(0.05, 0.3), power=2, antithetic=True),
    "over gamma^2, antithetic, (0.5, 1]": matching(uniform_tau(0.5, 1.0), power=2, antithetic=True),
    "over gamma^2, antithetic, (0.5, 1.5]": matching(uniform_tau(0.5, 1.5), power=2, antithetic=True),
    "over gamma^2, antithetic, (0.1, 3]": matching(uniform_tau(0.1, 3.0), power=2, antithetic=True),
}
STUDIED = {name: Method(loss) for name, loss in FAMILY.items()} | {n: METHODS[n] for n in ("SURE", "Noise2Noise")}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("--train", help="clean scan to learn from (default: a simulated head)")
    made.add_argument("--test", help="clean scan to be scored on (default: the training scan's own noisy slices)")
    made.add_argument("--snr", type=float, default=10.0, help="(default: %(default)s)")
    made.add_argument("--steps", type=int, default=1000, help="of each training (default: %(default)s)")
    made.add_argument("--patch", type=int, default=64, help="pixels (default: %(default)s)")
    made.add_argument("--batch", type=int, default=8, help="patches (default: %(default)s)")
    made.add_argument("--seeds", type=int, default=3, help="trainings of each loss (default: %(default)s)")
    made.add_argument("--slices", type=int, default=6, help="scored, spread evenly (default: %(default)s)")
    made.add_argument("--side", type=int, default=128, help="pixels of the simulated head (default: %(default)s)")
    made.add_argument("--losses", nargs="+", choices=STUDIED, default=tuple(STUDIED), help="(default: all)")
    options = made.parse_args(arguments)
    common.prepare(options)
    name, clean = common.anatomy(options.train, (12, options.side, options.side), options.seed)
    scan = simulate(name, clean, options.snr, options.seed)
    test = simulate(*common.read_clean(options.test), options.snr, options.seed + 1) if options.test else scan
    rows = common.spread(len(test.clean), options.slices)
    budget = Budget(options.steps, options.patch, options.batch)
    values: dict[str, Any] = {
        "environment": common.environment(options.seed),
        "budget": vars(budget),
        "seeds": options.seeds,
    }
    values |= {"snr": options.snr, "train": scan.name, "test": test.name, "taus": list(TAUS)}
    values["noisy"] = common.summary(score(test, test.noisy[rows], rows))
    values["losses"] = {}
    for title in options.losses:
        runs = [_curve(STUDIED[title], scan, test, rows, budget, options.seed + n) for n in range(options.seeds)]
        mean = np.mean([run["psnr"] for run in runs], axis=0)
        found: dict[str, Any] = {"psnr": mean.mean(axis=1).tolist()}
        at_zero = {"psnr": mean[0], "ssim": np.mean([run["ssim"] for run in runs], axis=0)}
        found["at_zero"] = common.summary(at_zero)
        found["seeds"] = [run["psnr"][0].mean().item() for run in runs]
        values["losses"][title] = found
        print(f"{title}: {found['psnr'][0]:.2f} dB", flush=True)
    curves = {title: (TAUS, found["psnr"]) for title, found in values["losses"].items()}
    draw_curves(curves, options.out / "study_loss.png", "tau at inference, in units of sigma", "PSNR (dB)")
    common.write_results(options.out, "study_loss", values, _text(values))
    return values


def _curve(
    method: Method, scan: Simulated, test: Simulated, rows: np.ndarray, budget: Budget, seed: int
) -> dict[str, np.ndarray]:
    """PSNR (tau, slices), SSIM at tau = 0 (slices) of one training."""
    denoiser = learn(method, [scan], budget, seed)
    noisy = test.noisy[rows]
    rng = np.random.default_rng([seed, 1])  # never the stream of the data's own noise
    psnr, ssim = [], None
    for tau in TAUS:
        level = test.sigma * float(np.hypot(1, tau))
        draws = DRAWS if tau else 1
        shown = [noisy + tau * test.sigma * rng.standard_normal(noisy.shape).astype(np.float32) for _ in range(draws)]
        scored = score(
            test,
            np.mean([apply(denoiser, method, image, level, np.arange(len(image))) for image in shown], axis=0),
            rows,
        )
        psnr.append(scored["psnr"])
        ssim = scored["ssim"] if ssim is None else ssim
    return {"psnr": np.array(psnr), "ssim": ssim}


def _text(values: dict[str, Any]) -> str:
    budget = values["budget"]
    rows = []
    for title, found in values["losses"].items():
        shown = (f"{found['at_zero']['ssim']['mean']:.4f}", f"{np.std(found['seeds']):.2f}")
        rows.append((title, *(f"{v:.2f}" for v in found["psnr"]), *shown))
    header = ("loss, range of tau", *(f"tau {t:g}" for t in TAUS), "SSIM at 0", "spread over seeds")
    return (
        "# The loss family, and PSNR as a function of tau at inference\n\n"
        f"Network `{budget['size']}`, {budget['steps']} steps of {budget['batch']} patches, {values['seeds']} seeds; "
        f"SNR {values['snr']:g}, trained on {values['train']}, scored on {values['test']}; PSNR in dB, at tau > 0 of "
        f"the mean of {DRAWS} draws. "
        f"Noisy: {values['noisy']['psnr']['mean']:.2f} dB.\n\n"
        + common.table(header, rows)
        + f"\n\n## What it shows\n\n{_shows(values)}"
    )


def _shows(values: dict[str, Any]) -> str:
    losses = values["losses"]
    best = max((title for title in losses if title in FAMILY), key=lambda t: losses[t]["psnr"][0], default=None)
    parts = []
    if best:
        parts.append(f"At tau = 0 the best of the family is {best}, {losses[best]['psnr'][0]:.2f} dB.")
    if OURS in losses:
        others = [title for title in (PAPERS, "SURE", "Noise2Noise") if title in losses]
        less = [
            f"{common.told(common.compared(losses[OURS]['at_zero'], losses[t]['at_zero']))} over {t}" for t in others
        ]
        if less:
            parts.append(f"{OURS[0].upper() + OURS[1:]}, which the presets use: {'; '.join(less)}.")
    if ANTITHETIC in losses and SINGLE in losses:
        gain = common.compared(losses[ANTITHETIC]["at_zero"], losses[SINGLE]["at_zero"])
        parts.append(f"Antithetic pairs over single draws, tau in (0.1, 1]: {common.told(gain)}.")
    gains = {t: (max(f["psnr"]) - f["psnr"][0], TAUS[int(np.argmax(f["psnr"]))]) for t, f in losses.items()}
    most = max(gains, key=lambda t: gains[t][0])
    helped = [t for t, (gain, _) in gains.items() if gain > 0.05]
    parts.append(
        f"More noise at inference, averaged over {DRAWS} draws, gains more than 0.05 dB in {len(helped)} of "
        f"{len(gains)} losses"
        + (f", most for {most}: {gains[most][0]:.2f} dB at tau {gains[most][1]:g}." if helped else ".")
    )
    return " ".join(parts)


if __name__ == "__main__":
    main()
