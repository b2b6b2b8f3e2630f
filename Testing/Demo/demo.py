"""`make demo`: denoises a real MR scan and a simulated one, and says and shows how well.

The scan is `example4d.nii.gz`, which comes with nibabel: an EPI volume of a head, imaged twice. So its noise is known
from the difference of the two repetitions, and the second one is an independent reference for the first. The mean of
both, with simulated Rician noise at SNR 8, makes a hard case with a known answer.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from figure import Row, draw

from C2SCore import files, noise, quality, scanjob
from C2SCore.scan import Scan
from C2SCore.scanjob import ScanJob
from C2SCore.tissue import foreground, signal_level

SIMULATED_SNR = 8


@dataclass(frozen=True)
class Outcome:
    """One denoised scan: the volumes (K, J, I) and the report."""

    title: str
    source: Scan
    denoised: np.ndarray
    residual: np.ndarray
    uncertainty: np.ndarray
    report: dict[str, Any]
    verdict: list[str]  # lines about the comparison with the reference


def main(folder: Path) -> None:
    start = time.monotonic()
    path = Path(nibabel.__path__[0]) / "tests" / "data" / "example4d.nii.gz"
    first, second = files.read(path)
    print(f"Scan: {path.name} of nibabel, {' x '.join(map(str, first.voxels.shape[::-1]))} voxels, 2 repetitions")
    mask = foreground((first.voxels + second.voxels) / 2)
    outcomes = [real(first, second, mask, folder), simulated(first, second, mask, folder)]
    rows = [Row(o.title, o.source, o.denoised, o.residual, o.uncertainty, o.verdict) for o in outcomes]
    picture = draw(rows, folder / "demo.png")
    print(f"\nFigure: {picture}\nVolumes and reports (JSON): {folder}{os.sep}\nTotal: {time.monotonic() - start:.0f} s")


def real(first: Scan, second: Scan, mask: np.ndarray, folder: Path) -> Outcome:
    """The first repetition, scored against the second, whose own noise is known and taken off the error."""
    sigma = noise.pair_sigma(first.voxels, second.voxels)
    outcome = denoise("Real scan, 3-D EPI", first.with_voxels(first.voxels, "real"), sigma, folder)
    before, after = (_error(v, second.voxels, mask, sigma) for v in (first.voxels, outcome.denoised))
    return _told(outcome, f"error against the other repetition: {before:.2f} -> {after:.2f} (its own noise taken off)")


def simulated(first: Scan, second: Scan, mask: np.ndarray, folder: Path) -> Outcome:
    """The mean of both repetitions with Rician noise, scored against that mean."""
    clean = (first.voxels + second.voxels) / 2
    sigma = signal_level(clean, mask) / SIMULATED_SNR
    real_part, imaginary_part = np.random.default_rng(0).normal(0, sigma, (2, *clean.shape))
    noisy = first.with_voxels(np.hypot(clean + real_part, imaginary_part), "simulated")
    outcome = denoise(f"Simulated Rician noise, SNR {SIMULATED_SNR}", noisy, "auto", folder)
    scores = [(quality.psnr(clean, v, mask), quality.ssim(clean, v, mask)) for v in (noisy.voxels, outcome.denoised)]
    return _told(
        outcome,
        f"true noise {sigma:.1f}, measured {outcome.report['sigma']:.1f}",
        f"PSNR {scores[0][0]:.2f} -> {scores[1][0]:.2f} dB" + f", SSIM {scores[0][1]:.3f} -> {scores[1][1]:.3f}",
    )


def denoise(title: str, source: Scan, sigma: float | str, folder: Path) -> Outcome:
    """As a user would do it: from file to file, with every output there is."""
    name = source.name
    job = ScanJob(
        scan=str(files.write(source, folder / f"{name}_source.nii.gz")),
        output=str(folder / f"{name}_denoised.nii.gz"),
        sigma=sigma,
        residual=str(folder / f"{name}_residual.nii.gz"),
        uncertainty=str(folder / f"{name}_uncertainty.nii.gz"),
        report=str(folder / f"{name}_report.json"),
    )
    report = scanjob.run(job)
    volumes = [files.read_one(p).voxels for p in (job.output, job.residual, job.uncertainty)]
    print(f"\n{title}")
    gain = f"SNR {report['snr_before']:.1f} -> {report['snr_after']:.1f} (+{report['snr_gain_db']:.1f} dB)"
    print(f"  noise {report['sigma']:.2f} ({report['noise']}), {gain}, {report['seconds']:.1f} s on {report['device']}")
    for line in (report["sentence"], *report["warnings"]):
        print(f"  {line}")
    return Outcome(title, source, *volumes, report, [])


def _told(outcome: Outcome, *lines: str) -> Outcome:
    """The outcome with these lines, printed as well."""
    for line in lines:
        print(f"  {line}")
    report = outcome.report
    numbers = [
        f"noise {report['sigma']:.1f}, SNR {report['snr_before']:.1f} \N{RIGHTWARDS ARROW} {report['snr_after']:.1f}",
        *(line.replace("->", "\N{RIGHTWARDS ARROW}") for line in lines),
        f"{report['seconds']:.1f} s on {report['device']}",
    ]
    return Outcome(**{**vars(outcome), "verdict": numbers})


def _error(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, sigma: float) -> float:
    """Root mean square error without the share of the reference's own noise.

    The mean difference is taken off as well: the second image of an EPI series has a little less signal.
    """
    difference = (image - reference)[mask].astype(np.float64)
    return float(np.sqrt(max(difference.var() - sigma**2, 0)))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo_output"))
