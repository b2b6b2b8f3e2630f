"""Study: images that were filtered or interpolated before they were stored, denoised as they come.

Noise is added to a clean scan and both are stored as scanners and programs do (see storing.py); the stored clean scan
is the truth. The program measures level and spectrum from the noisy image alone; BM3D is told the true level, and once
the true spectrum as well. PSNR in the foreground. Writes study_filtered.json and study_filtered.md.

    python study_filtered.py T1W.nii.gz T2W.nii.gz FLAIR.nii.gz
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
import peers
import storing

from C2SCore import model
from C2SCore.denoising import Options, denoise
from C2SCore.tissue import foreground, signal_level

NOISY, MEASURED, TOLD = "noisy", "ours, measured", "ours, true sigma"
WHITE, COLOURED = "BM3D, true sigma", "BM3D, true sigma and spectrum"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scans", nargs="*", help="scans taken for the truth (default: a simulated head)")
    made.add_argument("--snr", type=float, nargs="+", default=(10.0, 20.0), help="(default: 10 20)")
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--slices", type=int, default=4, help="scored, spread evenly (default: %(default)s)")
    made.add_argument("--side", type=int, default=96, help="pixels of the simulated head (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    loaded = model.load(options.model)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "model": loaded.card.name, "cells": []}
    for path in options.scans or (None,):
        name, clean = common.anatomy(path, (12, options.side, options.side), options.seed)
        for way in storing.WAYS:
            for snr in options.snr:
                values["cells"].append({"scan": name, "way": way, "snr": snr} | _cell(clean, way, snr, loaded, options))
                print(_line(values["cells"][-1]), flush=True)
    common.write_results(options.out, "study_filtered", values, _text(values))
    return values


def _cell(clean: np.ndarray, way: str, snr: float, loaded: model.Model, options: Any) -> dict[str, Any]:
    truth = storing.WAYS[way](clean)
    sigma = signal_level(truth) / snr
    real, imaginary = (storing.noise(way, clean.shape, 2 * options.seed + n) for n in (0, 1))
    noisy = np.hypot(truth + sigma * real, sigma * imaginary).astype(np.float32)
    rows = common.spread(len(clean), options.slices)
    power = storing.noise_power(way, clean.shape, 1000 + options.seed)
    measured = denoise(noisy, loaded)
    images = {
        NOISY: noisy[rows],
        WHITE: peers.bm3d(noisy[rows], sigma),
        COLOURED: peers.bm3d_of_spectrum(noisy[rows], sigma, power),
        TOLD: denoise(noisy, loaded, Options(sigma=sigma, noise=measured.noise)).estimate[rows],
        MEASURED: measured.estimate[rows],
    }
    mask, peak = foreground(truth)[rows], float(np.ptp(truth))
    found = {name: common.scores(truth[rows], image, mask, peak) for name, image in images.items()}
    return {
        "ways": {name: common.summary(scored) for name, scored in found.items()},
        "level": measured.sigma / sigma,
        "taken_for": measured.noise,
    }


def _psnr(cell: dict[str, Any], name: str) -> float:
    return cell["ways"][name]["psnr_mask"]["mean"]


def _line(cell: dict[str, Any]) -> str:
    shown = ", ".join(f"{name} {_psnr(cell, name):.2f}" for name in cell["ways"])
    return f"{cell['scan']}, {cell['way']}, SNR {cell['snr']:g}: level {cell['level']:.2f} of the true one; {shown} dB"


def _text(values: dict[str, Any]) -> str:
    names = (NOISY, WHITE, COLOURED, TOLD, MEASURED)
    snrs = list(dict.fromkeys(cell["snr"] for cell in values["cells"]))
    rows = []
    for way in storing.WAYS:
        for snr in snrs:
            cells = [c for c in values["cells"] if (c["way"], c["snr"]) == (way, snr)]
            levels = [cell["level"] for cell in cells]
            shown = (f"{np.mean([_psnr(cell, name) for cell in cells]):.2f}" for name in names)
            rows.append((f"{way}, {snr:g}", *shown, f"{min(levels):.2f} to {max(levels):.2f}"))
    scans = list(dict.fromkeys(cell["scan"] for cell in values["cells"]))
    slices = len(values["cells"][0]["ways"][NOISY]["psnr"]["slices"])
    return "\n\n".join(
        [
            "# Filtered and interpolated images",
            f"Model {values['model']}; magnitudes of {', '.join(scans)}, slices of each: {slices}; PSNR in the "
            "foreground (dB), mean over scans; the level that is measured over the true one.",
            common.table(("stored, SNR", *names, "measured level"), rows),
            f"## What it shows\n\n{_shows(values['cells'])}",
        ]
    )


def _shows(cells: list[dict[str, Any]]) -> str:
    lost = [_psnr(cell, TOLD) - _psnr(cell, MEASURED) for cell in cells]
    over = [_psnr(cell, MEASURED) - _psnr(cell, COLOURED) for cell in cells]
    levels = [cell["level"] for cell in cells]
    worst = cells[int(np.argmax(lost))]
    return (
        f"The measured level is {min(levels):.2f} to {max(levels):.2f} of the true one; not being told it costs at "
        f"most {max(lost):.2f} dB ({worst['scan']}, {worst['way']}, SNR {worst['snr']:g}), "
        f"{np.mean(lost):.2f} on average. Over BM3D that is told level and spectrum it gains {min(over):.2f} to "
        f"{max(over):.2f} dB, {np.mean(over):.2f} on average."
    )


if __name__ == "__main__":
    main()
