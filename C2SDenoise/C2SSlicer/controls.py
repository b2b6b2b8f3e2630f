"""What the controls of Slicer need more than plain connecting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

LEAST_DECIMALS = 4


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


def show_number(box: Any, value: float, scale: float) -> None:
    """Give a QDoubleSpinBox the decimals to show `value`, and to enter others of the size of `scale`; no signal."""
    decimals = max(LEAST_DECIMALS, _decimals(scale))
    if abs(round(value, decimals) - value) > 1e-3 * value:
        decimals = _decimals(value)
    if box.decimals != decimals:
        blocked = box.blockSignals(True)
        box.setDecimals(decimals)
        box.setValue(value)
        box.blockSignals(blocked)


def _decimals(value: float) -> int:
    """Decimals that show four digits."""
    return max(0, 3 - math.floor(math.log10(value))) if value > 0 else 0
