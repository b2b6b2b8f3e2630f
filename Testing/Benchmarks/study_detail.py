"""Study: detail refinement, a network trained for a target level against the closed-form line.

E[x_target | x_d] = x_d + (1 - sigma_target^2 / sigma_d^2) (E[x_0 | x_d] - x_d), so one network trained for x_0 gives
every detail level. Networks trained for a target of their own, alike in all else, are scored beside that line: against
the truth, and by how far the two are apart. Writes study_detail.json, study_detail.md and study_detail.png.

    python study_detail.py --train T1W_a.nii.gz --test T1W_b.nii.gz --steps 2000
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
from learning import Budget, apply, learn, score, simulate
from losses import Method, matching, uniform_tau
from pictures import draw_curves

TARGETS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)  # sigma_target in units of sigma_d
FORMS = {
    "ours": {"draw_tau": uniform_tau(0.5, 1.5), "power": 2.0, "antithetic": True},
    "paper": {"draw_tau": uniform_tau(0.001, 3.0)},
}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("--train", help="clean scan to learn from (default: a simulated head)")
    made.add_argument(
        "--test", help="clean scan to be scored on (default: another simulated head, or the training scan)"
    )
    made.add_argument("--snr", type=float, default=10.0, help="(default: %(default)s)")
    made.add_argument("--steps", type=int, default=1000, help="of each training (default: %(default)s)")
    made.add_argument("--patch", type=int, default=64, help="pixels (default: %(default)s)")
    made.add_argument("--batch", type=int, default=8, help="patches (default: %(default)s)")
    made.add_argument("--slices", type=int, default=6, help="scored, spread evenly (default: %(default)s)")
    made.add_argument("--side", type=int, default=128, help="pixels of the simulated heads (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    shape = (12, options.side, options.side)
    name, clean = common.anatomy(options.train, shape, options.seed, "head 0")
    train = simulate(name, clean, options.snr, options.seed)
    if options.test or not options.train:
        name, clean = common.anatomy(options.test, shape, options.seed + 1, "head 1")
    test = simulate(name, clean, options.snr, options.seed + 1)
    rows = common.spread(len(test.clean), options.slices)
    budget = Budget(options.steps, options.patch, options.batch)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "budget": vars(budget)}
    values |= {"snr": options.snr, "train": train.name, "test": test.name, "targets": list(TARGETS), "forms": {}}
    noisy = test.noisy[rows]
    for form, settings in FORMS.items():
        trained, line, apart = [], [], []
        for target in TARGETS:
            method = Method(matching(**settings, target=target))
            image = apply(learn(method, [train], budget, options.seed), method, test.noisy, test.sigma, rows)
            if target == 0:
                whole = image
            closed = noisy + (1 - target**2) * (whole - noisy)
            trained.append(score(test, image, rows))
            line.append(score(test, closed, rows))
            apart.append(float(np.sqrt(np.mean((image - closed) ** 2)) / test.sigma))
            print(f"{form}, target {target:g}: {trained[-1]['psnr'].mean():.2f} dB", flush=True)
        values["forms"][form] = {
            "trained": [common.summary(v) for v in trained],
            "line": [common.summary(v) for v in line],
            "trained_less_line": [common.paired(a["psnr"], b["psnr"]) for a, b in zip(trained, line)],
            "apart": apart,
        }
    curves = {
        f"{form}, {way}": (TARGETS, [v["psnr"]["mean"] for v in found[way]])
        for form, found in values["forms"].items()
        for way in ("trained", "line")
    }
    draw_curves(curves, options.out / "study_detail.png", "sigma_target / sigma", "PSNR (dB)")
    common.write_results(options.out, "study_detail", values, _text(values))
    return values


def _text(values: dict[str, Any]) -> str:
    rows = []
    for form, found in values["forms"].items():
        for n, target in enumerate(values["targets"]):
            trained, line, less = found["trained"][n], found["line"][n], found["trained_less_line"][n]
            rows.append(
                (
                    f"{form}, {target:g}",
                    f"{trained['psnr']['mean']:.2f} / {trained['ssim']['mean']:.4f}",
                    f"{line['psnr']['mean']:.2f} / {line['ssim']['mean']:.4f}",
                    f"{less['mean']:+.2f}",
                    common.probability(less["p"]),
                    f"{found['apart'][n]:.3f}",
                )
            )
    header = ("loss, sigma_target / sigma", "trained for it", "the line", "trained - line, dB", "p", "apart / sigma")
    budget = values["budget"]
    return (
        "# Detail: trained for a target, or the closed-form line\n\n"
        f"Network `{budget['size']}`, {budget['steps']} steps of {budget['batch']} patches, SNR {values['snr']:g}, "
        f"trained on {values['train']}, scored on {values['test']}; PSNR (dB) / SSIM.\n\n"
        + common.table(header, rows)
        + "\n\n## What it shows\n\n"
        + " ".join(_shows(form, found, values["targets"]) for form, found in values["forms"].items())
    )


def _shows(form: str, found: dict[str, Any], targets: list[float]) -> str:
    most = max(range(1, len(targets)), key=lambda n: abs(found["trained_less_line"][n]["mean"]))
    best = max(range(len(targets)), key=lambda n: found["line"][n]["psnr"]["mean"])
    alike = max(range(len(targets)), key=lambda n: found["line"][n]["ssim"]["mean"])
    return (
        f"Loss {form}: a network trained for a target differs from the line by at most "
        f"{common.told(found['trained_less_line'][most])}, at sigma_target {targets[most]:g}; their images are at most "
        f"{max(found['apart']):.3f} sigma apart. On the line PSNR is best at sigma_target {targets[best]:g}, SSIM at "
        f"{targets[alike]:g}."
    )


if __name__ == "__main__":
    main()
