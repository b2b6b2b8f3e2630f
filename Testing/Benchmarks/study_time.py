"""Study: does the self-supervised validation measure pick a good checkpoint, and does training on and on do harm?

The product's recipe learns from one noisy scan whose truth is known here. "white": Gaussian noise. "stored": as M4Raw's
images are: 195 of 256 lines acquired and zero-filled, so the noise is band-limited; the magnitude taken; every slice
windowed by itself and stored with 8 bits, the brightest and darkest clipped. The program measures sigma and spectrum
itself. At every validation the averaged network denoises the scan; its PSNR inside the foreground (where nothing is
clipped) is set beside the validation value, and that of the checkpoint picked, the last and the best are compared. A
training is stopped at every validation and resumed, which does not change it. Writes study_time.json, study_time.md and
study_time.png.

    python study_time.py T1W.nii.gz --steps 4000 --validate-every 100 --starts nothing default
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
import product
from learning import apply
from losses import METHODS
from pictures import draw_curves

from C2SCore import config, model
from C2SCore.denoiser import Denoiser
from C2SCore.events import Curve, Message
from C2SCore.patches import Case
from C2SCore.runfolder import run_folder
from C2SCore.state import load_state
from C2SCore.tissue import foreground, signal_level
from C2SCore.training import train

LINES = (30 / 256, 225 / 256)  # of k-space along the columns: first acquired and first not acquired
CLIPPED = 0.005  # of a slice's pixels at either end of its window
WANTED = 0.05  # dB below the best checkpoint
ONE_PASS = METHODS["C2S, ours"]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scan", nargs="?", help="scan taken for the truth (default: a simulated head)")
    made.add_argument("--snr", type=float, default=8.0, help="(default: %(default)s)")
    made.add_argument("--noise", nargs="+", choices=NOISES, default=tuple(NOISES), help="(default: all)")
    made.add_argument("--starts", nargs="+", default=("nothing",), help="'nothing', or models by name or file")
    made.add_argument("--validate-every", type=int, default=25, help="steps (default: %(default)s)")
    made.add_argument("--slices", type=int, default=4, help="scored, spread evenly (default: %(default)s)")
    made.add_argument("--side", type=int, default=96, help="pixels of the simulated head (default: %(default)s)")
    product.add_arguments(made, steps=300)
    options = made.parse_args(arguments)
    common.prepare(options)
    name, clean = common.anatomy(options.scan, (12, options.side, options.side), options.seed)
    rows = common.spread(len(clean), options.slices)
    values: dict[str, Any] = {"environment": common.environment(options.seed), "scan": name, "snr": options.snr}
    values |= {"training": product.facts(options), "validate_every": options.validate_every, "slices": len(rows)}
    values["runs"] = []
    for kind in options.noise:
        truth, noisy, mask = NOISES[kind](clean, options.snr, options.seed)
        noisy_psnr = _psnr(truth[rows], noisy[rows], mask[rows])
        for start in options.starts:
            for seed in range(options.seeds):
                recipe = product.recipe(options, seed, validate_every=options.validate_every)
                points = _checkpoints(Case(name, noisy), recipe, start, truth, mask, rows)
                run = {"noise": kind, "start": Path(start).stem, "seed": options.seed + seed, "noisy": noisy_psnr}
                values["runs"].append(run | {"points": points} | _judged(points))
                print(_line(values["runs"][-1]), flush=True)
    curves, marks = {}, {"picked": ([], [])}
    for run in values["runs"]:
        points = run["points"]
        curves[_title(run)] = ([p["step"] for p in points], [p["psnr"] - run["best"]["psnr"] for p in points])
        marks["picked"][0].append(run["picked"]["step"])
        marks["picked"][1].append(run["picked"]["psnr"] - run["best"]["psnr"])
    draw_curves(curves, options.out / "study_time.png", "step", "PSNR less that of the best (dB)", marks=marks)
    common.write_results(options.out, "study_time", values, _text(values))
    return values


def white(clean: np.ndarray, snr: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, the noisy scan, and where to score it, each (K, J, I)."""
    noisy = common.add_noise(clean, signal_level(clean) / snr, "gaussian", seed)
    return clean, noisy, foreground(clean)


