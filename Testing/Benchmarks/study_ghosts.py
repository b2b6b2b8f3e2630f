"""Study: does what is faint in the empty space around the patient stay visible?

Ghosts (the anatomy again, weaker, half the image further on) and small discs are laid into the empty space of a scan,
with noise on top; what is kept of them is the part of their contrast that the result with them shows over the result
without them, the noise being the same. All are told the true sigma. Writes study_ghosts.json and study_ghosts.md.

    python study_ghosts.py T1W.nii.gz --slices 4
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import common
import numpy as np
import peers
from scipy.ndimage import binary_dilation

from C2SCore import model
from C2SCore.denoising import Options, denoise
from C2SCore.tissue import foreground

AWAY = 4  # pixels from tissue, from where on space is empty
DIAMETER, APART = 4, 12  # pixels: discs, and their distance from each other
GHOST, DISCS = "ghost", "discs"
Denoise = Callable[[np.ndarray], np.ndarray]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scan", nargs="?", help="taken for the truth (default: a simulated head)")
    made.add_argument("--contrasts", type=float, nargs="+", default=(1.0, 2.0, 3.0, 5.0), help="over sigma")
    made.add_argument("--snr", type=float, default=10.0, help="tissue median / sigma (default: %(default)s)")
    made.add_argument("--slices", type=int, default=0, help="so many from the middle (default: all)")
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--side", type=int, default=96, help="pixels of the simulated head (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    loaded = model.load(options.model)
    name, clean = common.anatomy(options.scan, (8, options.side, options.side), options.seed)
    clean = common.middle(clean, options.slices)
    sigma = common.sigma_at(clean, options.snr)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "scan": name, "model": loaded.card.name}
    values |= {"snr": options.snr, "slices": len(clean), "cells": []}
    for noise in ("gaussian", "rician"):
        ways: dict[str, Denoise] = {
            "ours": lambda noisy, noise=noise: denoise(noisy, loaded, Options(sigma=sigma, noise=noise)).estimate,
            "BM3D": lambda noisy, noise=noise: peers.bm3d_of_literature(noisy, sigma, noise),
        }
        without = {way: use(common.add_noise(clean, sigma, noise, options.seed)) for way, use in ways.items()}
        for kind in (GHOST, DISCS):
            for contrast in options.contrasts:
                faint = laid_into(clean, kind, contrast * sigma)
                noisy = common.add_noise(clean + faint, sigma, noise, options.seed)
                kept = {way: _kept(use(noisy) - without[way], faint) for way, use in ways.items()}
                values["cells"].append({"kind": kind, "noise": noise, "contrast": contrast, "kept": kept})
                print(f"{kind}, {noise}, {contrast:g} sigma: {kept}", flush=True)
    common.write_results(options.out, "study_ghosts", values, _text(values))
    return values


def laid_into(clean: np.ndarray, kind: str, contrast: float) -> np.ndarray:
    """What is laid into the empty space of `clean` (K, J, I), in its unit: a ghost whose median is `contrast`, or discs
    of it.
    """
    body = foreground(clean)
    empty = ~np.stack([binary_dilation(plane, iterations=AWAY) for plane in body])
    if kind == GHOST:
        shown = np.roll(np.where(body, clean, 0), clean.shape[1] // 2, axis=1) * empty
        return (shown * (contrast / np.median(shown[shown > 0]))).astype(np.float32)
    y, x = (np.mod(np.arange(n), APART) - APART // 2 for n in clean.shape[1:])
    disc = np.hypot(y[:, None], x) <= DIAMETER / 2
    return (contrast * (disc & empty)).astype(np.float32)


def _kept(change: np.ndarray, faint: np.ndarray) -> float:
    return float((change * faint).sum(dtype=np.float64) / np.square(faint, dtype=np.float64).sum())


def _percent(part: float) -> str:
    return f"{round(part, 2) + 0.0:.0%}"  # no "-0%"


def _text(values: dict[str, Any]) -> str:
    cells = values["cells"]
    rows = [
        (f"{c['kind']}, {c['noise']}, {c['contrast']:g}", _percent(c["kept"]["ours"]), _percent(c["kept"]["BM3D"]))
        for c in cells
    ]
    shown = []
    for kind in (GHOST, DISCS):
        for noise in ("gaussian", "rician"):
            found = [c for c in cells if (c["kind"], c["noise"]) == (kind, noise)]
            kept = ", ".join(
                f"{_percent(c['kept']['ours'])} (BM3D {_percent(c['kept']['BM3D'])}) at {c['contrast']:g} sigma"
                for c in found
            )
            shown.append(f"Of {kind}, {noise} noise, ours keeps {kept}.")
    return "\n\n".join(
        [
            "# What is faint in empty space",
            f"{values['scan']}, {values['slices']} slices, SNR {values['snr']:g}, true sigma, model {values['model']}. "
            f"Part of the contrast kept of a ghost (its median in units of sigma) and of discs of {DIAMETER} pixels. "
            "Under Rician noise BM3D is stabilised, with the exact unbiased inverse.",
            common.table(("what, noise, contrast over sigma", "ours", "BM3D"), rows),
            "## What it shows",
            " ".join(shown),
        ]
    )


if __name__ == "__main__":
    main()
