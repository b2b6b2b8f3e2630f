"""Study: the noise spectrum that the program estimates from one image, against the true one.

Noise is added to a clean scan, and both are zero-filled as in study_coloured.py; so the noise is white in the acquired
part of k-space and absent outside it. The estimate sees the noisy image alone: its real part, or the magnitude that a
scanner stores, in which a little noise leaks beyond the acquired part. "Misplaced" is the share of the noise's
power that it puts at wrong frequencies, half of the mean absolute difference of both spectra; the autocorrelation at
lag 1 along rows (J) and columns (I) is what a spectrum says of neighbouring pixels. Writes study_spectrum.json,
study_spectrum.md and study_spectrum.png.

    python study_spectrum.py T1W.nii.gz T2W.nii.gz FLAIR.nii.gz
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
from pictures import draw_curves
from study_coloured import FACTORS, zero_filled

from C2SCore.spectrum import BINS, Spectrum, estimate_spectrum
from C2SCore.tissue import signal_level


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scans", nargs="*", help="scans taken for the truth (default: a simulated head)")
    made.add_argument("--snr", type=float, nargs="+", default=(5.0, 10.0, 20.0, 30.0), help="(default: 5 10 20 30)")
    made.add_argument("--side", type=int, default=96, help="pixels of the simulated head (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "cells": []}
    curves: dict[str, Any] = {}
    frequencies = np.linspace(0, 0.5, BINS)
    for path in options.scans or (None,):
        name, clean = common.anatomy(path, (12, options.side, options.side), options.seed)
        for title, factors in FACTORS.items():
            first, second = (_noise(clean.shape, factors, 2 * options.seed + n) for n in (0, 1))
            image = zero_filled(clean, factors)
            true = Spectrum(*(_acquired(factor, frequencies) for factor in factors))
            for snr in options.snr:
                sigma = signal_level(image) / snr
                real = image + sigma * first
                for kind, noisy in (("real part", real), ("magnitude", np.hypot(real, sigma * second))):
                    found = estimate_spectrum(noisy.astype(np.float32))
                    facts = {"scan": name, "title": title, "kind": kind, "snr": snr}
                    values["cells"].append(facts | _compared(found, true, image.shape[1:]))
            if title == "as M4Raw" and not curves:
                curves = {"true": (frequencies, true.columns), f"estimated, SNR {snr:g}": (frequencies, found.columns)}
    draw_curves(curves, options.out / "study_spectrum.png", "cycles per pixel along the columns", "noise power")
    common.write_results(options.out, "study_spectrum", values, _text(values))
    return values


def _noise(shape: tuple[int, ...], factors: tuple[float, float], seed: int) -> np.ndarray:
    """Zero-filled Gaussian noise of standard deviation 1."""
    noise = zero_filled(np.random.default_rng(seed).standard_normal(shape).astype(np.float32), factors)
    return noise / noise.std()


def _acquired(factor: float, frequencies: np.ndarray) -> np.ndarray:
    """Power over frequency: 1 up to the edge of the acquired part."""
    return (frequencies <= 0.5 / factor).astype(float)


def _compared(found: Spectrum, true: Spectrum, shape: tuple[int, ...]) -> dict[str, Any]:
    powers = [spectrum.power(*shape) for spectrum in (found, true)]
    lags = [[float(np.fft.ifft2(power).real[place] / power.mean()) for place in ((1, 0), (0, 1))] for power in powers]
    misplaced = float(np.abs(powers[0] - powers[1]).mean() / 2)
    return {"misplaced": misplaced, "lag_one": {"estimated": lags[0], "true": lags[1]}}


def _text(values: dict[str, Any]) -> str:
    rows = []
    for cell in values["cells"]:
        lag = cell["lag_one"]
        pairs = (f"{a:+.2f} ({b:+.2f})" for a, b in zip(lag["estimated"], lag["true"]))
        name = f"{cell['scan']}, {cell['title']}"
        rows.append((name, cell["kind"], f"{cell['snr']:g}", f"{cell['misplaced']:.1%}", *pairs))
    worst = max(values["cells"], key=lambda cell: cell["misplaced"])
    off = max(abs(a - b) for c in values["cells"] for a, b in zip(c["lag_one"]["estimated"], c["lag_one"]["true"]))
    header = ("scan, zero-filling", "image", "SNR", "power misplaced", "lag 1, J (true)", "lag 1, I (true)")
    return (
        "# The noise spectrum estimated from one image\n\n"
        + common.table(header, rows)
        + f"\n\n## What it shows\n\nAt worst {worst['misplaced']:.1%} of the power is put at wrong frequencies "
        f"({worst['scan']}, {worst['title']}, {worst['kind']}, SNR {worst['snr']:g}), and an autocorrelation is off by "
        f"{off:.2f}."
    )


if __name__ == "__main__":
    main()
