"""Study: a scan that was repeated, so that real noise can be scored.

Each repetition is denoised and scored against the other. Their noise is independent, so E|d_1 - x_2|^2 = |d_1 - x_0|^2
+ sigma_2^2: the second repetition's own noise, half of |x_1 - x_2|^2, is subtracted, and what remains is the error
against the unseen truth. Before, gain and offset of the other repetition are matched slice by slice in the foreground.
Movement between the two is measured and, with --shift, undone on the images to be scored, never on the one that scores
them. BM3D, BM4D and NLM get the level that the difference of the repetitions shows; ours measures its own. Where voxels
are as thick as wide and the program denoises along every axis, ours is also shown slice by slice. Without a scan, a
simulated pair shows that the corrected score is the true one. Writes study_pair.json, study_pair.md and study_pair.png.

    python study_pair.py two_repetitions.nii.gz
"""

from __future__ import annotations

import argparse
from typing import Any

import common
import numpy as np
import peers
import phantoms
from pictures import Tile, draw_slices

from C2SCore import files, model, spacing
from C2SCore.denoising import Options, Result, denoise
from C2SCore.noise import pair_sigma
from C2SCore.tissue import foreground, signal_level

SNR, GAIN = 15.0, 1.03  # of the simulated pair: of both repetitions; of the second over the first
OURS, GIVEN, SLICES = "ours", "ours, level of the pair", "ours, slice by slice"
FINE = 20  # steps per pixel in which movement is measured
SMOOTH = 2.0  # pixels, before gain and offset are compared
LEAST = 0.02  # of a slice must be foreground for it to be scored
Volumes = tuple[np.ndarray, np.ndarray]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("scan", nargs="?", help="4-D file of two repetitions (default: a simulated pair)")
    made.add_argument("--frames", type=int, nargs=2, default=(0, 1), help="the two (default: 0 1)")
    made.add_argument("--model", default="default", help="name or file (default: %(default)s)")
    made.add_argument("--shift", action="store_true", help="undo the movement that is measured, slice by slice")
    made.add_argument("--slices", type=int, default=8, help="scored, spread evenly; 0: all (default: %(default)s)")
    made.add_argument("--side", type=int, default=96, help="pixels of the simulated head (default: %(default)s)")
    made.add_argument("--name", default="study_pair", help="of the result files (default: %(default)s)")
    options = made.parse_args(arguments)
    common.prepare(options)
    names, pair, truths, isotropic = _pair(options)
    loaded = model.load(options.model)
    mask, sigma = foreground((pair[0] + pair[1]) / 2), pair_sigma(*pair)
    usable = np.flatnonzero(mask.mean(axis=(1, 2)) > LEAST)
    rows = usable[common.spread(len(usable), options.slices)]
    values: dict[str, Any] = {"environment": common.environment(options.seed), "scan": names[0]}
    values |= {"model": loaded.card.name, "seen_by_model": any(name in loaded.card.trained_on for name in names)}
    values |= {"slices": len(rows), "pair_sigma": sigma, "snr": signal_level(pair[0], mask) / sigma}
    values |= {
        "isotropic": isotropic,
        "measured_sigma": [],
        "shift_undone": options.shift,
        "simulated": truths is not None,
    }
    found: dict[str, list[dict[str, float]]] = {}
    pictures: dict[str, list[Tile]] = {}
    for own, other in ((0, 1), (1, 0)):
        automatic = denoise(pair[own], loaded, Options(isotropic=isotropic))
        values["measured_sigma"].append(automatic.sigma)
        ways = _ways(pair[own], automatic, sigma, isotropic, loaded, rows)
        for n, k in enumerate(rows):
            place = Place(pair[own][k], pair[other][k], mask[k], options.shift)
            for way, image in ways.items():
                found.setdefault(way, []).append(place.score(image[n], None if truths is None else truths[own][k]))
        middle = len(rows) // 2
        pictures[f"repetition {own + 1}"] = [
            Tile("source", ways["noisy"][middle]),
            Tile("other repetition", pair[other][rows][middle]),
            *(Tile(way, ways[way][middle]) for way in ("BM3D", OURS)),
            *(Tile(f"removed by {way}", ways["noisy"][middle] - ways[way][middle], True) for way in ("BM3D", OURS)),
        ]
    values["places"] = [{name: place[name] for name in ("moved", "gain", "noise")} for place in found["noisy"]]
    peak = float(np.ptp((pair[0] + pair[1]) / 2))
    values["ways"] = {way: _summary(scored, peak) for way, scored in found.items()}
    compare(values["ways"])
    draw_slices(pictures, options.out / f"{options.name}.png")
    common.write_results(options.out, options.name, values, _text(values))
    return values


