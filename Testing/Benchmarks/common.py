"""What the benchmarks share: scans, simulated noise, scores, paired tests, and results on disk."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import phantoms

from C2SCore import __version__, files
from C2SCore.tissue import signal_level
from C2SCore.writing import atomic, write_json

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "scikit-image", "bm3d", "antspyx")


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with what every benchmark takes: --out, --threads, --seed."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    made.add_argument("--threads", type=int, default=0, help="threads of PyTorch (default: its own choice)")
    made.add_argument("--seed", type=int, default=0, help="of the simulated noise and training (default: %(default)s)")
    return made


def prepare(options: argparse.Namespace) -> None:
    """Apply --threads and make the folder of --out."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)


# ---- scans and noise ----


def read_clean(path: str) -> tuple[str, np.ndarray]:
    """Name and voxels (K, J, I) of a scan that serves as the truth, the mean of its frames where it has several; a
    magnitude image, so negative values become 0.
    """
    frames = files.read(path)
    voxels = np.mean([frame.voxels for frame in frames], axis=0)
    return frames[0].name, np.ascontiguousarray(np.clip(voxels, 0, None), dtype=np.float32)


def anatomy(path: str | None, shape: tuple[int, int, int], seed: int, name: str = "head") -> tuple[str, np.ndarray]:
    """Name and voxels of a scan, or of a simulated head of `shape` where no path is given."""
    return read_clean(path) if path else (name, phantoms.head(shape, seed))


def middle(volume: np.ndarray, slices: int) -> np.ndarray:
    """About so many slices from the middle of a volume (K, J, I); all of them where there are no more, or for 0."""
    first = (len(volume) - slices) // 2 if 0 < slices < len(volume) else 0
    return volume[first : len(volume) - first]


def add_noise(clean: np.ndarray, sigma: float | np.ndarray, kind: str, seed: int) -> np.ndarray:
    """Gaussian noise of standard deviation `sigma`, or the magnitude of complex noise ("rician"), float32."""
    rng = np.random.default_rng(seed)
    real = clean + sigma * rng.standard_normal(clean.shape)
    if kind == "gaussian":
        return real.astype(np.float32)
    return np.hypot(real, sigma * rng.standard_normal(clean.shape)).astype(np.float32)


def sigma_at(clean: np.ndarray, snr: float) -> float:
    """Noise level at which tissue median / sigma is `snr`."""
    return signal_level(clean) / snr


def spread(count: int, wanted: int) -> np.ndarray:
    """Indices of `wanted` of `count` slices, evenly spread and away from the ends; all of them if `wanted` is 0."""
    if wanted <= 0 or wanted >= count:
        return np.arange(count)
    return np.unique(((np.arange(wanted) + 0.5) * count / wanted).astype(int))


# ---- scores ----


def scores(reference: np.ndarray, image: np.ndarray, mask: np.ndarray, peak: float) -> dict[str, np.ndarray]:
    """PSNR (dB) and SSIM of every slice of (K, J, I), over the whole slice and inside `mask`.

    `peak` is the data range of the whole reference volume, so that slices compare. SSIM is scikit-image's, 7 x 7
    window; slices without a voxel in the mask have NaN there.
    """
    from skimage.metrics import structural_similarity

    found: dict[str, list[float]] = {"psnr": [], "ssim": [], "psnr_mask": [], "ssim_mask": []}
    for a, b, inside in zip(reference.astype(np.float64), image.astype(np.float64), mask):
        square = (a - b) ** 2
        mean, local = structural_similarity(a, b, data_range=peak, full=True)
        found["psnr"].append(10 * np.log10(peak**2 / square.mean()))
        found["ssim"].append(mean)
        found["psnr_mask"].append(10 * np.log10(peak**2 / square[inside].mean()) if inside.any() else np.nan)
        found["ssim_mask"].append(local[inside].mean() if inside.any() else np.nan)
    return {name: np.array(values, dtype=float) for name, values in found.items()}


def summary(values: dict[str, np.ndarray]) -> dict[str, Any]:
    """Mean, standard deviation over slices, and the values themselves, ready for JSON."""
    return {
        name: {"mean": mean(v), "std": float(np.nanstd(v)), "slices": [round(float(x), 4) for x in v]}
        for name, v in values.items()
    }


def mean(values: Iterable[float]) -> float:
    return float(np.nanmean(np.asarray(list(values), dtype=float)))


def over_seeds(runs: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Scores of every slice, as the mean over trainings that differ by their seed."""
    return {name: np.mean([run[name] for run in runs], axis=0) for name in runs[0]}


def paired(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Mean and standard deviation of ours - theirs, slice by slice, and the p of a two-sided paired t-test."""
    from scipy.stats import ttest_rel

    both = np.isfinite(ours) & np.isfinite(theirs)
    difference = ours[both] - theirs[both]
    enough = difference.size > 1 and difference.std() > 0
    p = float(ttest_rel(ours[both], theirs[both]).pvalue) if enough else float("nan")
    return {"mean": float(difference.mean()), "std": float(difference.std()), "p": p, "n": int(difference.size)}


def compared(ours: dict[str, Any], theirs: dict[str, Any], metric: str = "psnr") -> dict[str, float]:
    """`paired` of two summaries of the same slices."""
    return paired(*(np.array(found[metric]["slices"], dtype=float) for found in (ours, theirs)))


# ---- results ----


def environment(seed: int | None = None) -> dict[str, Any]:
    """Where and with what the numbers were made."""
    import torch

    versions = {"C2SDenoise": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "command": " ".join([Path(sys.argv[0]).name, *(_short(a) for a in sys.argv[1:])]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions,
        "seed": seed,
    }


def _short(argument: str) -> str:
    """An argument without the folders of whoever ran the command."""
    return Path(argument).name if os.sep in argument else argument


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers in columns after the first are aligned to the right."""
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "|".join("---" if n == 0 else "---:" for n in range(len(header))) + "|",
    ]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def write_results(folder: Path, name: str, values: dict[str, Any], text: str, show: bool = True) -> None:
    """`name`.json with everything and `name`.md with what a person reads, which is printed as well if `show`."""
    write_json(folder / f"{name}.json", values)
    facts = values["environment"]
    machine = f"{facts['processor']}, {facts['threads']} threads" + (f", {facts['gpu']}" if facts["gpu"] else "")
    made = f"Made by `{facts['command']}` on {facts['date'][:10]}, commit {facts['commit']}, {machine}."
    with atomic(folder / f"{name}.md", ".md") as temporary:
        temporary.write_text(f"{text.strip()}\n\n{made}\n", encoding="utf-8")
    if show:
        print(text.strip(), flush=True)


def told(less: dict[str, float]) -> str:
    """A paired difference of PSNR in a sentence: "+0.52 dB (p < 0.001)"."""
    p = probability(less["p"])
    return f"{less['mean']:+.2f} dB" + ("" if p == "-" else f" (p {p})" if p.startswith("<") else f" (p = {p})")


def probability(p: float) -> str:
    """A p-value for a table."""
    return "-" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
