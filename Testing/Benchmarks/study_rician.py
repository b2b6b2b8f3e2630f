"""Study: Rician noise at low SNR, and neighbouring slices.

One model, told the true sigma, on simulated magnitude images: (a) as if the noise were Gaussian, (b) that result
corrected for the mean of the Rician noise, (c) between the stabilising transform and its exact unbiased inverse, and
(d) the same with every slice by itself, without its neighbours. PSNR, SSIM, and the bias (mean of result - truth) in
air, dark and bright tissue, in units of sigma. Writes study_rician.json, study_rician.md and study_rician.png.

    python study_rician.py T1W.nii.gz --slices 8
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
from learning import Simulated, score, simulate
from pictures import draw_curves

from C2SCore import model
from C2SCore.denoising import Options, denoise

WAYS = ("as Gaussian", "bias corrected", "stabilised", "stabilised, no neighbours")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scan", nargs="?", help="scan taken for the truth (default: a simulated head)")
    made.add_argument("--snr", type=float, nargs="+", default=(1.0, 2.0, 3.0, 5.0, 10.0))
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--slices", type=int, default=0, help="score so many slices, spread evenly (default: all)")
    made.add_argument("--side", type=int, default=128, help="pixels of the simulated head (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    loaded = model.load(options.model)
    name, clean = common.anatomy(options.scan, (10, options.side, options.side), options.seed)
    rows = common.spread(len(clean), options.slices)
    values: dict[str, Any] = {
        "environment": common.environment(options.seed),
        "scan": name,
        "model": loaded.card.name,
        "levels": [],
    }
    for snr in options.snr:
        scan = simulate(name, clean, snr, options.seed, "rician")
        found = {"noisy": scan.noisy[rows]} | {way: image[rows] for way, image in _results(scan, loaded, rows).items()}
        level: dict[str, Any] = {"snr": snr, "ways": {}}
        for way, image in found.items():
            level["ways"][way] = common.summary(score(scan, image, rows)) | {"bias": _bias(scan, image, rows)}
        values["levels"].append(level)
    curves = {
        way: (options.snr, [v["ways"][way]["psnr"]["mean"] for v in values["levels"]]) for way in ("noisy", *WAYS)
    }
    draw_curves(curves, options.out / "study_rician.png", "SNR", "PSNR (dB)", logarithmic=True)
    common.write_results(options.out, "study_rician", values, _text(values))
    return values


def _results(scan: Simulated, loaded: model.Model, rows: np.ndarray) -> dict[str, np.ndarray]:
    additive = denoise(scan.noisy, loaded, Options(sigma=scan.sigma, noise="gaussian")).estimate
    magnitude = Options(sigma=scan.sigma, noise="rician")
    alone = np.zeros_like(scan.noisy)
    for k in rows:
        alone[k] = denoise(scan.noisy[k : k + 1], loaded, magnitude).estimate[0]
    # The mean of m is nu + sigma^2 / (2 nu) where nu is large, so its square is nu^2 + sigma^2.
    corrected = np.sqrt(np.maximum(additive**2 - scan.sigma**2, 0))
    return dict(zip(WAYS, (additive, corrected, denoise(scan.noisy, loaded, magnitude).estimate, alone)))


def _bias(scan: Simulated, image: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Mean error over sigma in air (below a twentieth of the signal), dark (up to a half) and brighter tissue."""
    truth = scan.clean[rows]
    places = {"air": truth < 0.05, "dark tissue": (truth >= 0.05) & (truth < 0.5), "bright tissue": truth >= 0.5}
    return {
        name: float((image - truth)[place].mean() / scan.sigma) if place.any() else float("nan")
        for name, place in places.items()
    }


def _text(values: dict[str, Any]) -> str:
    rows = []
    for level in values["levels"]:
        for way, found in level["ways"].items():
            bias = (f"{v:+.2f}" for v in found["bias"].values())
            rows.append(
                (
                    f"{level['snr']:g}, {way}",
                    f"{found['psnr']['mean']:.2f}",
                    f"{found['psnr_mask']['mean']:.2f}",
                    f"{found['ssim']['mean']:.4f}",
                    *bias,
                )
            )
    header = ("SNR, way", "PSNR dB", "in foreground", "SSIM", "bias in air / sigma", "dark tissue", "bright tissue")
    return (
        f"# Rician noise, and neighbouring slices\n\n{values['scan']}, model {values['model']}, true sigma.\n\n"
        + common.table(header, rows)
        + "\n\n## What it shows\n\n"
        + " ".join(_shows(level) for level in values["levels"])
    )


def _shows(level: dict[str, Any]) -> str:
    plain, corrected, stable, alone = (level["ways"][way] for way in WAYS)
    dark = (f"{way['bias']['dark tissue']:+.2f}" for way in (plain, corrected, stable))
    return (
        f"SNR {level['snr']:g}: stabilised over ignored {common.told(common.compared(stable, plain))}, over bias "
        f"corrected {common.told(common.compared(stable, corrected))}; bias in dark tissue, ignored, corrected and "
        f"stabilised: {', '.join(dark)} sigma; neighbours gain {common.told(common.compared(stable, alone))}."
    )


if __name__ == "__main__":
    main()
