"""Study: images that were interpolated, whose noise is not white.

A clean scan is zero-filled in k-space to twice the matrix (in both directions, or along one, or not at all, or as much
as M4Raw's images are) after noise was added, as a scanner does. A model is trained on that noisy scan alone, once with
the spectrum that the program estimates from it and once as if the noise were white; both begin from nothing, with the
same seed and steps. Writes study_coloured.json and study_coloured.md.

    python study_coloured.py T1W.nii.gz --steps 2000 --seeds 3
"""

from __future__ import annotations

from typing import Any

import common
import numpy as np
import product
from storing import M4RAW, zero_filled

from C2SCore.config import Noise
from C2SCore.denoiser import Denoiser
from C2SCore.patches import Case
from C2SCore.spectrum import estimate_spectrum
from C2SCore.tensors import to_array, to_tensor
from C2SCore.tissue import foreground, signal_level

FACTORS = {"not interpolated": (1, 1), "as M4Raw": (1, M4RAW), "rows doubled": (2, 1), "both doubled": (2, 2)}
SPECTRA = {"matched": "auto", "white": "white"}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scan", nargs="?", help="scan taken for the truth (default: a simulated head)")
    made.add_argument("--snr", type=float, default=10.0, help="after interpolation (default: %(default)s)")
    made.add_argument("--slices", type=int, default=6, help="scored, spread evenly (default: %(default)s)")
    made.add_argument("--side", type=int, default=96, help="pixels of the simulated head (default: %(default)s)")
    product.add_arguments(made, steps=300)
    options = made.parse_args(arguments)
    common.prepare(options)
    name, clean = common.anatomy(options.scan, (12, options.side, options.side), options.seed)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "scan": name, "snr": options.snr}
    values |= {"training": product.facts(options), "cases": []}
    for title, factors in FACTORS.items():
        truth = zero_filled(clean, factors)
        sigma = signal_level(truth) / options.snr
        # Zero-filling keeps the sum over k-space, so noise spreads over more voxels and its level falls.
        noise = zero_filled(common.add_noise(np.zeros_like(clean), 1.0, "gaussian", options.seed), factors)
        noisy = (truth + sigma * noise / noise.std()).astype(np.float32)
        rows = common.spread(len(clean), options.slices)
        mask, peak = foreground(truth), float(np.ptp(truth))
        case: dict[str, Any] = {"title": title, "white_found": estimate_spectrum(noisy).white}
        case["noisy"] = common.summary(common.scores(truth[rows], noisy[rows], mask[rows], peak))
        found = {}
        for spectrum, setting in SPECTRA.items():
            runs = []
            for n in range(options.seeds):
                recipe = product.recipe(options, n, noise=Noise(spectrum=setting), validate_every=options.steps)
                learnt = product.trained([Case(name, noisy, sigma=sigma)], recipe)
                estimate = _estimate(learnt.denoiser, noisy, sigma, rows)
                runs.append(common.scores(truth[rows], estimate, mask[rows], peak))
            found[spectrum] = {m: np.mean([run[m] for run in runs], axis=0) for m in runs[0]}
            case[spectrum] = common.summary(found[spectrum])
            print(f"{title}, {spectrum}: {case[spectrum]['psnr']['mean']:.2f} dB", flush=True)
        case["gain"] = {m: common.paired(found["matched"][m], found["white"][m]) for m in found["matched"]}
        values["cases"].append(case)
    common.write_results(options.out, "study_coloured", values, _text(values))
    return values


def _estimate(denoiser: Denoiser, noisy: np.ndarray, sigma: float, rows: np.ndarray) -> np.ndarray:
    """One pass over chosen slices at the true sigma, with neighbours where the network reads them."""
    import torch

    planes = []
    with torch.no_grad():
        for k in rows:
            near = [noisy[n] if 0 <= n < len(noisy) else np.zeros_like(noisy[k]) for n in (k - 1, k + 1)]
            aux = to_tensor(np.stack(near))[None] if denoiser.neighbours else None
            planes.append(to_array(denoiser(to_tensor(noisy[k][None, None]), torch.tensor([sigma]), aux))[0, 0])
    return np.stack(planes)


def _text(values: dict[str, Any]) -> str:
    rows = []
    for case in values["cases"]:
        gain = case["gain"]["psnr"]
        shown = (
            f"{case[n]['psnr']['mean']:.2f} / {case[n]['ssim']['mean']:.3f}" for n in ("noisy", "white", "matched")
        )
        rows.append((case["title"], *shown, f"{gain['mean']:+.2f} ± {gain['std']:.2f}", common.probability(gain["p"])))
    header = ("zero-filling", "noisy", "white corruption", "matched corruption", "gain dB", "p")
    return (
        "# Noise that is not white\n\n"
        f"{values['scan']}, SNR {values['snr']:g}, trained and scored on the same noisy scan; PSNR (dB) / SSIM. "
        f"{product.in_words(values['training'])}\n\n"
        + common.table(header, rows)
        + "\n\n## What it shows\n\n"
        + " ".join(_shows(case) for case in values["cases"])
    )


def _shows(case: dict[str, Any]) -> str:
    found = "white" if case["white_found"] else "band-limited"
    lost = common.compared(case["white"], case["noisy"])
    return (
        f"{case['title'][0].upper() + case['title'][1:]}: the program finds the noise {found}; matched over white "
        f"corruption {common.told(case['gain']['psnr'])}; white corruption over the noisy image {common.told(lost)}."
    )


if __name__ == "__main__":
    main()
