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
from C2SCore.tissue import foreground
from C2SCore.writing import atomic

PAPER, INK, FAINT = "#101418", "#f2f4f5", "#9aa5ad"
PANEL, GAP, EDGE, TEXT = 3.4, 0.12, 0.25, 0.62  # inches: width of a picture, between pictures, margin, height of words
MARGIN = 4  # pixels around the anatomy
DOT = "   \N{MIDDLE DOT}   "
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
    views = [_view(row) for row in rows]
    heights = [h for row, view in zip(rows, views, strict=True) for h in (PANEL * _aspect(row, *view), TEXT)]
    size = (4 * PANEL + 2 * EDGE + 3 * GAP, sum(heights) + TEXT + EDGE)
    figure = plt.figure(figsize=size, facecolor=PAPER)
    grid = figure.add_gridspec(
        len(heights),
        4,
        height_ratios=heights,
        left=EDGE / size[0],
        right=1 - EDGE / size[0],
        top=1 - TEXT / size[1],
        bottom=EDGE / size[1],
        wspace=GAP / PANEL,
        hspace=0,
    )
    for n, (row, view) in enumerate(zip(rows, views, strict=True)):
        axes = [figure.add_subplot(grid[2 * n, c]) for c in range(4)]
        _draw_row(row, view, axes)
        if n == 0:
            for axis, name in zip(axes, COLUMNS, strict=True):
                axis.set_title(name, color=INK, fontsize=13, pad=10)
        words = figure.add_subplot(grid[2 * n + 1, :])
        words.axis("off")
        words.text(0, 0.82, row.title, transform=words.transAxes, fontsize=13, weight="bold", va="top")
        words.text(0, 0.47, DOT.join(row.lines), transform=words.transAxes, fontsize=10.5, color=FAINT, va="top")
    with atomic(path, ".png") as temporary:
        figure.savefig(temporary, dpi=110, facecolor=PAPER)
    plt.close(figure)
    return path


def _view(row: Row) -> tuple[slice, slice]:
    """Rows and columns of the slices that hold the anatomy, with a margin."""
    mask = foreground(row.source.voxels).any(axis=0)
    spans = []
    for axis in (1, 0):
        inside = np.flatnonzero(mask.sum(axis=axis) > 3)
        spans.append(slice(max(inside[0] - MARGIN, 0), inside[-1] + 1 + MARGIN))
    return spans[0], spans[1]


def _aspect(row: Row, down: slice, across: slice) -> float:
    """Height over width of the picture, in mm."""
    picture = row.denoised[0, down, across]
    return picture.shape[0] * row.source.spacing[1] / (picture.shape[1] * row.source.spacing[0])


def _draw_row(row: Row, view: tuple[slice, slice], axes: list[Axes]) -> None:
    k = len(row.denoised) // 2
    low, high = 0.0, float(np.quantile(row.denoised[k], 0.995))
    noise = float(np.quantile(np.abs(row.residual[k]), 0.99))
    spread = float(np.quantile(row.uncertainty[k], 0.995))
    pictures = (
        (row.source.voxels[k], "gray", low, high, ""),
        (row.denoised[k], "gray", low, high, ""),
        (row.residual[k], "gray", -noise, noise, f"\N{PLUS-MINUS SIGN}{noise:.3g}"),
        (row.uncertainty[k], "inferno", 0.0, spread, f"0 \N{EN DASH} {spread:.3g}"),
    )
    front_last = row.source.ijk_to_ras[1, 1] > 0  # rows run towards the front, which belongs to the top
    for axis, (picture, colours, bottom, top, scale) in zip(axes, pictures, strict=True):
        part = picture[view]
        axis.imshow(
            part[::-1] if front_last else part,
            cmap=colours,
            vmin=bottom,
            vmax=top,
            aspect="auto",  # the grid has the right proportions
            interpolation="nearest",
        )
        axis.axis("off")
        if scale:  # what the ends of the colours stand for, in the scan's unit
            _label(axis, scale)


def _label(axis: Axes, text: str) -> None:
    box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 3}
    axis.text(0.98, 0.02, text, transform=axis.transAxes, ha="right", va="bottom", fontsize=9.5, color=INK, bbox=box)
