"""Real noisy scans: denoised by one or several models, with what can be said without a reference.

The residual (source - denoised) should look like noise. Its correlation with edges and its autocorrelation are shown
beside those of synthetic noise that has the level, kind and spectrum which were estimated, laid over the denoised
scan. The denoised scans are written, so that repetitions kept apart can score them (`c2s evaluate`). Writes
real_scans.json, real_scans.md and real_scans.png.

    python real_scans.py T1.nii.gz T2.nii.gz FLAIR.nii.gz --models default own=t1.safetensors --images out
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import common
import numpy as np
from pictures import Tile, draw_slices

from C2SCore import files, model
from C2SCore.denoising import Result, denoise
from C2SCore.noise import Spectrum, estimate_spectrum, foreground, signal_level
from C2SCore.quality import residual_checks
from C2SCore.scan import Scan

DRAWS = 3  # of synthetic noise
SHOWN = ("residual_edge_correlation", "residual_detail_correlation")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scans", nargs="+", help="noisy scans")
    made.add_argument("--models", nargs="+", default=("default",), help="names or files; title=FILE gives a title")
    made.add_argument("--images", type=Path, help="folder for the denoised scans (default: they are not written)")
    made.add_argument("--name", default="real_scans", help="of the result files (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "cells": []}
    pictures: dict[str, list[Tile]] = {}
    loaded = dict(_titled(entry) for entry in options.models)
    for path in options.scans:
        for scan in files.read(path):
            tiles = [Tile("source", scan.voxels[len(scan.voxels) // 2])]
            for title, one in loaded.items():
                result = denoise(scan.voxels, one)
                values["cells"].append(_cell(scan, title, result, options.seed))
                middle = result.estimate[len(result.estimate) // 2]
                tiles += [Tile(title, middle), Tile(f"removed by {title}", tiles[0].plane - middle, True)]
                if options.images:
                    name = f"{scan.name}_{title}.nii.gz"
                    files.write(scan.with_voxels(result.estimate), options.images / name)
            pictures[scan.name] = tiles
    draw_slices(pictures, options.out / f"{options.name}.png")
    common.write_results(options.out, options.name, values, _text(values))
    return values


def _titled(entry: str) -> tuple[str, model.Model]:
    title, _, path = entry.rpartition("=")
    return title or Path(entry).stem, model.load(path)


def _cell(scan: Scan, title: str, result: Result, seed: int) -> dict[str, Any]:
    """The checks of the real residual, and their mean for synthetic noise of the same kind over the denoised scan."""
    spectrum = estimate_spectrum(scan.voxels)
    mask = foreground(scan.voxels)
    synthetic = []
    for draw in range(DRAWS):
        again = _synthetic(result, spectrum, seed + draw)
        synthetic.append(residual_checks(again, result.estimate, result.sigma))
    cell: dict[str, Any] = {"scan": scan.name, "model": title, "sigma": result.sigma, "noise": result.noise}
    cell |= {"snr": signal_level(scan.voxels, mask) / result.sigma, "seconds": result.seconds, "device": result.device}
    cell |= {"warnings": result.warnings, "residual": residual_checks(scan.voxels, result.estimate, result.sigma)}
    cell["synthetic"] = {name: float(np.mean([s[name] for s in synthetic])) for name in SHOWN}
    cell["synthetic"]["residual_autocorrelation"] = np.mean(
        [s["residual_autocorrelation"] for s in synthetic], axis=0
    ).tolist()
    return cell


def _synthetic(result: Result, spectrum: Spectrum, seed: int) -> np.ndarray:
    """The denoised scan with new noise of the estimated level, kind and spectrum."""
    rng = np.random.default_rng(seed)
    shape = result.estimate.shape
    root = np.sqrt(spectrum.power(*shape[1:]))

    def coloured() -> np.ndarray:
        return result.sigma * np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) * root).real

    noisy = result.estimate + coloured()
    return (np.hypot(noisy, coloured()) if result.noise == "rician" else noisy).astype(np.float32)


def _text(values: dict[str, Any]) -> str:
    rows = []
    for cell in values["cells"]:
        real, synthetic = cell["residual"], cell["synthetic"]
        rows.append(
            (
                f"{cell['scan']}, {cell['model']}",
                f"{cell['sigma']:.3g}",
                f"{cell['snr']:.1f}",
                cell["noise"],
                f"{real['snr_gain_db']:+.1f}",
                f"{real['residual_edge_correlation']:.3f} ({synthetic['residual_edge_correlation']:.3f})",
                f"{real['residual_detail_correlation']:.3f} ({synthetic['residual_detail_correlation']:.3f})",
                _pair(real["residual_autocorrelation"], synthetic["residual_autocorrelation"]),
                real["verdict"],
                f"{cell['seconds']:.1f}",
            )
        )
    header = (
        "scan, model",
        "sigma",
        "SNR",
        "taken for",
        "SNR gain dB",
        "edges",
        "detail",
        "autocorrelation J, I",
        "verdict",
        "seconds",
    )
    return (
        "# Real noisy scans\n\nCorrelation of the residual with edges and with fine detail, and its autocorrelation at "
        "lag 1 along rows (J) and columns (I); in brackets the same for synthetic noise of the estimated level, kind "
        "and spectrum over the denoised scan.\n\n" + common.table(header, rows)
    )


def _pair(real: tuple[float, float], synthetic: list[float]) -> str:
    return ", ".join(f"{a:.2f} ({b:.2f})" for a, b in zip(real, synthetic))


if __name__ == "__main__":
    main()