def _pair(options: argparse.Namespace) -> tuple[list[str], Volumes, Volumes | None, bool]:
    """Names and voxels of the two repetitions, what they are without noise, if that is known, and whether voxels are as
    thick as wide.
    """
    if options.scan:
        frames = files.read(options.scan)
        first, second = (frames[n] for n in options.frames)
        isotropic = spacing.isotropic(first.spacing, first.voxels.shape)
        return [first.name, second.name], (first.voxels, second.voxels), None, isotropic
    clean = phantoms.head((12, options.side, options.side), options.seed)
    sigma = signal_level(clean) / SNR
    first, second = (common.add_noise(clean, sigma, "gaussian", 2 * options.seed + n) for n in range(2))
    gain = np.float32(GAIN)
    return ["head", "head"], (first, gain * second), (clean, gain * clean), False


def _ways(
    x: np.ndarray, automatic: Result, sigma: float, isotropic: bool, loaded: model.Model, rows: np.ndarray
) -> dict[str, np.ndarray]:
    """The slices `rows` of one repetition, denoised in every way."""
    kind = "gaussian" if automatic.noise == "clean" else automatic.noise
    given = Options(sigma=sigma, noise=kind, isotropic=isotropic)
    found = {
        "noisy": x[rows],
        "NLM": peers.nlm(x[rows], sigma),
        "BM3D": peers.bm3d(x[rows], sigma),
        GIVEN: denoise(x, loaded, given).estimate[rows],
        OURS: automatic.estimate[rows],
    }
    if isotropic:
        found["BM4D"] = peers.bm4d(x, sigma)[rows]
        found[SLICES] = denoise(x, loaded).estimate[rows]
    return found


class Place:
    """One slice of one repetition, what the other one is there, and how strong its noise is."""

    def __init__(self, source: np.ndarray, other: np.ndarray, mask: np.ndarray, undo: bool) -> None:
        from scipy.ndimage import gaussian_filter
        from skimage.registration import phase_cross_correlation

        self.mask = mask
        found = phase_cross_correlation(other * mask, source * mask, upsample_factor=FINE)[0]
        self.moved = float(np.hypot(*found))
        self.movement = found if undo else np.zeros(2)
        # Moments and not a regression: noise in the regressor would bias the gain. Smooth: so that noise hardly counts.
        a, b = (gaussian_filter(v.astype(np.float64), SMOOTH)[mask] for v in (self._in_place(source), other))
        self.gain = float(a.std() / b.std())
        self.other = a.mean() + self.gain * (other.astype(np.float64) - b.mean())
        self.noise = self._distance(source) / 2

    def score(self, image: np.ndarray, truth: np.ndarray | None) -> dict[str, float]:
        """Mean square error in the foreground, corrected, and the true one if it is known; the slice's own facts."""
        scored = {"error": self._distance(image) - self.noise, "noise": self.noise, "moved": self.moved}
        if truth is not None:
            scored["true_error"] = float(np.mean((image.astype(np.float64) - truth)[self.mask] ** 2))
        return scored | {"gain": self.gain}

    def _in_place(self, image: np.ndarray) -> np.ndarray:
        """Moved to where the other repetition lies, without smoothing."""
        from scipy.ndimage import fourier_shift

        if not self.movement.any():
            return image
        return np.fft.ifft2(fourier_shift(np.fft.fft2(image), self.movement)).real

    def _distance(self, image: np.ndarray) -> float:
        return float(np.mean((self._in_place(image) - self.other)[self.mask] ** 2))


def _summary(scored: list[dict[str, float]], peak: float) -> dict[str, Any]:
    """Over slices and both directions: PSNR from the mean error, and noise left, in every slice, too."""
    left = np.array([place["error"] / place["noise"] for place in scored])
    error = np.mean([place["error"] for place in scored])
    summary = {"psnr": _psnr(error, peak), "noise_left": common.mean(left), "slices": left.round(4).tolist()}
    if "true_error" in scored[0]:
        summary["true_psnr"] = _psnr(np.mean([place["true_error"] for place in scored]), peak)
    return summary


