"""Study: scans from which all but the brain was cut away.

A mask is laid into tissue. The masked scan is denoised as the program does it (tissue goes on beyond the edge, and
empty space has noise, while the network looks), without that, and by BM3D, where noise is Rician after the stabilising
transform and with its exact unbiased inverse; for comparison the whole scan, where there is no edge. Errors in the
outermost pixels of the mask and further in, and the level that is measured. Then a block is cut out of scans with
Rician noise, as a face is, and nothing is told. Writes study_masked.json and study_masked.md.

    python study_masked.py T1W.nii.gz T2W.nii.gz FLAIR.nii.gz --slices 12
"""

from __future__ import annotations

import itertools
from typing import Any
from unittest import mock

import common
import numpy as np
import peers
from simulated import KINDS

from C2SCore import model
from C2SCore.calibration import measure
from C2SCore.denoising import Options, denoise
from C2SCore.device import choose_device
from C2SCore.inference import SlicePass
from C2SCore.tissue import foreground

DEPTH = 8  # pixels of tissue that are cut off
RIM = 1  # pixels
WHOLE, OURS, PLAIN, BM3D = "whole scan, ours", "masked, ours", "masked, ours without filling", "masked, BM3D"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scans", nargs="*", help="scans taken for the truth (default: a simulated head)")
    made.add_argument("--snr", type=float, nargs="+", default=(5.0, 10.0, 20.0), help="(default: 5 10 20)")
    made.add_argument("--noise", nargs="+", choices=KINDS, default=KINDS, help="(default: both)")
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--slices", type=int, default=3, help="scored, spread evenly (default: %(default)s)")
    made.add_argument("--side", type=int, default=128, help="pixels of the simulated head (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    loaded = model.load(options.model)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "model": loaded.card.name, "cells": []}
    values["defaced"] = []
    for path in options.scans or [None]:
        name, clean = common.anatomy(path, (12, options.side, options.side), options.seed)
        rows = common.spread(len(clean), options.slices)
        for kind, snr in itertools.product(options.noise, options.snr):
            cell = _cell(clean, kind, snr, loaded, rows, options.seed)
            values["cells"].append({"scan": name, "noise": kind, "snr": snr} | cell)
            print(_line(values["cells"][-1]), flush=True)
        for snr in options.snr:
            values["defaced"].append({"scan": name, "snr": snr} | _defaced(clean, snr, loaded, options.seed))
    common.write_results(options.out, "study_masked", values, _text(values))
    return values


def brain(clean: np.ndarray) -> np.ndarray:
    """A mask (K, J, I) whose edge lies DEPTH pixels inside the head."""
    from scipy import ndimage

    def inner(plane: np.ndarray) -> np.ndarray:
        return ndimage.binary_erosion(ndimage.binary_fill_holes(plane), iterations=DEPTH)

    return np.stack([inner(plane) for plane in foreground(clean)])


def _cell(clean: np.ndarray, kind: str, snr: float, loaded: model.Model, rows: np.ndarray, seed: int) -> dict[str, Any]:
    from scipy import ndimage

    mask, sigma = brain(clean), common.sigma_at(clean, snr)
    rim = mask & ~np.stack([ndimage.binary_erosion(plane, iterations=RIM) for plane in mask])
    noisy = common.add_noise(clean, sigma, kind, seed)
    cut = np.where(mask, noisy, 0).astype(np.float32)
    passes, told = SlicePass(loaded.denoiser, choose_device("auto")), Options(sigma=sigma, noise=kind)
    images = {name: denoise(scan, loaded, told).estimate[rows] for name, scan in ((WHOLE, noisy), (OURS, cut))}
    with mock.patch("C2SCore.volumepass.filled", lambda slices, *rest: slices):
        images[PLAIN] = denoise(cut, loaded, told).estimate[rows]
    images[BM3D] = peers.bm3d_of_literature(cut[rows], sigma, kind)
    measured = {name: measure(scan, None, "auto", passes) for name, scan in ((WHOLE, noisy), (OURS, cut))}
    levels = {name: each.sigma for name, each in measured.items()}
    with mock.patch("C2SCore.calibration.beside_a_cut", lambda slices, side: np.broadcast_to(False, slices.shape)):
        levels[PLAIN] = measure(cut, None, "auto", passes).sigma
    found: dict[str, Any] = {}
    for name, image in images.items():
        error = (image - clean[rows]) / sigma
        outer, inner = error[rim[rows]], error[(mask & ~rim)[rows]]
        found[name] = {"rim": _rms(outer), "bias": float(outer.mean()) if outer.size else 0.0, "inside": _rms(inner)}
        if name in levels:
            found[name]["level"] = levels[name] / sigma
    kinds = {name: "rician" if each.magnitude else "gaussian" for name, each in measured.items()}
    return {"ways": found, "kinds": kinds, "rim_pixels": int(rim[rows].sum())}


def _defaced(clean: np.ndarray, snr: float, loaded: model.Model, seed: int) -> dict[str, Any]:
    """PSNR outside a block of zeros, without and with it, and what noise the program takes the latter's for."""
    sigma, (_, height, width) = common.sigma_at(clean, snr), clean.shape
    face = np.zeros(clean.shape, dtype=bool)
    face[:, -height // 4 :, width // 4 : 3 * width // 4] = True
    noisy = common.add_noise(clean, sigma, "rician", seed)
    whole, cut = (denoise(scan.astype(np.float32), loaded) for scan in (noisy, np.where(face, 0, noisy)))
    peak = float(np.ptp(clean))
    psnr = [float(10 * np.log10(peak**2 / np.mean((r.estimate - clean)[~face] ** 2))) for r in (whole, cut)]
    return {"whole": psnr[0], "defaced": psnr[1], "noise": cut.noise, "level": cut.sigma / sigma}


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64)))) if error.size else float("nan")


