"""Simulated noise on real scans: a model against BM3D, which is given the true noise level.

For every scan, Gaussian and Rician noise and every SNR (tissue median / sigma): the model with its own estimate of
sigma and with the true one; BM3D; under Rician noise also BM3D between a stabilising transform and its exact unbiased
inverse, where the better of the two is the rival. PSNR and SSIM per slice, over the slice and in the foreground, with
paired t-tests. Then the cost of a wrong sigma, and the estimate of sigma against the truth. Writes simulated.json,
simulated.md and simulated.png.

    python simulated.py T1W.nii.gz T2W.nii.gz FLAIR.nii.gz --cache bm3d.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import common
import numpy as np
import peers
from pictures import Tile, draw_slices

from C2SCore import model
from C2SCore.denoising import Options, denoise
from C2SCore.noise import estimate_sigma
from C2SCore.tissue import foreground, signal_level

KINDS = ("gaussian", "rician")
FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5)  # of the true sigma
ESTIMATED_AT = (5.0, 10.0, 20.0, 30.0)  # SNR at which the estimate of sigma is judged
TARGETS = {5.0: 0.7, 10.0: 0.7, 20.0: 0.4}  # dB over the rival


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scans", nargs="+", help="scans taken for the truth")
    made.add_argument("--snr", type=float, nargs="+", default=(5.0, 10.0, 20.0))
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--slices", type=int, default=0, help="score so many slices, spread evenly (default: all)")
    made.add_argument("--cache", type=Path, help="file that keeps BM3D's results between runs")
    made.add_argument("--workers", type=int, default=1, help="processes for BM3D (default: %(default)s)")
    made.add_argument("--name", default="simulated", help="of the result files (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    loaded, cache = model.load(options.model), peers.Cache(options.cache, options.workers)
    values: dict[str, Any] = {
        "environment": common.environment(options.seed),
        "model": _model_facts(loaded),
        "slices": options.slices,
    }
    values |= {"cells": [], "wrong_sigma": [], "estimate": []}
    pictures: dict[str, list[Tile]] = {}
    for path in options.scans:
        name, clean = common.read_clean(path)
        scene = Scene(name, clean, options)
        for kind in KINDS:
            for snr in options.snr:
                values["cells"].append(_cell(scene, kind, snr, loaded, cache, pictures))
                cache.store()
                print(_line(values["cells"][-1]), flush=True)
            values["wrong_sigma"].append(_wrong_sigma(scene, kind, loaded))
            values["estimate"].append(_estimates(scene, kind, loaded))
    draw_slices(pictures, options.out / f"{options.name}.png")
    common.write_results(options.out, options.name, values, _text(values))
    return values


class Scene:
    """One clean scan and what is scored of it."""

    def __init__(self, name: str, clean: np.ndarray, options: argparse.Namespace) -> None:
        self.name, self.clean, self.seed = name, clean, options.seed
        self.rows = common.spread(len(clean), options.slices)
        self.mask = foreground(clean)
        self.signal = signal_level(clean, self.mask)
        self.peak = float(np.ptp(clean))

    def noisy(self, kind: str, snr: float) -> tuple[np.ndarray, float]:
        sigma = self.signal / snr
        return common.add_noise(self.clean, sigma, kind, self.seed), sigma

    def scores(self, part: np.ndarray) -> dict[str, np.ndarray]:
        """Of an image of the chosen slices."""
        return common.scores(self.clean[self.rows], part, self.mask[self.rows], self.peak)


def _model_facts(loaded: model.Model) -> dict[str, Any]:
    card = loaded.card
    return {
        "name": card.name,
        "date": card.date,
        "parameters": card.parameters,
        "quality": dict(card.quality),
        "sigma_range": list(card.sigma_range),
    }


def _cell(
    scene: Scene, kind: str, snr: float, loaded: model.Model, cache: peers.Cache, pictures: dict[str, list[Tile]]
) -> dict[str, Any]:
    """One scan, kind of noise and SNR: scores of all methods and differences to the rival."""
    noisy, sigma = scene.noisy(kind, snr)
    rows = scene.rows
    automatic = denoise(noisy, loaded)
    images = {
        "noisy": noisy[rows],
        "ours, automatic sigma": automatic.estimate[rows],
        "ours, true sigma": denoise(noisy, loaded, Options(sigma=sigma, noise=kind)).estimate[rows],
    }
    images |= peers.bm3d_ways(noisy[rows], sigma, kind, cache)
    found = {name: scene.scores(image) for name, image in images.items()}
    rivals = [name for name in images if name.startswith("BM3D") and name != peers.FADED]
    cell: dict[str, Any] = {
        "scan": scene.name,
        "noise": kind,
        "snr": snr,
        "sigma": sigma,
        "estimated_sigma": automatic.sigma,
        "taken_for": automatic.noise,
    }
    cell |= {"methods": {name: common.summary(scored) for name, scored in found.items()}, "rival": {}, "gain": {}}
    for metric in found["noisy"]:
        # The better one by each measure: the strictest choice.
        rival = max(rivals, key=lambda name: np.nanmean(found[name][metric]))
        cell["rival"][metric] = rival
        for ours in ("ours, automatic sigma", "ours, true sigma"):
            cell["gain"].setdefault(ours, {})[metric] = common.paired(found[ours][metric], found[rival][metric])
        if kind == "rician":
            less = common.paired(found["ours, automatic sigma"][metric], found[peers.FADED][metric])
            cell.setdefault("gain_over_faded", {})[metric] = less
    if snr in (5.0, 10.0):
        middle = len(rows) // 2
        rival, ours = images[cell["rival"]["psnr"]][middle], images["ours, automatic sigma"][middle]
        pictures[f"{scene.name}, {kind}, SNR {snr:g}"] = [
            Tile("source", noisy[rows][middle]),
            Tile("truth", scene.clean[rows][middle]),
            Tile(f"{cell['rival']['psnr']} {found[cell['rival']['psnr']]['psnr'][middle]:.2f} dB", rival),
            Tile(f"ours {found['ours, automatic sigma']['psnr'][middle]:.2f} dB", ours),
            Tile("source - ours", noisy[rows][middle] - ours, True),
        ]
    return cell


def _wrong_sigma(scene: Scene, kind: str, loaded: model.Model) -> dict[str, Any]:
    """PSNR at SNR 10 when the model is told FACTORS times the true sigma."""
    noisy, sigma = scene.noisy(kind, 10.0)
    found = []
    for factor in FACTORS:
        estimate = denoise(noisy, loaded, Options(sigma=factor * sigma, noise=kind)).estimate
        found.append(common.mean(scene.scores(estimate[scene.rows])["psnr"]))
    best = found[FACTORS.index(1.0)]
    return {
        "scan": scene.name,
        "noise": kind,
        "snr": 10.0,
        "factors": list(FACTORS),
        "psnr": found,
        "loss": [best - v for v in found],
    }


def _estimates(scene: Scene, kind: str, loaded: model.Model) -> dict[str, Any]:
    """Estimated over true sigma. The scan's own noise is part of the truth: it adds in squares."""
    own = denoise(scene.clean, loaded).sigma
    ratios, plain, filtered = [], [], []
    for snr in ESTIMATED_AT:
        noisy, sigma = scene.noisy(kind, snr)
        estimate = denoise(noisy, loaded).sigma
        plain.append(estimate / sigma)
        ratios.append(estimate / float(np.hypot(sigma, own)))
        filtered.append(estimate_sigma(noisy) / sigma)
    return {
        "scan": scene.name,
        "noise": kind,
        "snr": list(ESTIMATED_AT),
        "own_sigma": own,
        "ratio": plain,
        "ratio_with_own": ratios,
        "ratio_of_filter": filtered,
    }


