"""Study: noise that is three times as strong in one place as in another.

Parallel imaging amplifies noise in the middle of the head, coil intensity correction towards one side. Gaussian noise
whose level varies by a factor of 3 in either way is denoised by one model that is told the map, that measures the noise
itself (a map, if it finds that the noise varies), or that is told one level for everything, the true root mean square.
BM3D is given the same: one level, or the scan divided by the map. Scores over slices, and where noise is weakest and
strongest. Writes study_maps.json, study_maps.md and study_maps.png.

    python study_maps.py T1W.nii.gz --slices 8
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import common
import numpy as np
import peers
from pictures import Tile, draw_slices

from C2SCore import model
from C2SCore.calibration import measure
from C2SCore.denoising import Options, denoise
from C2SCore.device import choose_device
from C2SCore.inference import SlicePass
from C2SCore.tissue import foreground, signal_level

RATIO = 3.0  # strongest over weakest noise
ONE, KNOWN, MEASURED = "one level, true", "map known", "measured"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scan", nargs="?", help="scan taken for the truth (default: a simulated head)")
    made.add_argument("--snr", type=float, nargs="+", default=(5.0, 10.0), help="(default: 5 10)")
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--slices", type=int, default=3, help="scored, spread evenly (default: %(default)s)")
    made.add_argument("--side", type=int, default=128, help="pixels of the simulated head (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    loaded = model.load(options.model)
    name, clean = common.anatomy(options.scan, (12, options.side, options.side), options.seed)
    rows = common.spread(len(clean), options.slices)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "scan": name}
    values |= {"model": loaded.card.name, "slices": len(rows), "cells": []}
    pictures: dict[str, list[Tile]] = {}
    for title, shape in SHAPES.items():
        for snr in options.snr:
            cell, images = _cell(clean, shape, snr, loaded, rows, options.seed)
            values["cells"].append({"map": title, "snr": snr} | cell)
            middle, truth = len(rows) // 2, clean[rows][len(rows) // 2]
            shown = [f"ours, {ONE}", f"ours, {KNOWN}", f"BM3D, {KNOWN}"]
            pictures[f"{title}, SNR {snr:g}"] = [
                Tile("source", images["noisy"][middle]),
                Tile("truth", truth),
                *(Tile(way, images[way][middle]) for way in shown),
                *(Tile(f"{way} - truth", images[way][middle] - truth, True) for way in shown),
            ]
            gain = values["cells"][-1]["gain"]["ours"]["psnr"]
            print(f"{title}, SNR {snr:g}: the map gains {common.told(gain)}", flush=True)
    draw_slices(pictures, options.out / "study_maps.png")
    common.write_results(options.out, "study_maps", values, _text(values))
    return values


def from_the_middle(shape: tuple[int, int]) -> np.ndarray:
    """(J, I): RATIO in the middle, 1 towards the corners, as a parallel acquisition makes it."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    return 1 + (RATIO - 1) * np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / 0.3)


def to_one_side(shape: tuple[int, int]) -> np.ndarray:
    """(J, I): from 1 on one side to RATIO on the other."""
    return np.broadcast_to(RATIO ** np.linspace(0, 1, shape[1]), shape)


SHAPES: dict[str, Callable[[tuple[int, int]], np.ndarray]] = {
    "strongest in the middle": from_the_middle,
    "rising to one side": to_one_side,
}


def _root_mean_square(shape: np.ndarray, mask: np.ndarray) -> float:
    """Of a map (J, I) over the foreground (K, J, I)."""
    return float(np.sqrt((mask * np.square(shape)).sum() / mask.sum()))


