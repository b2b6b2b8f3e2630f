"""Closing Slicer while a training goes on: it asks first."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from C2STrainSlicer import trainrun


class CloseGuard(qt.QWidget):
    """An event filter on the main window."""

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """True keeps the window open."""
        training = trainrun.running()
        if event.type() != qt.QEvent.Close or training is None:
            return False
        question = _(
            "The training {name} is going on. Closing Slicer ends it; what was saved last is kept, and it can be "
            "resumed. Close?"
        ).format(name=training.plan.out.stem)
        if slicer.util.confirmYesNoDisplay(question, "C2S Train"):
            return False
        event.ignore()
        return True


_guard: list[CloseGuard] = []


def watch() -> None:
    """Ask from now on; where there is no main window there is nobody to ask."""
    window = slicer.util.mainWindow()
    if window is not None and not _guard:
        _guard.append(CloseGuard())
        window.installEventFilter(_guard[0])


def unwatch() -> None:
    window = slicer.util.mainWindow()
    while _guard:
        guard = _guard.pop()
        if window is not None:
            window.removeEventFilter(guard)
