"""C2S Train as a researcher uses it, by its panel alone, in the bench: is the model that comes out of it any good?

Noise is simulated on clean scans. The noisy copies of --train are read, chosen and trained on by setting controls and
pressing buttons, the result is put to use with "Use in C2S Denoise", and that module denoises the noisy copies of
--test, a session that the training never saw. Scans are named as in p1_T1W.nii.gz. Writes gui_training_TASK.json
and .md.

single: one model, preset and minutes as given, against the bundled model and BM3D, and what the panel's report says.
contrasts: the same number of steps without and with the helping contrasts, for several seeds of noise and training.

    python gui_training.py single --train p1_T1W.nii.gz p2_T1W.nii.gz --test p4_T1W.nii.gz --minutes 5 --threads 2
    python gui_training.py contrasts --train p1_*.nii.gz p2_*.nii.gz --test p4_*.nii.gz --steps 1500 --threads 2

It needs what the tests and the benchmarks need: pip install -e ".[test,benchmark]".
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common
import numpy as np

from C2SCore import files
from C2SCore.tissue import foreground

TESTING = Path(__file__).resolve().parents[1]
sys.path += [str(TESTING), str(TESTING / "Slicer"), str(TESTING.parent / "C2SDenoise")]
if TYPE_CHECKING:
    from researcher import Researcher

SNR = {"single": 8.0, "contrasts": 5.0}
PATTERN = "{case}_{contrast}"
TARGET = 0.5  # dB that the helping contrasts shall give
CLAIMS = {"is better": 1, "is not better": -1, "no clear difference": 0}  # in the report's sentence


@dataclass
class Copy:
    """A clean scan, (K, J, I), and the file of its noisy copy; sigma in the scan's unit."""

    name: str
    clean: np.ndarray
    sigma: float
    path: Path

    def scores(self, image: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
        """PSNR and SSIM of the chosen slices, and `left`, the mean square error over sigma^2 in the foreground."""
        mask = foreground(self.clean)
        found = common.scores(self.clean[rows], image[rows], mask[rows], float(np.ptp(self.clean)))
        square = [float(np.mean((a - b)[m] ** 2)) if m.any() else np.nan for a, b, m in zip(image, self.clean, mask)]
        return found | {"left": np.array(square)[rows] / self.sigma**2}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    made = common.parser(__doc__)
    made.add_argument("task", choices=SNR)
    made.add_argument("--train", nargs="+", required=True, metavar="SCAN", help="clean scans to train on, made noisy")
    made.add_argument(
        "--test", nargs="+", required=True, metavar="SCAN", help="clean scans of the session that is scored"
    )
    made.add_argument("--target", default="T1W", help="contrast to denoise, as names have it (default: %(default)s)")
    made.add_argument("--helpers", nargs="+", default=["FLAIR", "T2W"], help="contrasts that help (contrasts)")
    made.add_argument("--snr", type=float, help="tissue median / sigma (default: 8 for single, 5 for contrasts)")
    made.add_argument("--preset", default="quick", choices=("quick", "standard", "paper"))
    made.add_argument("--initial", default="", help="model to start from, none, or empty: what the preset says")
    made.add_argument("--minutes", type=int, default=5, help="time budget (single; default: %(default)s)")
    made.add_argument("--steps", type=int, default=0, help="steps in place of minutes (needed for contrasts)")
    made.add_argument("--seeds", type=int, default=3, help="of noise and training (contrasts; default: %(default)s)")
    made.add_argument("--slices", type=int, default=0, help="score so many slices, spread evenly (default: all)")
    made.add_argument("--keep", type=Path, help="folder that keeps models and reports (default: nowhere)")
    made.add_argument("--pictures", type=Path, help="folder of the panel's pictures (single; default: none)")
    made.add_argument("--name", help="of the result files (default: gui_training_TASK)")
    options = made.parse_args(arguments)
    if options.task == "contrasts" and not options.steps:
        made.error("contrasts compares trainings of the same length: give --steps")
    options.snr = options.snr or SNR[options.task]
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)  # the workers', which compute
    with tempfile.TemporaryDirectory(prefix="C2S-") as folder:
        os.environ["C2S_MODELS_DIR"] = str(Path(folder) / "models")
        values = (single if options.task == "single" else contrasts)(Path(folder), options)
    values |= {name: getattr(options, name) for name in ("target", "snr", "preset", "initial", "slices")}
    values["environment"] = common.environment(options.seed)
    text = (_single_text if options.task == "single" else _contrasts_text)(values)
    common.write_results(options.out, options.name or f"gui_training_{options.task}", values, text)
    return values


# ---- noisy copies ----


def copies(paths: list[str], folder: Path, snr: float, seed: int) -> list[Copy]:
    """Noisy copies in `folder`; no two scans of one seed get the same noise."""
    made = []
    folder.mkdir(parents=True)
    for path in paths:
        name, clean = common.read_clean(path)
        sigma = common.sigma_at(clean, snr)
        own = int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)[0])
        noisy = files.read_one(path).with_voxels(common.add_noise(clean, sigma, "gaussian", own))
        made.append(Copy(name, clean, sigma, files.write(noisy, folder / f"{name}.nii.gz")))
    return made