# ---- what a person reads ----


def _line(cell: dict[str, Any]) -> str:
    psnr, ssim = (cell["gain"]["ours, automatic sigma"][metric]["mean"] for metric in ("psnr", "ssim"))
    return f"{cell['scan']} {cell['noise']} SNR {cell['snr']:g}: {psnr:+.2f} dB, SSIM {ssim:+.4f} over BM3D"


def _text(values: dict[str, Any]) -> str:
    methods = ("noisy", "BM3D", "ours, automatic sigma", "ours, true sigma")
    header = ("scan, noise, SNR", *methods, "gain dB", "p", "in foreground", "gain SSIM", "p", "target met")
    rows = [_row(cell) for cell in values["cells"]]
    met = sum(row[-1] == "yes" for row in rows)
    counted = sum(row[-1] != "-" for row in rows)
    scored = f"{values['slices']} slices spread evenly" if values["slices"] else "all slices"
    parts = [
        "# Simulated noise on real scans",
        f"PSNR (dB) / SSIM, mean ± standard deviation over {scored}. BM3D knows the true sigma (under Rician noise the "
        "better of BM3D and stabilised BM3D); gain: ours with its own estimate of sigma, less BM3D, with a paired "
        "t-test over slices. Target: "
        + ", ".join(f"{v} dB at SNR {k:g}" for k, v in TARGETS.items())
        + f", and a higher SSIM. Met in {met} of {counted} cells.",
        common.table(header, rows),
        "## Rician noise: BM3D between our transform and the inverse that our program uses",
        "That inverse fades signals that cannot be told from none to 0; BM3D gains by it as ours does.",
        common.table(
            ("scan, SNR", peers.FADED, "ours, automatic sigma", "gain dB", "gain SSIM"),
            [_faded_row(cell) for cell in values["cells"] if "gain_over_faded" in cell],
        ),
        "## Told a wrong sigma, SNR 10: PSNR lost (dB)",
        common.table(
            ("scan, noise", *(f"{f - 1:+.0%}" for f in FACTORS)),
            [(f"{w['scan']}, {w['noise']}", *(f"{v:.2f}" for v in w["loss"])) for w in values["wrong_sigma"]],
        ),
        "## Estimated sigma over the truth",
        "In brackets: over the root of the squares of the simulated sigma and of the scan's own, as estimated; then "
        "what a high-pass filter says without the model, over the simulated sigma.",
        common.table(
            ("scan, noise", *(f"SNR {s:g}" for s in ESTIMATED_AT)),
            [_estimate_row(e) for e in values["estimate"]],
        ),
    ]
    return "\n\n".join(parts)