def _cell(
    clean: np.ndarray,
    shape: Callable[[tuple[int, int]], np.ndarray],
    snr: float,
    loaded: model.Model,
    rows: np.ndarray,
    seed: int,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Scores of every way at one SNR (of the noise's root mean square in the foreground), and the images."""
    mask = foreground(clean)
    sigma = signal_level(clean, mask) / snr
    known = shape(clean.shape[1:])
    known = known * sigma / _root_mean_square(known, mask)
    noisy = common.add_noise(clean, known, "gaussian", seed)
    # What the program finds by itself: a level for every slice (K,), or a map (K, J, I).
    measured = measure(noisy, None, "gaussian", SlicePass(loaded.denoiser, choose_device("auto"))).levels
    images = {"noisy": noisy[rows]}
    for way, level in (
        (ONE, np.full(len(noisy), sigma)),
        (KNOWN, np.broadcast_to(known, noisy.shape)),
        (MEASURED, measured),
    ):
        images[f"ours, {way}"] = denoise(noisy, loaded, Options(sigma=level, noise="gaussian")).estimate[rows]
        wide = level[rows] if level.ndim == 3 else level[rows, None, None]
        images[f"BM3D, {way}"] = peers.bm3d(noisy[rows] / wide, 1.0) * wide
    parts = _parts(known, mask[rows])
    peak = float(np.ptp(clean))
    scored = {way: common.scores(clean[rows], image, mask[rows], peak) for way, image in images.items()}
    for way, image in images.items():
        for part, inside in parts.items():
            scored[way][part] = _psnr(clean[rows], image, inside, peak)

    def less(a: str, b: str) -> dict[str, Any]:
        return {m: common.paired(scored[a][m], scored[b][m]) for m in ("psnr", *parts)}

    gain = {who: less(f"{who}, {KNOWN}", f"{who}, {ONE}") for who in ("ours", "BM3D")}
    gain["measured"] = less(f"ours, {MEASURED}", f"ours, {ONE}")
    gain["over BM3D"] = less(f"ours, {KNOWN}", f"BM3D, {KNOWN}")
    wide = measured if measured.ndim == 3 else measured[:, None, None]
    wrong = (np.broadcast_to(wide, mask.shape) / known)[mask]
    cell = {"ways": {way: common.summary(v) for way, v in scored.items()}, "gain": gain}
    cell |= {"map_measured": measured.ndim == 3, "level_error": float(np.sqrt(np.mean((wrong - 1) ** 2)))}
    return cell, images


def _parts(known: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """The quarter of the foreground with the weakest and the one with the strongest noise."""
    level = np.broadcast_to(known, mask.shape)
    low, high = np.quantile(level[mask], (0.25, 0.75))
    return {"psnr_weak": mask & (level <= low), "psnr_strong": mask & (level >= high)}


def _psnr(truth: np.ndarray, image: np.ndarray, inside: np.ndarray, peak: float) -> np.ndarray:
    """Of every slice, where `inside`; NaN where there is nothing."""
    square = np.where(inside, (image.astype(np.float64) - truth) ** 2, 0).sum(axis=(1, 2))
    count = inside.sum(axis=(1, 2))
    return np.where(count > 0, 10 * np.log10(peak**2 * np.maximum(count, 1) / np.maximum(square, 1e-30)), np.nan)


def _text(values: dict[str, Any]) -> str:
    rows = []
    for cell in values["cells"]:
        for way, found in cell["ways"].items():
            shown = (f"{found[m]['mean']:.2f}" for m in ("psnr", "psnr_weak", "psnr_strong"))
            rows.append((f"{cell['map']}, {cell['snr']:g}, {way}", *shown, f"{found['ssim']['mean']:.4f}"))
    header = ("noise, SNR, way", "PSNR dB", "where noise is weakest", "where it is strongest", "SSIM")
    return "\n\n".join(
        [
            "# Noise that varies over the image",
            f"{values['scan']}, {values['slices']} slices; Gaussian noise, {RATIO:g} times as strong in one place as "
            f"in another; model {values['model']}. SNR of the noise's root mean square in the foreground; weakest and "
            "strongest: a quarter of the foreground each. Measured: by our program, from the noisy scan.",
            common.table(header, rows),
            "## What it shows",
            *(_shows(cell) for cell in values["cells"]),
        ]
    )


def _shows(cell: dict[str, Any]) -> str:
    gain, found = cell["gain"], "a map" if cell["map_measured"] else "one level per slice"
    ours, bm3d = gain["ours"], gain["BM3D"]
    return (
        f"Noise {cell['map']}, SNR {cell['snr']:g}: told the map instead of one level, ours changes by "
        f"{common.told(ours['psnr'])}, {ours['psnr_weak']['mean']:+.2f} dB where noise is weakest and "
        f"{ours['psnr_strong']['mean']:+.2f} dB where it is strongest; BM3D by {common.told(bm3d['psnr'])}. Both told "
        f"the map, ours differs from BM3D by {common.told(gain['over BM3D']['psnr'])}. Left to itself the program "
        f"measures {found}, {cell['level_error']:.0%} off (root mean square over the foreground), and differs from one "
        f"true level by {common.told(gain['measured']['psnr'])}."
    )


if __name__ == "__main__":
    main()
