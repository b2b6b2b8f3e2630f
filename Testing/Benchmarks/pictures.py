"""Figures of the benchmarks: rows of slices on a common grey scale, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from C2SCore.writing import atomic

WIDTH = 2.6  # inches of one picture
MANY = 10  # rows, beyond which pictures are drawn small


@dataclass(frozen=True)
class Tile:
    """One slice (J, I): an image on the row's grey scale, or a difference on a symmetric one."""

    title: str
    plane: np.ndarray
    difference: bool = False


def draw_slices(rows: Mapping[str, Sequence[Tile]], path: Path) -> None:
    """One row per entry.

    Images of a row share one window, from 0 to the 99.5th percentile of the second picture; differences share another,
    symmetric one, which their titles tell.
    """
    columns = max(len(tiles) for tiles in rows.values())
    first = next(iter(rows.values()))[0].plane
    height = WIDTH * first.shape[0] / first.shape[1] + 0.35
    figure, axes = plt.subplots(len(rows), columns, figsize=(WIDTH * columns, height * len(rows)), squeeze=False)
    for row, (name, tiles) in zip(axes, rows.items()):
        images = [tile.plane for tile in tiles if not tile.difference]
        high = float(np.quantile(images[min(1, len(images) - 1)], 0.995))
        wide = max((float(np.quantile(np.abs(t.plane), 0.99)) for t in tiles if t.difference), default=1.0)
        for axis in row:
            axis.axis("off")
        for axis, tile in zip(row, tiles):
            low, top = (-wide, wide) if tile.difference else (0.0, high)
            axis.imshow(tile.plane, cmap="gray", vmin=low, vmax=top, interpolation="nearest")
            scale = f" (±{wide:.3g})" if tile.difference else ""
            axis.set_title(tile.title + scale, fontsize=8, pad=3)
        # The axes are off, so a label of the row has to be a text.
        row[0].text(-0.04, 0.5, name, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontsize=9)
    figure.subplots_adjust(left=0.03, right=0.995, top=1 - 0.25 / (height * len(rows)), bottom=0.005, wspace=0.02)
    _save(figure, path, 120 if len(rows) <= MANY else 60, "L")


def draw_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    path: Path,
    across: str,
    up: str,
    logarithmic: bool = False,
    marks: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> None:
    """Lines through points, one per entry, and `marks`: points without a line."""
    figure, axis = plt.subplots(figsize=(8.4, 4.2))
    for n, (name, (x, y)) in enumerate(curves.items()):
        # Ten colours, then the same dashed.
        axis.plot(x, y, marker="o", markersize=3.5, linestyle="-" if n < 10 else "--", label=name)
    for name, (x, y) in (marks or {}).items():
        axis.plot(x, y, marker="*", markersize=12, linestyle="none", markeredgecolor="black", label=name)
    if logarithmic:
        axis.set_xscale("log")
    axis.set_xlabel(across)
    axis.set_ylabel(up)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.tight_layout()
    _save(figure, path)


def draw_bars(bars: Mapping[str, tuple[float, float]], path: Path, across: str) -> None:
    """Horizontal bars with their standard deviation, in the order given, first on top."""
    figure, axis = plt.subplots(figsize=(7.2, 0.3 * len(bars) + 1.0))
    names = list(bars)[::-1]
    values, spreads = zip(*(bars[n] for n in names))
    axis.barh(names, values, xerr=spreads, color="#4c78a8", ecolor="#555555", capsize=2)
    low, high, end = min(values), max(values), max(value + spread for value, spread in zip(values, spreads))
    axis.set_xlim(low - 0.15 * (high - low) - 0.5, end + 0.05 * (end - low))
    axis.set_xlabel(across)
    axis.tick_params(axis="y", labelsize=8)
    axis.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    _save(figure, path)


def _save(figure: plt.Figure, path: Path, dots: int = 120, mode: str = "RGB") -> None:
    """`dots` per inch; `mode` "L": grey, which takes a quarter of the space where noise is shown."""
    with atomic(path, ".png") as temporary:
        figure.savefig(temporary, dpi=dots)
        with Image.open(temporary) as picture:
            picture.convert(mode).save(temporary, optimize=True)
    plt.close(figure)
