"""The buttons of the Compare section: side by side, reveal, flicker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from C2SSlicer.compare import Comparison


class CompareControls:
    """`parameters()` gives the parameter node that is shown, or None.

    `act(f, ...)` calls f and shows what goes wrong.
    """

    def __init__(
        self, ui: Any, comparison: Comparison, parameters: Callable[[], Any], act: Callable[..., None]
    ) -> None:
        self.ui, self.comparison = ui, comparison
        self._parameters, self._act = parameters, act
        ui.sideBySideButton.pressed.connect(self._on_pressed)
        ui.sideBySideButton.toggled.connect(self._on_side_by_side)
        ui.revealButton.toggled.connect(self._on_reveal)
        ui.flickerButton.toggled.connect(self._on_flicker)

    def show(self) -> None:
        """Side by side, with the present result."""
        if self.ui.sideBySideButton.checked:
            self._on_side_by_side(True)  # with other volumes than before
        else:
            self.ui.sideBySideButton.setChecked(True)

    def hide(self) -> None:
        """The views as they were before, and no button pressed."""
        self.ui.sideBySideButton.setChecked(False)

    def _on_pressed(self) -> None:
        """Before it is toggled: where the views were left by Slicer's own menu of layouts, it brings them back."""
        if not self.comparison.shown:
            self.hide()

    def _on_side_by_side(self, on: bool) -> None:
        self._act(self._side_by_side, on)

    def _side_by_side(self, on: bool) -> None:
        p = self._parameters()
        if on and p is not None and p.resultVolume is not None and p.resultSource is not None:
            self.comparison.show(p.resultSource, p.resultVolume, p.resultNoise)
        elif not on:
            for button in (self.ui.revealButton, self.ui.flickerButton):
                button.setChecked(False)
            self.comparison.close()

    def _on_reveal(self, on: bool) -> None:
        self._act(self._over, self.ui.flickerButton, self.comparison.reveal, on)

    def _on_flicker(self, on: bool) -> None:
        self._act(self._over, self.ui.revealButton, self.comparison.flicker, on)

    def _over(self, other: Any, show: Callable[[bool], None], on: bool) -> None:
        """Reveal and flicker need the side-by-side view, and exclude each other."""
        if on:
            other.setChecked(False)
            if not self.comparison.shown:
                self.show()
        show(on)
