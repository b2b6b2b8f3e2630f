"""The demo's picture: source, result, residual and uncertainty, one row per scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from C2SCore.scan import Scan
from C2SCore.writing import atomic

PAPER, INK, FAINT = "#101418", "#f2f4f5", "#9aa5ad"
COLUMNS = ("Source", "Denoised", "Removed (source \N{MINUS SIGN} denoised)", "Uncertainty")


@dataclass(frozen=True)
class Row:
    """Volumes (K, J, I) of one scan, and lines of text about it."""

    title: str
    source: Scan
    denoised: np.ndarray
    residual: np.ndarray
    uncertainty: np.ndarray
    lines: list[str]


def draw(rows: list[Row], path: Path) -> Path:
    """Writes the figure as PNG and returns its path."""
    plt.rcParams.update({"font.family": "DejaVu Sans", "text.color": INK, "font.size": 10})
    figure, axes = plt.subplots(len(rows), 4, figsize=(15, 4.6 * len(rows)), squeeze=False, facecolor=PAPER)
    figure.subplots_adjust(left=0.02, right=0.98, top=0.94, bottom=0.03, wspace=0.05, hspace=0.28)
    for n, (row, line) in enumerate(zip(rows, axes, strict=True)):
        _draw_row(row, line)
        if n == 0:
            for axis, name in zip(line, COLUMNS, strict=True):
                axis.set_title(name, color=INK, fontsize=13, pad=10)
        text = "   \N{MIDDLE DOT}   ".join(row.lines)
        line[0].text(0, -0.05, row.title, transform=line[0].transAxes, fontsize=12, weight="bold", va="top")
        line[0].text(0, -0.13, text, transform=line[0].transAxes, fontsize=10, color=FAINT, va="top")
    with atomic(path, ".png") as temporary:
        figure.savefig(temporary, dpi=110, facecolor=PAPER)
    plt.close(figure)
    return path


def _draw_row(row: Row, axes: np.ndarray) -> None:
    k = len(row.denoised) // 2
    low, high = np.quantile(row.denoised[k], (0.02, 0.995))
    noise = float(np.quantile(np.abs(row.residual[k]), 0.99))
    spread = float(np.quantile(row.uncertainty[k], 0.995))
    aspect = row.source.spacing[1] / row.source.spacing[0]
    pictures = (
        (row.source.voxels[k], "gray", low, high, "scan"),
        (row.denoised[k], "gray", low, high, "scan"),
        (row.residual[k], "RdBu_r", -noise, noise, "residual"),
        (row.uncertainty[k], "magma", 0.0, spread, "uncertainty"),
    )
    turned = row.source.ijk_to_ras[1, 1] > 0  # rows run towards the front: show the front at the top
    for axis, (picture, colours, bottom, top, kind) in zip(axes, pictures, strict=True):
        axis.imshow(
            picture[::-1] if turned else picture, cmap=colours, vmin=bottom, vmax=top, aspect=aspect, interpolation="nearest"
        )
        axis.axis("off")
        if kind != "scan":
            _scale_bar(axis, bottom, top)


def _scale_bar(axis: Axes, bottom: float, top: float) -> None:
    """What the ends of the colour scale stand for, in the scan's unit."""
    text = f"{bottom:.3g} ... {top:.3g}" if bottom == 0 else f"\N{PLUS-MINUS SIGN}{top:.3g}"
    box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 3}
    axis.text(0.98, 0.03, text, transform=axis.transAxes, ha="right", va="bottom", fontsize=9, color=INK, bbox=box)