def _estimate_row(found: dict[str, Any]) -> tuple[str, ...]:
    ratios = zip(found["ratio"], found["ratio_with_own"], found["ratio_of_filter"])
    return (
        f"{found['scan']}, {found['noise']}",
        *(f"{plain:.3f} ({both:.3f}); {filtered:.3f}" for plain, both, filtered in ratios),
    )


def _shown(cell: dict[str, Any], name: str) -> str:
    psnr, ssim = cell["methods"][name]["psnr"], cell["methods"][name]["ssim"]
    return f"{psnr['mean']:.2f} ± {psnr['std']:.2f} / {ssim['mean']:.3f}"


def _faded_row(cell: dict[str, Any]) -> tuple[str, ...]:
    gain, names = cell["gain_over_faded"], (peers.FADED, "ours, automatic sigma")
    shown = (_shown(cell, name) for name in names)
    return (
        f"{cell['scan']}, {cell['snr']:g}",
        *shown,
        f"{gain['psnr']['mean']:+.2f}",
        f"{gain['ssim']['mean']:+.4f}",
    )


def _row(cell: dict[str, Any]) -> tuple[str, ...]:
    gain = cell["gain"]["ours, automatic sigma"]
    target = TARGETS.get(cell["snr"])
    met = "-" if target is None else "yes" if gain["psnr"]["mean"] >= target and gain["ssim"]["mean"] > 0 else "NO"
    return (
        f"{cell['scan']}, {cell['noise']}, {cell['snr']:g}",
        _shown(cell, "noisy"),
        _shown(cell, cell["rival"]["psnr"]),
        _shown(cell, "ours, automatic sigma"),
        _shown(cell, "ours, true sigma"),
        f"{gain['psnr']['mean']:+.2f} ± {gain['psnr']['std']:.2f}",
        common.probability(gain["psnr"]["p"]),
        f"{gain['psnr_mask']['mean']:+.2f}",
        f"{gain['ssim']['mean']:+.4f}",
        common.probability(gain["ssim"]["p"]),
        met,
    )


if __name__ == "__main__":
    main()