def of_contrast(found: list[Copy], contrast: str) -> Copy:
    """The scan whose name ends with the contrast."""
    for copy in found:
        if copy.name.endswith(f"_{contrast}"):
            return copy
    names = ", ".join(copy.name for copy in found)
    raise SystemExit(
        f"No scan of --test is called …_{contrast} (they are {names}). Add it, or change --target, --helpers."
    )


def settings(options: argparse.Namespace, seed: int) -> dict[str, object]:
    """Lines of the recipe's table that a researcher would change."""
    return {"seed": seed} | ({"minutes": 0, "steps": options.steps} if options.steps else {})


def facts(training: Any, user: Researcher, seconds: float) -> dict[str, Any]:
    """How a training went, and what the panel said of it."""
    return {
        "name": training.plan.out.stem,
        "seconds": seconds,
        "steps": training.history[-1]["step"],
        "curve": training.history,
        "said": user.ui.resultLabel.text,
        "numbers": training.numbers,
    }


# ---- one model, and is it better? ----


def single(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from researcher import Researcher

    train = copies(options.train, folder / "train", options.snr, options.seed)
    test = of_contrast(copies(options.test, folder / "test", options.snr, options.seed), options.target)
    rows = common.spread(len(test.clean), options.slices)
    user = Researcher(options.pictures)
    user.picture("empty")
    began = time.monotonic()
    user.read(folder / "train")
    reading = time.monotonic() - began
    user.choose_contrasts(options.target)
    user.choose_recipe(
        options.preset, 0 if options.steps else options.minutes, options.initial, settings(options, options.seed)
    )
    user.name_model(f"own {options.target}", anatomy="brain", description=f"{options.target} of our scanner")
    user.picture("ready")
    training, seconds = trained(user)
    user.picture("done")
    user.picture_of_report(training)
    values = {"trained_on": [copy.name for copy in train], "test": test.name, "reading_seconds": reading}
    values["training"] = facts(training, user, seconds)
    if options.keep:
        user.keep(training, options.keep)
    user.use(training)
    volume = user.load(test.path)
    images = {"noisy": files.read_one(test.path).voxels, "trained": user.denoised(volume)}
    images["default"] = user.denoised(volume, "default")
    values["slicer"] = slicer_facts(user)
    user.close()
    import peers  # loads PyTorch, which Slicer does not have

    images["BM3D"] = peers.bm3d(images["noisy"], test.sigma)
    found = {name: test.scores(image, rows) for name, image in images.items()}
    pairs = {"default": ("trained", "default"), "BM3D": ("trained", "BM3D"), "default over BM3D": ("default", "BM3D")}
    values["gain"] = {n: {m: common.paired(found[a][m], found[b][m]) for m in found[a]} for n, (a, b) in pairs.items()}
    values["honest"] = honest(values["training"]["said"], values["gain"]["default"])
    return values | {"methods": {name: common.summary(scored) for name, scored in found.items()}}


def trained(user: Researcher) -> tuple[Any, float]:
    """Start, and wait for model and report; the training and the seconds that it took."""
    began = time.monotonic()
    user.start()
    return user.until_done(), time.monotonic() - began


def slicer_facts(user: Researcher) -> dict[str, Any]:
    """Whether Slicer stayed free while it trained."""
    return {"torch_imported": "torch" in sys.modules, "gap_ms": user.gaps[0], "own_work_ms": user.gaps[1]}


def honest(said: str, gain: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Does the report's verdict against the bundled model hold on the session that was not trained on?

    `says` is 1 (better), 0 (no clear difference) or -1 (not better); `truth` likewise, by noise left in the foreground,
    where 2 % of difference or a p of 0.05 is needed to call one better; `holds` is false where they contradict.
    """
    says = next((value for words, value in CLAIMS.items() if words in said), None)
    left = gain["left"]
    truth = 0 if not left["p"] < 0.05 else int(-np.sign(left["mean"]))
    return {"says": says, "truth": truth, "holds": says is not None and says * truth >= 0}


def _single_text(values: dict[str, Any]) -> str:
    rows = []
    for name, scored in values["methods"].items():
        gain = {"trained": values["gain"]["BM3D"], "default": values["gain"]["default over BM3D"]}.get(name)
        rows.append(
            (
                name,
                f"{scored['psnr']['mean']:.2f} ± {scored['psnr']['std']:.2f}",
                f"{scored['ssim']['mean']:.4f}",
                f"{100 * scored['left']['mean']:.1f} %",
                f"{gain['psnr']['mean']:+.2f}" if gain else "-",
            )
        )
    over, training, slicer = values["gain"]["default"]["psnr"], values["training"], values["slicer"]
    verdict = "holds" if values["honest"]["holds"] else "DOES NOT HOLD"
    loaded = "loaded" if slicer["torch_imported"] else "not loaded"
    return (
        "# A model trained by the panel alone\n\n"
        f"Preset `{values['preset']}`, {training['steps']} steps, {training['seconds'] / 60:.1f} minutes with the "
        f"report; Gaussian noise, SNR {values['snr']:g}; scored on {values['test']}, which was not trained on. σ is "
        "measured by the program; BM3D knows the true one. Noise left: mean square error over the noise variance in "
        "the foreground.\n\n"
        + common.table(("", "PSNR dB", "SSIM", "noise left", "over BM3D, dB"), rows)
        + f"\n\nTrained over default: {over['mean']:+.2f} ± {over['std']:.2f} dB (p {common.probability(over['p'])})."
        f"\n\nThe panel's report says: *{training['said']}* On the session that was not trained on this {verdict}.\n\n"
        f"Slicer's event loop stood still for at most {slicer['gap_ms']:.0f} ms while training "
        f"({slicer['own_work_ms']:.0f} ms of own work); PyTorch was {loaded} in Slicer."
    )


# ---- do other contrasts help? ----


def contrasts(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from researcher import Researcher

    user = Researcher()
    user.want_report(False)  # it compares with models that do not read the same contrasts
    cells = []
    for seed in range(options.seed, options.seed + options.seeds):
        place = folder / f"seed {seed}"
        copies(options.train, place / "train", options.snr, seed)
        tests = copies(options.test, place / "test", options.snr, seed)
        cells.append(one_seed(user, place / "train", tests, seed, options))
    values = {"cells": cells, "helpers": options.helpers, "slicer": slicer_facts(user)}
    user.close()
    gains = np.array([cell["gain"]["psnr"]["mean"] for cell in cells])
    return values | {"gain": {"mean": float(gains.mean()), "std": float(gains.std()), "seeds": gains.tolist()}}


def one_seed(
    user: Researcher, scans: Path, tests: list[Copy], seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Both trainings of one seed, scored on the session that was not trained on."""
    test = of_contrast(tests, options.target)
    rows = common.spread(len(test.clean), options.slices)
    found = {"noisy": test.scores(files.read_one(test.path).voxels, rows)}
    cell: dict[str, Any] = {"seed": seed, "test": test.name, "training": {}}
    user.back()
    user.read(scans)
    volume = user.load(test.path)
    helping = [user.load(of_contrast(tests, name).path) for name in options.helpers]
    for arm, helpers in (("alone", ()), ("helped", options.helpers)):
        user.back()
        matched = user.choose_contrasts(options.target, helpers, PATTERN)
        user.choose_recipe(options.preset, 0, options.initial, settings(options, seed))
        user.name_model(f"{options.target} {arm} {seed}", anatomy="brain")
        training, seconds = trained(user)
        cell["training"][arm] = facts(training, user, seconds) | {"matched": matched}
        if options.keep:
            user.keep(training, options.keep)
        user.use(training)
        found[arm] = test.scores(user.denoised(volume, others=helping if helpers else ()), rows)
        print(f"seed {seed}, {arm}: {common.mean(found[arm]['psnr']):.2f} dB after {seconds / 60:.1f} min", flush=True)
    cell["gain"] = {m: common.paired(found["helped"][m], found["alone"][m]) for m in found["alone"]}
    return cell | {"methods": {name: common.summary(scored) for name, scored in found.items()}}


def _contrasts_text(values: dict[str, Any]) -> str:
    rows = []
    for cell in values["cells"]:
        for name, scored in cell["methods"].items():
            gain, trained = cell["gain"]["psnr"], cell["training"].get(name)
            rows.append(
                (
                    cell["seed"],
                    name,
                    f"{scored['psnr']['mean']:.2f} ± {scored['psnr']['std']:.2f}",
                    f"{scored['ssim']['mean']:.4f}",
                    f"{gain['mean']:+.2f} (p {common.probability(gain['p'])})" if name == "helped" else "-",
                    trained["steps"] if trained else "-",
                    f"{trained['seconds'] / 60:.1f}" if trained else "-",
                )
            )
    gain = values["gain"]
    met = "met" if gain["mean"] >= TARGET else "NOT met"
    return (
        f"# {values['target']} alone and helped by {' and '.join(values['helpers'])}, by the panel alone\n\n"
        f"Preset `{values['preset']}`, start from: {values['initial'] or 'what the preset says'}; Gaussian noise, SNR "
        f"{values['snr']:g} in every contrast; scored on {values['cells'][0]['test']}, which was not trained on.\n\n"
        + common.table(("seed", "", "PSNR dB", "SSIM", "gain, dB", "steps", "minutes"), rows)
        + f"\n\nGain over {len(gain['seeds'])} seeds: {gain['mean']:+.2f} ± {gain['std']:.2f} dB; target {TARGET} dB: "
        f"{met}."
    )


if __name__ == "__main__":
    main()
