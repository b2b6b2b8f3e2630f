"""Volumes that change while a panel speaks of them: another frame is shown, voxels are edited, the name is another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk

SETTLED = 200  # milliseconds after the last change: a series that plays changes its volume all the time


class VolumeWatch:
    """Calls `changed` when volumes have changed and do so no more; `look` says which are watched."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._observed: list[tuple[Any, list[int]]] = []  # nodes and the tags of their observers
        self._settled = qt.QTimer()
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLED)
        self._settled.timeout.connect(changed)

    def look(self, *volumes: Any) -> None:
        """Watch these, None among them left out, and no others."""
        wanted = list(dict.fromkeys(volume for volume in volumes if volume is not None))
        if wanted != [node for node, _tags in self._observed]:
            self.stop()
            # An image that was modified itself is no change of its node, which passes it on as an event of its own.
            kinds = (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)
            for node in wanted:
                self._observed.append((node, [node.AddObserver(kind, self._modified) for kind in kinds]))

    def stop(self) -> None:
        self._settled.stop()
        while self._observed:
            node, tags = self._observed.pop()
            for tag in tags:
                node.RemoveObserver(tag)

    def _modified(self, caller: Any, event: str) -> None:
        self._settled.start()
