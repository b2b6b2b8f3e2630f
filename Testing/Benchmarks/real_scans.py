"""Real noisy scans: denoised by one or several models, with what can be said without a reference.

The residual (source - denoised) should look like noise. Its correlation with edges and its autocorrelation are shown
beside two others, for synthetic noise of the level, kind and spectrum that were estimated, laid over the denoised scan:
those of that noise itself, and of what the same model removes from it. An estimator that is careful where it cannot
know leaves a little noise, so the second is what to compare with. The denoised scans are written, so that repetitions
kept apart can score them (`c2s evaluate`). Writes real_scans.json, real_scans.md and real_scans.png.

    python real_scans.py T1.nii.gz T2.nii.gz FLAIR.nii.gz --models default own={scan}.safetensors --images out
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import common
import numpy as np
from pictures import Tile, draw_slices

from C2SCore import files, model
from C2SCore.denoising import Options, Result, denoise
from C2SCore.quality import residual_checks
from C2SCore.scan import Scan
from C2SCore.spectrum import Spectrum, estimate_spectrum
from C2SCore.tissue import foreground, signal_level

DRAWS = 3  # of synthetic noise
SHOWN = ("residual_edge_correlation", "residual_detail_correlation")
AUTO = "residual_autocorrelation"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scans", nargs="+", help="noisy scans")
    made.add_argument(
        "--models",
        nargs="+",
        default=("default",),
        help="names or files, {scan} in them is the scan; title=FILE: a title",
    )
    made.add_argument("--images", type=Path, help="folder for the denoised scans (default: they are not written)")
    made.add_argument("--name", default="real_scans", help="of the result files (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "cells": []}
    pictures: dict[str, list[Tile]] = {}
    for path in options.scans:
        for scan in files.read(path):
            tiles = [Tile("source", scan.voxels[len(scan.voxels) // 2])]
            for entry in options.models:
                title, one = _titled(entry, scan.name)
                result = denoise(scan.voxels, one)
                values["cells"].append(_cell(scan, title, result, one, options.seed))
                middle = result.estimate[len(result.estimate) // 2]
                tiles += [Tile(title, middle), Tile(f"removed by {title}", tiles[0].plane - middle, True)]
                if options.images:
                    name = f"{scan.name}_{title}.nii.gz"
                    files.write(scan.with_voxels(result.estimate), options.images / name)
            pictures[scan.name] = tiles
    draw_slices(pictures, options.out / f"{options.name}.png")
    common.write_results(options.out, options.name, values, _text(values))
    return values


def _titled(entry: str, scan: str) -> tuple[str, model.Model]:
    title, _, path = entry.rpartition("=")
    return title or Path(entry).stem, model.load(path.replace("{scan}", scan))


def _cell(scan: Scan, title: str, result: Result, loaded: model.Model, seed: int) -> dict[str, Any]:
    """The checks of the real residual, of synthetic noise over the denoised scan, and of what is removed from that."""
    spectrum = estimate_spectrum(scan.voxels)
    mask = foreground(scan.voxels)
    again = [_synthetic(result, spectrum, seed + draw) for draw in range(DRAWS)]
    synthetic = [residual_checks(noisy, result.estimate, result.sigma) for noisy in again]
    options = Options(sigma=result.sigma, noise="gaussian" if result.noise == "clean" else result.noise)
    removed = residual_checks(again[0], denoise(again[0], loaded, options).estimate, result.sigma)
    cell: dict[str, Any] = {"scan": scan.name, "model": title, "sigma": result.sigma, "noise": result.noise}
    cell |= {"snr": signal_level(scan.voxels, mask) / result.sigma, "seconds": result.seconds, "device": result.device}
    cell |= {"warnings": result.warnings, "residual": residual_checks(scan.voxels, result.estimate, result.sigma)}
    cell["synthetic_noise"] = _mean(synthetic)
    cell["removed_from_synthetic"] = _mean([removed])
    return cell


def _mean(checks: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {name: float(np.mean([c[name] for c in checks])) for name in SHOWN}
    return found | {AUTO: np.mean([c[AUTO] for c in checks], axis=0).tolist()}


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
        three = (cell["residual"], cell["removed_from_synthetic"], cell["synthetic_noise"])
        edges, detail = (_three([f"{checks[name]:.3f}" for checks in three]) for name in SHOWN)
        rows.append(
            (
                f"{cell['scan']}, {cell['model']}",
                f"{cell['sigma']:.3g}",
                f"{cell['snr']:.1f}",
                cell["noise"],
                f"{cell['residual']['snr_gain_db']:+.1f}",
                edges,
                detail,
                *(_three([f"{checks[AUTO][axis]:.2f}" for checks in three]) for axis in range(2)),
                cell["residual"]["verdict"],
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
        "lag 1, J",
        "lag 1, I",
        "verdict",
        "seconds",
    )
    return (
        "# Real noisy scans\n\nCorrelation of the residual with edges and with fine detail, and its autocorrelation "
        "at lag 1 along rows (J) and columns (I). In brackets: the same for what the model removes from synthetic "
        "noise of the estimated level, kind and spectrum over the denoised scan; and for that noise itself.\n\n"
        + common.table(header, rows)
    )


def _three(shown: list[str]) -> str:
    return f"{shown[0]} ({shown[1]}; {shown[2]})"


if __name__ == "__main__":
    main()
