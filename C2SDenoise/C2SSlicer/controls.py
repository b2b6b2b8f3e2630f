"""What the controls of Slicer need more than plain connecting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def on_path(edit: Any, slot: Callable[[str], None]) -> None:
    """Call `slot` with the path of a ctkPathLineEdit whenever it is typed, chosen or cleared.

    Of a text that it does not accept, an empty one too, the control only says that its input is no longer valid.
    """

    def changed() -> None:
        slot(edit.currentPath)

    edit.currentPathChanged.connect(changed)
    edit.validInputChanged.connect(changed)


def tick(selector: Any, nodes: Iterable[Any]) -> None:
    """Tick these nodes (None: one that was removed) in a qMRMLCheckableNodeComboBox and no others, without a signal."""
    import qt

    chosen = {node.GetID() for node in nodes if node is not None}
    blocked = selector.blockSignals(True)
    for number in range(selector.nodeCount()):
        node = selector.nodeFromIndex(number)
        selector.setCheckState(node, qt.Qt.Checked if node.GetID() in chosen else qt.Qt.Unchecked)
    selector.blockSignals(blocked)