def compare(ways: dict[str, Any]) -> None:
    """Add paired differences of the noise left to summaries, over slices: the two directions share a slice's anatomy
    and both noises, so that their mean is one value.
    """
    left = {way: np.reshape(found["slices"], (2, -1)).mean(axis=0) for way, found in ways.items()}
    for way, found in ways.items():
        found["less_noise_left_than"] = {other: common.paired(left[other], left[way]) for other in ways}


def _psnr(error: float, peak: float) -> float:
    """dB; NaN where the corrected error is not above 0."""
    return float(10 * np.log10(peak**2 / error)) if error > 0 else float("nan")


def _text(values: dict[str, Any]) -> str:
    rows = []
    for way, found in values["ways"].items():
        less = values["ways"][OURS]["less_noise_left_than"][way]
        rows.append(
            (
                way,
                f"{found['psnr']:.2f}",
                *([f"{found['true_psnr']:.2f}"] if values["simulated"] else []),
                f"{found['noise_left']:.1%}",
                "-" if way == OURS else f"{values['ways'][OURS]['psnr'] - found['psnr']:+.2f}",
                "-" if way == OURS else common.probability(less["p"]),
            )
        )
    header = ("method", "PSNR dB", "noise's variance left", "ours over this, dB", "p")
    if values["simulated"]:
        header = (*header[:2], "true PSNR dB", *header[2:])
    return "\n\n".join(
        [
            "# Two repetitions of one scan",
            f"{values['scan']}, {values['slices']} slices, each repetition scored against the other in the foreground, "
            f"corrected for that one's noise; model {values['model']}. Level from the pair {values['pair_sigma']:.4g} "
            f"(SNR {values['snr']:.1f}), measured by ours from one repetition "
            f"{' and '.join(f'{v:.4g}' for v in values['measured_sigma'])}. p: paired t-test over slices (n = "
            f"{values['ways'][OURS]['less_noise_left_than']['noisy']['n']}) of the error in units of the noise's "
            "variance, mean of both directions.",
            common.table(header, rows),
            "## What it shows",
            _shows(values),
        ]
    )


def _shows(values: dict[str, Any]) -> str:
    ways, moved = values["ways"], [place["moved"] for place in values["places"]]
    gains = [max(place["gain"], 1 / place["gain"]) - 1 for place in values["places"]]
    best = max((way for way in ways if way not in (OURS, GIVEN, SLICES)), key=lambda way: ways[way]["psnr"])
    parts = [
        f"Ours leaves {ways[OURS]['noise_left']:.0%} of the noise's variance as error, BM3D "
        f"{ways['BM3D']['noise_left']:.0%}, NLM {ways['NLM']['noise_left']:.0%}; ours over the best of the others "
        f"({best}) {_gain(ways, best)}. Told the level of the pair, ours "
        f"changes by {ways[GIVEN]['psnr'] - ways[OURS]['psnr']:+.2f} dB.",
        f"Movement between the repetitions is {np.median(moved):.2f} pixels in the median slice, {max(moved):.2f} at "
        f"most ({'undone' if values['shift_undone'] else 'left as it is'}); gains differ by {np.median(gains):.1%} "
        f"(median), {max(gains):.1%} at most, and are matched.",
    ]
    if SLICES in ways:
        parts.append(
            f"Voxels are as thick as wide: slices along every axis gain {_gain(ways, SLICES)} over those along one, "
            f"and {_gain(ways, 'BM4D')} over BM4D."
        )
    if values["simulated"]:
        apart = max(abs(found["psnr"] - found["true_psnr"]) for found in ways.values())
        parts.append(
            f"The truth is known here: the corrected PSNR is within {apart:.2f} dB of the true one in every row."
        )
    if values["seen_by_model"]:
        parts.append("The model saw these noisy repetitions in training.")
    return " ".join(parts)


def _gain(ways: dict[str, Any], other: str) -> str:
    """Of ours over another way."""
    p = common.probability(ways[OURS]["less_noise_left_than"][other]["p"])
    return f"{ways[OURS]['psnr'] - ways[other]['psnr']:+.2f} dB (p {p})"


if __name__ == "__main__":
    main()
