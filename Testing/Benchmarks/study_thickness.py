"""Study: how thick may voxels be for slices along every axis to help?

Slices of an isotropic scan are averaged into thicker ones; Gaussian noise is simulated on them. Ours, told the true
sigma, denoises along one axis and along all three. Scores are those of the foreground. Writes study_thickness.json and
study_thickness.md.

    python study_thickness.py T1_1mm.nii.gz --slab 90
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np

from C2SCore import model, spacing
from C2SCore.denoising import Options, denoise
from C2SCore.tissue import foreground


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scan", nargs="?", help="taken for the truth (default: a simulated head)")
    made.add_argument(
        "--times", type=float, nargs="+", default=(1.0, 1.15, 1.3, 1.5, 1.75, 2.0), help="as thick as wide"
    )
    made.add_argument("--snr", type=float, nargs="+", default=(5.0, 10.0, 20.0), help="(default: 5 10 20)")
    made.add_argument("--slab", type=int, default=0, help="so many slices from the middle alone (default: all)")
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--side", type=int, default=48, help="voxels of the simulated head (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    loaded = model.load(options.model)
    name, clean = common.anatomy(options.scan, (options.side,) * 3, options.seed)
    clean = common.middle(clean, options.slab)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "scan": name, "model": loaded.card.name}
    values["seen_by_model"] = name in loaded.card.trained_on
    values["cells"] = [
        {"times": times, "snr": snr} | _cell(thicker(clean, times), snr, loaded, options.seed)
        for times in options.times
        for snr in options.snr
    ]
    common.write_results(options.out, "study_thickness", values, _text(values))
    return values


def thicker(volume: np.ndarray, times: float) -> np.ndarray:
    """Slices (K, J, I) averaged into slices `times` as thick; the last ones are left out where they do not fill one."""
    sums = np.concatenate([np.zeros_like(volume[:1]), volume]).cumsum(axis=0, dtype=np.float64)
    edges = np.arange(0, len(volume) + 1e-6, times)
    below = np.minimum(edges.astype(int), len(volume) - 1)
    part = (edges - below)[:, None, None]
    return (np.diff(sums[below] * (1 - part) + sums[below + 1] * part, axis=0) / times).astype(np.float32)


def _cell(clean: np.ndarray, snr: float, loaded: model.Model, seed: int) -> dict[str, Any]:
    sigma = common.sigma_at(clean, snr)
    noisy = common.add_noise(clean, sigma, "gaussian", seed)
    mask, peak = foreground(clean), float(np.quantile(clean, 0.999))
    one, every = (
        common.summary(common.scores(clean, denoise(noisy, loaded, told).estimate, mask, peak))
        for told in (Options(sigma=sigma, noise="gaussian", isotropic=each) for each in (False, True))
    )
    return {"one_axis": one, "every_axis": every, "gain": common.compared(every, one, "psnr_mask")}


def _text(values: dict[str, Any]) -> str:
    rows = [
        (
            f"{cell['times']:g}, {cell['snr']:g}",
            f"{cell['one_axis']['psnr_mask']['mean']:.2f}",
            f"{cell['every_axis']['psnr_mask']['mean']:.2f}",
            f"{cell['gain']['mean']:+.2f}",
            common.probability(cell["gain"]["p"]),
        )
        for cell in values["cells"]
    ]
    gains: dict[float, list[float]] = {}
    for cell in values["cells"]:
        gains.setdefault(cell["times"], []).append(cell["gain"]["mean"])
    shown = ", ".join(f"{min(g):+.2f} to {max(g):+.2f} dB at {times:g}" for times, g in gains.items())
    return "\n\n".join(
        [
            "# Slices along every axis, and how thick they are",
            f"{values['scan']}, Gaussian noise, true sigma, model {values['model']}; PSNR in the foreground.",
            common.table(("times as thick as wide, SNR", "one axis, dB", "every axis, dB", "gain dB", "p"), rows),
            "## What it shows",
            f"Slices along every axis gain {shown}. The program uses them up to {spacing.ALIKE:g}."
            + (f" The model saw {values['scan']} in training, with other noise than this." * values["seen_by_model"]),
        ]
    )


if __name__ == "__main__":
    main()
