"""What the controls of Slicer need more than plain connecting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def on_path(edit: Any, slot: Callable[[str], None]) -> None:
    """Call `slot` with the path of a ctkPathLineEdit whenever it is typed, chosen or cleared.

    Of a text that it does not accept, an empty one too, the control only says that its input is no longer valid.
    """

    def changed() -> None:
        slot(edit.currentPath)

    edit.currentPathChanged.connect(changed)
    edit.validInputChanged.connect(changed)
