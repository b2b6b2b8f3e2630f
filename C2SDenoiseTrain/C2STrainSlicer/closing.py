"""Closing Slicer while a training goes on: it asks first.

Slicer's own restart, as after a change of its settings, closes no window: there the training ends unasked, and can be
resumed.
"""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from C2STrainSlicer import trainrun


class CloseGuard(qt.QWidget):
    """An event filter on the main window. One closing can come as two events, as on macOS; it is asked once."""

    _asking = False
    _agreed = False

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """True keeps the window open."""
        training = trainrun.running()
        if event.type() != qt.QEvent.Close or training is None or self._agreed:
            return False
        if self._asking or not self._ask(training):
            event.ignore()
            return True
        self._agreed = True
        qt.QTimer.singleShot(0, self._forget)
        return False

    def _ask(self, training: trainrun.Training) -> bool:
        question = _(
            "The training {name} is going on. Closing Slicer ends it; what was saved last is kept, and it can be "
            "resumed. Close?"
        ).format(name=training.plan.out.stem)
        self._asking = True
        try:
            return slicer.util.confirmYesNoDisplay(question, "C2S Train")
        finally:
            self._asking = False

    def _forget(self) -> None:
        """The user may cancel when Slicer asks about unsaved data: then the next closing is asked about again."""
        if qt.QApplication.activeModalWidget() is not None:
            qt.QTimer.singleShot(100, self._forget)
        elif slicer.util.mainWindow().visible:
            self._agreed = False


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
