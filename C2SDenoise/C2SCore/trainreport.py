"""The report of a training: data, curves, held-back slices before and after, an honest comparison. One HTML file."""

from __future__ import annotations

import base64
import dataclasses
import html
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from C2SCore import denoising, events, measuring, model, picture, quality
from C2SCore.card import find_model
from C2SCore.config import TrainConfig
from C2SCore.errors import UserError
from C2SCore.patches import Case, hold_back
from C2SCore.preparing import prepare
from C2SCore.runfolder import MEASURED, run_folder
from C2SCore.scoring import PATCHES, noise_left, noise_left_by
from C2SCore.webpage import figure, page, table
from C2SCore.writing import write_text

if TYPE_CHECKING:
    from C2SCore.model import Model
    from C2SCore.worker import Context

SLICES = 3  # held-back slices that are shown
BM3D_SECONDS = 60.0  # for its share of the noise left; on a processor it takes seconds for a patch
CURVE = (420, 180)  # pixels: width and height
IMPOSSIBLE = -0.1  # of the noise left: below chance, so the estimate does not hold
MARGIN, ERRORS = 0.05, 3  # share (0.2 dB) and standard errors, of patches that overlap, below which none is better


@dataclasses.dataclass
class _Contender:
    """A denoiser to compare: what it makes of each shown slice, what the checks of the residual say of that, and what
    it leaves of the noise on each patch, (n,); a slow one is tried on the first n only.
    """

    name: str
    left: np.ndarray
    images: list[np.ndarray] = dataclasses.field(default_factory=list)
    checks: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def score(self) -> float:
        return float(self.left.mean())

    def mean(self, name: str) -> float:
        """Of a number of the checks, over the shown slices."""
        return float(np.mean([checks[name] for checks in self.checks]))


