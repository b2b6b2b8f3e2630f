"""Study: the noise spectrum that the program estimates from one image, against the true one.

Noise is added to a clean scan and both are stored as scanners and programs do: zero-filled, under a window over
k-space, interpolated. The estimate sees the noisy image alone: its real part, or the magnitude that a scanner stores.
"Misplaced" is the share of the noise's power that it puts at wrong frequencies, half of the mean absolute difference of
both spectra; a white spectrum in its place shows what there is to win. Writes study_spectrum.json, study_spectrum.md
and study_spectrum.png.

    python study_spectrum.py T1W.nii.gz T2W.nii.gz FLAIR.nii.gz
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
import storing
from pictures import draw_curves

from C2SCore.spectrum import BINS, estimate_spectrum, white_spectrum
from C2SCore.tissue import signal_level

KINDS = ("real part", "magnitude")
SHOWN = ("zero-filled as M4Raw", "Hamming", "linear 2 x")  # in the figure


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scans", nargs="*", help="scans taken for the truth (default: a simulated head)")
    made.add_argument("--snr", type=float, nargs="+", default=(5.0, 10.0, 20.0, 30.0), help="(default: 5 10 20 30)")
    made.add_argument("--side", type=int, default=96, help="pixels of the simulated head (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "snr": list(options.snr), "cells": []}
    curves: dict[str, Any] = {}
    for path in options.scans or (None,):
        name, clean = common.anatomy(path, (12, options.side, options.side), options.seed)
        for way, stored in storing.WAYS.items():
            first, second = (storing.noise(way, clean.shape, 2 * options.seed + n) for n in (0, 1))
            image, true = stored(clean), storing.noise_power(way, clean.shape, 1000 + options.seed)
            for snr in options.snr:
                sigma = signal_level(image) / snr
                real = image + sigma * first
                for kind, noisy in zip(KINDS, (real, np.hypot(real, sigma * second))):
                    found = estimate_spectrum(noisy.astype(np.float32))
                    misplaced = _misplaced(found.power(*true.shape), true)
                    facts = {"scan": name, "way": way, "kind": kind, "snr": snr, "misplaced": misplaced}
                    white = _misplaced(white_spectrum().power(*true.shape), true)
                    values["cells"].append(facts | {"white": white, "white_found": found.white})
            if way in SHOWN and len(curves) < 2 * len(SHOWN):
                curves |= _curves(way, found.columns, true)
    draw_curves(curves, options.out / "study_spectrum.png", "cycles per pixel along the columns", "noise power")
    common.write_results(options.out, "study_spectrum", values, _text(values))
    return values


def _misplaced(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.abs(found - true).mean() / 2)


def _curves(way: str, found: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """The true power and the one found over frequency, largest 1."""
    count = true.shape[1] // 2
    profile = true.mean(axis=0)[:count]
    # Few draws leave some noise on the true one: its mean over some frequencies is shown.
    smooth = np.convolve(np.pad(profile, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    return {
        f"{way}, true": (np.arange(count) / true.shape[1], smooth / smooth[:5].mean()),
        f"{way}, found": (np.linspace(0, 0.5, BINS)[::2], found[::2]),
    }


def _text(values: dict[str, Any]) -> str:
    rows = []
    for way in storing.WAYS:
        for kind in KINDS:
            cells = [c for c in values["cells"] if (c["way"], c["kind"]) == (way, kind)]
            by_snr = [[c["misplaced"] for c in cells if c["snr"] == snr] for snr in values["snr"]]
            shown = (f"{np.mean(found):.1%} ({max(found):.1%})" for found in by_snr)
            rows.append((way, kind, f"{cells[0]['white']:.1%}", *shown))
    header = ("stored", "image", "white taken", *(f"SNR {snr:g}" for snr in values["snr"]))
    names = ", ".join(dict.fromkeys(cell["scan"] for cell in values["cells"]))
    return (
        "# The noise spectrum estimated from one image\n\nShare of the noise's power at wrong frequencies, mean "
        f"(worst) over {names}; first, if the noise were taken for white.\n\n"
        + common.table(header, rows)
        + f"\n\n## What it shows\n\n{_shows(values['cells'])}"
    )


def _shows(cells: list[dict[str, Any]]) -> str:
    worst = max(cells, key=lambda cell: cell["misplaced"])
    plain = [cell for cell in cells if cell["way"] == "as acquired"]
    return (
        f"On average {np.mean([c['misplaced'] for c in cells]):.1%} of the power is put at wrong frequencies, "
        f"{np.mean([c['white'] for c in cells]):.1%} if the noise is taken for white; at worst "
        f"{worst['misplaced']:.1%} ({worst['scan']}, {worst['way']}, {worst['kind']}, SNR {worst['snr']:g}). Noise "
        f"that is white is found white in {sum(c['white_found'] for c in plain)} of {len(plain)} cases."
    )


if __name__ == "__main__":
    main()