def _line(cell: dict[str, Any]) -> str:
    ways = cell["ways"]
    shown = ", ".join(f"{name} {ways[name]['rim']:.2f}" for name in (OURS, PLAIN, BM3D))
    return f"{cell['scan']}, {cell['noise']}, SNR {cell['snr']:g}: error at the rim over sigma: {shown}"


def _text(values: dict[str, Any]) -> str:
    rows = [
        (
            f"{cell['scan']}, {cell['noise']}, {cell['snr']:g}",
            name,
            f"{way['rim']:.2f}",
            f"{way['bias']:+.2f}",
            f"{way['inside']:.2f}",
            f"{way['level']:.3f}" if "level" in way else "-",
        )
        for cell in values["cells"]
        for name, way in cell["ways"].items()
    ]
    titles = (
        "scan, noise, SNR",
        "way",
        "error at the rim / sigma",
        "its mean",
        "error inside / sigma",
        "measured level",
    )
    return "\n\n".join(
        [
            f"# Masked scans\n\nModel {values['model']}, true sigma and kind of noise; root mean square errors in the "
            f"outermost pixel of a mask that ends {DEPTH} pixels inside the head, and further in; the level that is "
            "measured over the true one.",
            common.table(titles, rows),
            "A block cut out, as a face is; Rician noise, nothing told; PSNR elsewhere.",
            common.table(
                ("scan, SNR", "whole scan, dB", "with the block of zeros, dB", "taken for", "measured level"),
                [
                    (
                        f"{c['scan']}, {c['snr']:g}",
                        f"{c['whole']:.2f}",
                        f"{c['defaced']:.2f}",
                        c["noise"],
                        f"{c['level']:.3f}",
                    )
                    for c in values["defaced"]
                ],
            ),
            f"## What it shows\n\n{_shows(values['cells'], values['defaced'])}",
        ]
    )


def _shows(cells: list[dict[str, Any]], defaced: list[dict[str, Any]]) -> str:
    def span(way: str, what: str) -> str:
        found = [cell["ways"][way][what] for cell in cells]
        return f"{min(found):.2f} to {max(found):.2f}"

    costs = [cell["whole"] - cell["defaced"] for cell in defaced]
    times = [cell["ways"][OURS]["inside"] / cell["ways"][WHOLE]["inside"] for cell in cells]
    right = sum(cell["kinds"][OURS] == cell["noise"] for cell in cells)
    return (
        f"Over sigma, the error at the edge of a mask is {span(OURS, 'rim')} (of the whole scan there: "
        f"{span(WHOLE, 'rim')}); without tissue that goes on {span(PLAIN, 'rim')}, with a mean of "
        f"{span(PLAIN, 'bias')} in place of {span(OURS, 'bias')}; BM3D {span(BM3D, 'rim')}. The measured level is "
        f"{span(OURS, 'level')} of the true one, {span(WHOLE, 'level')} of the whole scan; if the model is asked "
        f"beside the edge, too, {span(PLAIN, 'level')}. Inside, the error is {min(times):.2f} to {max(times):.2f} "
        f"times that of the whole scan. Of {len(cells)} masked scans, {right} were taken for what their noise is, "
        f"Gaussian or Rician. A block of zeros costs {min(costs):.2f} to {max(costs):.2f} dB elsewhere."
    )


if __name__ == "__main__":
    main()
