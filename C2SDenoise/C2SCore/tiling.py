"""Slices that are too large for one pass: overlapping tiles, blended with weights that sum to one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

OVERLAP = 32  # pixels on each inner side; the network's sight fades within it


def tile_starts(length: int, tile: int) -> list[int]:
    """First pixels of tiles that cover `length`, evenly spread, neighbours sharing at least 2 OVERLAP pixels."""
    if length <= tile:
        return [0]
    count = -(-(length - 2 * OVERLAP) // max(tile - 2 * OVERLAP, 1))
    return [round(n * (length - tile) / (count - 1)) for n in range(count)]


def ramp(length: int, first: bool, last: bool) -> Tensor:
    """Weights along one side of a tile: rising over OVERLAP pixels inside the image, flat at its border; never zero."""
    weights = torch.ones(length)
    rise = (torch.arange(min(2 * OVERLAP, length)) + 1.0) / (2 * OVERLAP + 1)
    if not first:
        weights[: len(rise)] = torch.minimum(weights[: len(rise)], rise)
    if not last:
        weights[-len(rise) :] = torch.minimum(weights[-len(rise) :], rise.flip(0))
    return weights


def tiles(height: int, width: int, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Windows of one image and their blending weights before normalisation."""
    rows, columns = tile_starts(height, tile), tile_starts(width, tile)
    for top in rows:
        for left in columns:
            bottom, right = min(top + tile, height), min(left + tile, width)
            weight = torch.outer(
                ramp(bottom - top, top == 0, bottom == height), ramp(right - left, left == 0, right == width)
            )
            yield slice(top, bottom), slice(left, right), weight


def blend(function: Callable[[slice, slice], Tensor], shape: tuple[int, int, int, int], tile: int) -> Tensor:
    """Apply `function(rows, columns) -> (N, 1, h, w)` to every tile of an (N, 1, H, W) image and blend the results, on
    the CPU.
    """
    height, width = shape[-2:]
    result, total = torch.zeros(shape), torch.zeros(height, width)
    for rows, columns, weight in tiles(height, width, tile):
        result[..., rows, columns] += function(rows, columns).to("cpu", torch.float32) * weight
        total[rows, columns] += weight
    return result / total