def write(
    out: Path,
    path: Path,
    cases: Sequence[Case],
    history: Sequence[dict[str, Any]],
    compare: str,
    device: str,
    context: Context,
) -> dict[str, Any]:
    """Measure, write `out`, and return the numbers: `score`, `score_compared`, `snr_gain_db`, and `sentence`.

    The score is `scoring.noise_left` of slices that were not trained on: 1 is the noisy scan, 0 is perfect.
    """
    own = model.load(path, device)
    config = TrainConfig.from_dict(own.card.config)

    def measured(message: events.Message) -> None:
        if isinstance(message, events.Progress):
            context.progress("Measuring scans", message.done, message.total)

    cache = measuring.Cache(run_folder(path) / MEASURED)
    cases = prepare(cases, config, cache, measured, context.cancelled)
    held = hold_back(cases, config.validation, config.seed)
    everything = held or [(c, int(case.slices[len(case.slices) // 2])) for c, case in enumerate(cases)]
    shown = [everything[round(n)] for n in np.linspace(0, len(everything) - 1, min(SLICES, len(everything)))]
    contenders, notes = list[_Contender](), list[str]()
    other = _other(compare, path, device, notes)
    for name, entry in [(path.stem, own), *([(other.card.name, other)] if other is not None else [])]:
        context.check()
        context.progress(f"Trying {name}")
        contender = _Contender(name, noise_left(entry.denoiser, cases, held, torch.device(device)))
        for case, k in shown:
            context.check()
            contender.images.append(_denoised(entry, cases[case], k, device))
        contenders.append(contender)
    bm3d = _bm3d(cases, held, shown, context)
    if bm3d is None:
        notes.append("BM3D was not compared: the Python package bm3d is not installed.")
    else:
        contenders.append(bm3d)
    for contender in contenders:
        for (case, k), image in zip(shown, contender.images):
            plane = np.asarray(cases[case].target[k : k + 1], np.float32)
            contender.checks.append(quality.residual_checks(plane, image[None], float(cases[case].sigmas[k])))
    before = bool(own.card.quality.get("seen_before"))
    numbers = _numbers(contenders[0], contenders[1] if other is not None else None, bool(held), before)
    text = _page(path, own, cases, history, shown, contenders, notes, numbers)
    write_text(out, text)
    return numbers


def _other(compare: str, path: Path, device: str, notes: list[str]) -> Model | None:
    """The model to compare with, if there is one that needs no other contrasts."""
    try:
        found = find_model(compare) if compare else None
    except UserError:
        notes.append(f"There is no model {compare!r} here to compare with.")
        return None
    if found is None or found.resolve() == path.resolve():
        return None
    other = model.load(found, device)
    if other.card.auxiliary:
        notes.append(f"The model {compare} needs other contrasts and was not compared.")
        return None
    return other


def _denoised(entry: Model, case: Case, k: int, device: str) -> np.ndarray:
    """Slice k (J, I) as the model makes it from its neighbourhood."""
    low, high = max(k - 1, 0), k + 2
    block = np.asarray(case.target[low:high], np.float32)
    others = [np.asarray(a[low:high], np.float32) for a in case.auxiliary] if entry.card.auxiliary else []
    options = denoising.Options(sigma=float(case.sigmas[k]), device=device)
    return denoising.denoise(block, entry, options, others).estimate[k - low]


def _bm3d(
    cases: Sequence[Case], held: Sequence[tuple[int, int]], shown: Sequence[tuple[int, int]], context: Context
) -> _Contender | None:
    """BM3D (Dabov et al. 2007) on the same slices and patches, with the same noise level; None where it is not
    installed.
    """
    try:
        bm3d = importlib.import_module("bm3d").bm3d
    except ImportError:
        return None

    def check() -> None:
        context.check()
        context.progress("Trying BM3D")

    def method(plane: np.ndarray, sigma: float) -> np.ndarray:
        return np.asarray(bm3d(plane.astype(np.float64), sigma), np.float32)

    made = _Contender("BM3D", noise_left_by(method, cases, held, BM3D_SECONDS, check))
    for case, k in shown:
        check()
        made.images.append(method(np.asarray(cases[case].target[k]), float(cases[case].sigmas[k])))
    return made


def _numbers(own: _Contender, rival: _Contender | None, held: bool, before: bool = False) -> dict[str, Any]:
    """What the user is told at once; the sentence is honest about who is better, and about what was looked at."""
    numbers: dict[str, Any] = {"score": own.score, "snr_gain_db": own.mean("snr_gain_db"), "held_back": held}
    where = "on slices that it was not trained on" if held else "on its own slices (too few to hold any back)"
    if held and before:
        where = "on slices held back, which the model that it began with may have learnt from"
    left = f"It leaves {_percent(own.left)} of the noise variance in tissue, {where}"
    if rival is not None:
        numbers |= {"score_compared": rival.score, "compared": rival.name}
    if own.score < IMPOSSIBLE:
        return numbers | {"sentence": _UNTOLD}
    if rival is None:
        return numbers | {"sentence": f"{left}."}
    difference = own.left - rival.left  # on the same patches, with the same probes
    unsure = max(MARGIN * abs(rival.score), ERRORS * float(difference.std()) / np.sqrt(len(difference)))
    verdict = "there is no clear difference."
    if difference.mean() < -unsure:
        verdict = "the new model is better."
    elif difference.mean() > unsure:
        verdict = "the new model is not better. Train longer, or with more scans, or start from that model."
    theirs = f"the model {rival.name} leaves {_percent(rival.left)}"
    return numbers | {"sentence": f"{left}; {theirs}. On these scans {verdict}"}


_UNTOLD = (
    "What it leaves of the noise cannot be told: the estimate is far below nothing, as where a further contrast shares "
    "the scan's noise (was one computed from the other?), or where the noise level is far too high. Look at what it "
    "removes before you use it."
)


def _page(
    path: Path,
    own: Model,
    cases: Sequence[Case],
    history: Sequence[dict[str, Any]],
    shown: Sequence[tuple[int, int]],
    contenders: Sequence[_Contender],
    notes: Sequence[str],
    numbers: dict[str, Any],
) -> str:
    card = own.card
    facts = {
        "Description": card.description,
        "Contrast": ", ".join(card.contrasts),
        "Helped by": ", ".join(card.auxiliary),
        "Anatomy": card.anatomy,
        "Licence": card.licence,
        "By": card.attribution,
        "Note": card.note,
        "Trained": "{steps} steps in {minutes} min on {device}; the best was step {best_step}".format(**card.quality),
        "Network": f"{card.network.get('size')}, {card.parameters:,} weights",
    }
    parts = [f"<h1>Training of {html.escape(path.stem)}</h1><p>{html.escape(numbers['sentence'])}</p>"]
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    parts.append(table(("", ""), [(name, value) for name, value in facts.items() if value]))
    parts.append("<h2>Scans</h2>")
    rows = [
        (
            c.name,
            " × ".join(map(str, c.target.shape[::-1])),
            f"{np.median(c.sigmas):.4g}",
            f"{c.signal / np.median(c.sigmas):.1f}",
            "as it was acquired" if c.spectrum.white else "interpolated or filtered",
        )
        for c in cases
    ]
    parts.append(table(("scan", "size", "noise σ", "SNR", "noise"), rows))
    parts.append("<h2>Curves</h2><p>Loss on the slices held back (validation) and on those trained on.</p>")
    parts += [svg_curve(history, "validation", "#1f77b4"), svg_curve(history, "loss", "#d62728")]
    title = "Held-back slices" if numbers["held_back"] else "Slices (trained on; too few to hold any back)"
    parts.append(f"<h2>{title}</h2>")
    for n, (case, k) in enumerate(shown):
        parts.append(f"<h3>{html.escape(cases[case].name)}, slice {k}</h3>")
        parts += _figures(np.asarray(cases[case].target[k], np.float32), float(cases[case].sigmas[k]), contenders, n)
    parts.append("<h2>Comparison</h2>")
    parts.append(_comparison(contenders))
    return page(path.stem, parts)


def _comparison(contenders: Sequence[_Contender]) -> str:
    """A table of all methods, and what its columns mean."""
    fewest = min(len(contender.left) for contender in contenders)
    limited = fewest < PATCHES
    head = ["", *([f"noise left, {fewest} patches"] if limited else []), "noise left", "SNR gain"]
    head += ["removed / noise", "follows edges", "follows detail", "shown slices: verdict"]
    rows = []
    for contender in contenders:
        cells = [contender.name, *([_percent(contender.left[:fewest])] if limited else [])]
        cells.append(_percent(contender.left) if len(contender.left) == PATCHES else "–")
        cells.append(f"{contender.mean('snr_gain_db'):.1f} dB")
        names = ("removed", "residual_edge_correlation", "residual_detail_correlation")
        cells += [f"{contender.mean(name):.2f}" for name in names]
        rows.append([*cells, ", ".join(str(checks["verdict"]) for checks in contender.checks)])
    note = (
        f"Noise left: share of the noise variance in tissue, by Stein's unbiased estimate on {PATCHES} patches; less "
        "is better. It trusts the measured noise level: where that is too high, all methods show too little. "
    )
    if limited:
        note += f"BM3D is slow and was tried on the first {fewest} of them: compare with it in that column. "
    note += (
        "The other columns are of the slices shown above. Removed / noise: standard deviation of what was removed over "
        "that of the noise; just below 1 for a good method. Follows edges, follows detail: correlation of what was "
        f"removed with anatomy; above {quality.EDGE_LIMIT:g} and {quality.DETAIL_LIMIT:g} it holds anatomy, and the "
        "verdict says so. For research use only."
    )
    return table(head, rows) + f"<p>{html.escape(note)}</p>"


def _percent(left: np.ndarray) -> str:
    """An estimate may fall below 0 where next to nothing is left."""
    return f"{max(0.0, 100 * left.mean()):.1f} %"


def _figures(plane: np.ndarray, sigma: float, contenders: Sequence[_Contender], n: int) -> list[str]:
    shown = picture.window(plane)
    made = [_figure("source", picture.grey(plane, *shown))]
    for contender in contenders:
        image = contender.images[n]
        made.append(_figure(contender.name, picture.grey(image, *shown)))
        made.append(_figure(f"removed by {contender.name}", picture.removed(plane - image, sigma)))
    return made


def _figure(caption: str, pixels: np.ndarray) -> str:
    data = base64.b64encode(picture.png(pixels)).decode("ascii")
    return figure(f"data:image/png;base64,{data}", caption, 220)


def svg_curve(history: Sequence[dict[str, Any]], name: str, colour: str) -> str:
    """One value of the history over the steps, as an SVG picture; empty with fewer than two points."""
    width, height = CURVE
    points = [(p["step"], p[name]) for p in history if p.get(name) is not None and np.isfinite(p[name])]
    if len(points) < 2:
        return ""
    x, y = np.array(points, dtype=float).T
    px = 45 + (x - x[0]) / max(x[-1] - x[0], 1e-30) * (width - 55)
    py = height - 25 - (y - y.min()) / max(float(np.ptp(y)), 1e-30) * (height - 45)
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px, py))
    words = [
        (45, 14, name),
        (0, height - 21, f"{y.min():.3g}"),
        (0, 26, f"{y.max():.3g}"),
        (width - 80, height - 6, f"step {x[-1]:.0f}"),
    ]
    texts = "".join(f'<text x="{a}" y="{b}" font-size="11">{html.escape(t)}</text>' for a, b, t in words)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{line}"/>{texts}</svg>'
    )
