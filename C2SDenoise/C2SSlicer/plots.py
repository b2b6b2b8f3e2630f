"""Training curves as Slicer plots, updated in place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer


class Curves:
    """Named curves over the steps of a training, in one plot chart; not saved with the scene.

    Points may come in any order of names; a name that is missing at a step leaves a gap (NaN) in its curve.
    """

    def __init__(self, title: str, names: tuple[str, ...]) -> None:
        self.title, self.names = title, names
        self._points: list[list[float]] = []
        self._nodes: dict[str, Any] = {}

    @property
    def chart(self) -> Any:
        """The chart node, or None before the first point."""
        return self._nodes.get("chart")

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """One more point; a later point of the same step completes it."""
        if not self._points or self._points[-1][0] != step:
            self._points.append([float(step), *[math.nan] * len(self.names)])
        for number, name in enumerate(self.names):
            value = values.get(name)
            if value is not None:
                self._points[-1][1 + number] = float(value)

    def draw(self) -> Any:
        """Bring the chart up to date; returns it. The layout is left alone."""
        if self._points:
            if any(not slicer.mrmlScene.IsNodePresent(node) for node in self._made()):  # the user has removed one
                self._remove()
            slicer.util.plot(
                np.array(self._points),
                xColumnIndex=0,
                columnNames=["step", *self.names],
                title=self.title,
                show=False,
                nodes=self._nodes,
            )
            for node in self._made():
                node.SetSaveWithScene(False)
        return self.chart

    def array(self) -> np.ndarray:
        """(points, 1 + names) float64: step and values."""
        return np.array(self._points).reshape(-1, 1 + len(self.names))

    def clear(self) -> None:
        """Remove everything from the scene."""
        self._remove()
        self._points = []

    def _made(self) -> list[Any]:
        nodes = [self._nodes.get("chart"), self._nodes.get("table"), *self._nodes.get("series", [])]
        return [node for node in nodes if node is not None]

    def _remove(self) -> None:
        for node in self._made():
            if slicer.mrmlScene.IsNodePresent(node):
                slicer.mrmlScene.RemoveNode(node)
        self._nodes = {}