def stored(clean: np.ndarray, snr: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for band-limited noise, magnitudes and 8 bits; the truth is band-limited and windowed alike."""
    rng = np.random.default_rng(seed)
    noise = _acquired(rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))
    image = _acquired(clean)
    magnitude = np.abs(image + signal_level(clean) / snr * noise / noise.real.std())
    low, high = (np.quantile(magnitude, q, axis=(1, 2), keepdims=True) for q in (CLIPPED, 1 - CLIPPED))
    truth, raw = (255 * (v - low) / (high - low) for v in (np.abs(image), magnitude))
    noisy = np.clip(np.round(raw), 0, 255).astype(np.float32)
    return truth.astype(np.float32), noisy, foreground(clean) & (noisy > 0) & (noisy < 255)


NOISES = {"white": white, "stored": stored}


def _acquired(image: np.ndarray) -> np.ndarray:
    """Only the lines of k-space that were acquired, complex."""
    k = np.fft.fftshift(np.fft.fft(image, axis=2), axes=2)
    first, last = (round(edge * image.shape[2]) for edge in LINES)
    k[:, :, :first] = 0
    k[:, :, last:] = 0
    return np.fft.ifft(np.fft.ifftshift(k, axes=2), axis=2)


def _checkpoints(
    case: Case, recipe: config.TrainConfig, start: str, truth: np.ndarray, mask: np.ndarray, rows: np.ndarray
) -> list[dict[str, float]]:
    """Step, validation value and PSNR at every validation of one training."""
    initial = None if start == "nothing" else model.load(start)
    if initial is not None:
        recipe = recipe.replace(network=initial.denoiser.size, neighbours=initial.denoiser.neighbours)
    points: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "study.safetensors"
        while not points or points[-1]["step"] < recipe.steps:
            seen: list[Curve] = []

            def listen(message: Message, seen: list[Curve] = seen) -> None:
                if isinstance(message, Curve) and message.step:
                    seen.append(message)

            def enough(seen: list[Curve] = seen) -> bool:
                return bool(seen)

            train([case], recipe, out, resume=True, initial=initial, emit=listen, cancelled=enough)
            average = load_state(run_folder(out) / "state.safetensors")[0]["average"]
            psnr = _psnr(truth[rows], _estimate(average, recipe, case, rows), mask[rows])
            points.append({"step": seen[-1].step, "validation": seen[-1].values["validation"], "psnr": psnr})
    return points


def _estimate(weights: dict[str, Any], recipe: config.TrainConfig, case: Case, rows: np.ndarray) -> np.ndarray:
    """One pass at the level that the training measured, with the neighbours that it used."""
    denoiser = Denoiser(recipe.network, recipe.neighbours).eval()
    denoiser.load_state_dict(weights)
    planes = []
    for k in rows:
        near = slice(max(k - 1, 0), k + 2) if case.independent_slices else slice(k, k + 1)
        place = np.array([k - near.start])
        planes.append(apply(denoiser, ONE_PASS, case.target[near], float(case.sigmas[k]), place)[0])
    return np.stack(planes)


def _psnr(truth: np.ndarray, image: np.ndarray, mask: np.ndarray) -> float:
    """Mean over slices of the PSNR inside the mask (dB); the range is that of the slice's truth there."""
    found = []
    for a, b, inside in zip(truth.astype(np.float64), image, mask):
        if inside.any():
            found.append(20 * np.log10(np.ptp(a[inside])) - 10 * np.log10(np.mean((a - b)[inside] ** 2)))
    return common.mean(found)


def _judged(points: list[dict[str, float]]) -> dict[str, Any]:
    """The checkpoint that the validation measure picks, the last and the best, and how well the two measures agree."""
    from scipy.stats import spearmanr

    picked = min(points, key=lambda p: p["validation"])
    best = max(points, key=lambda p: p["psnr"])
    agree = spearmanr([-p["validation"] for p in points], [p["psnr"] for p in points]).statistic
    return {
        "picked": picked,
        "last": points[-1],
        "best": best,
        "picked_below_best": best["psnr"] - picked["psnr"],
        "last_below_best": best["psnr"] - points[-1]["psnr"],
        "rank_correlation": float(agree) if len(points) > 2 else float("nan"),
    }


def _title(run: dict[str, Any]) -> str:
    return f"{run['noise']}, from {run['start']}, seed {run['seed']}"


def _line(run: dict[str, Any]) -> str:
    picked, last, best = (f"{run[n]['psnr']:.2f} dB at step {run[n]['step']}" for n in ("picked", "last", "best"))
    return f"{_title(run)}: picked {picked}, last {last}, best {best}"


def _text(values: dict[str, Any]) -> str:
    rows = [
        (
            _title(run),
            f"{run['noisy']:.2f}",
            *(f"{run[n]['psnr']:.2f} ({run[n]['step']})" for n in ("picked", "last", "best")),
            f"{run['picked_below_best']:.3f}",
            f"{run['last_below_best']:.3f}",
            f"{run['rank_correlation']:.2f}",
            "yes" if run["picked_below_best"] <= WANTED else "NO",
        )
        for run in values["runs"]
    ]
    header = (
        "noise, start",
        "noisy, dB",
        "picked, dB (step)",
        "last",
        "best",
        "picked below best",
        "last below best",
        "rank correlation",
        f"within {WANTED} dB",
    )
    return "\n\n".join(
        [
            "# The checkpoint that is picked without a truth",
            f"{values['scan']}, SNR {values['snr']:g}. {product.in_words(values['training'])} A validation every "
            f"{values['validate_every']} steps; PSNR in the foreground, mean over {values['slices']} slices, one pass "
            "at the level that the program measured. Rank correlation: of the validation value (negative) with PSNR, "
            "over the checkpoints.",
            common.table(header, rows),
            "## What it shows",
            _shows(values),
        ]
    )


def _shows(values: dict[str, Any]) -> str:
    parts = []
    for kind in dict.fromkeys(run["noise"] for run in values["runs"]):
        runs = [run for run in values["runs"] if run["noise"] == kind]
        worst = max(runs, key=lambda run: run["picked_below_best"])
        fell = max(run["last_below_best"] for run in runs)
        met = sum(run["picked_below_best"] <= WANTED for run in runs)
        parts.append(
            f"Noise {kind}: the checkpoint picked is within {WANTED} dB of the best in {met} of {len(runs)} trainings, "
            f"at worst {worst['picked_below_best']:.3f} dB below it ({_title(worst)}); the last is at most {fell:.3f} "
            f"dB below the best; validation and PSNR rank the checkpoints alike by "
            f"{common.mean(run['rank_correlation'] for run in runs):.2f} (mean rank correlation)."
        )
    return " ".join(parts)


if __name__ == "__main__":
    main()
