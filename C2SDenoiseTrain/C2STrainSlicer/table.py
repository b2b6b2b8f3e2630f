"""The table of scans: a row a scan, with thumbnail, measurements, and what the user may change."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import qt

from C2STrainSlicer import matching
from C2STrainSlicer.scans import Row

COLUMNS = {
    "Scan": (150, "Ticked: used for training."),
    "Contrast": (62, "Guessed from the name; click twice to change it."),
    "SNR": (42, "Signal over noise in the tissue: a first estimate, too low where there is much fine anatomy."),
    "Note": (125, "What to know of this scan, or why it cannot be used."),
    "Group": (70, "Scans of one patient or session; click twice to change it."),
    "σ": (50, "Estimated noise, in the scan's own unit."),
    "Size": (100, "Columns × rows × slices, and frames of a time series."),
}
NAME, CONTRAST, GROUP = 0, 1, 4


class ScanTable:
    """Rows in a QTableWidget; `on_change` is called when the user changes one. Choices are kept in `edits` (JSON).

    `version` counts the changes of the rows.
    """

    def __init__(self, widget: Any, on_change: Callable[[], None]) -> None:
        self.widget, self._on_change = widget, on_change
        self.rows: list[Row] = []
        self.version = 0
        self._edits: dict[str, dict[str, Any]] = {}
        self._filling = False
        widget.setColumnCount(len(COLUMNS))
        for number, (title, (width, tip)) in enumerate(COLUMNS.items()):
            item = qt.QTableWidgetItem(title)
            item.setToolTip(tip)
            widget.setHorizontalHeaderItem(number, item)
            widget.setColumnWidth(number, width)
        widget.setIconSize(qt.QSize(32, 32))
        widget.verticalHeader().setVisible(False)
        widget.verticalHeader().setDefaultSectionSize(36)
        widget.itemChanged.connect(self._changed)

    @property
    def edits(self) -> str:
        return json.dumps(self._edits)

    @edits.setter
    def edits(self, text: str) -> None:
        """Those of a scene; what was chosen for rows that are here, and of which it says nothing, stays."""
        here = {row.key for row in self.rows}
        kept = {key: choices for key, choices in self._edits.items() if key in here}
        self._edits = kept | (json.loads(text) if text else {})
        for number, row in enumerate(self.rows):
            if row.key in self._edits:
                self._choose(row)
                self._fill(number, row)

    def _choose(self, row: Row) -> None:
        """Apply what the user chose for it."""
        for name, value in self._edits.get(row.key, {}).items():
            if name in ("contrast", "group", "included"):
                setattr(row, name, value)
        self.version += 1

    def add(self, row: Row) -> None:
        """Append a row, or replace the one of the same scan; what the user chose for it before is applied."""
        self._choose(row)
        keys = [known.key for known in self.rows]
        number = keys.index(row.key) if row.key in keys else len(self.rows)
        if number == len(self.rows):
            self.rows.append(row)
            self.widget.setRowCount(len(self.rows))
        else:
            self.rows[number] = row
        self._fill(number, row)

    def name_contrasts(self, pattern: str) -> None:
        """Contrasts as a name pattern says, but for those that the user has changed."""
        free = [row for row in self.rows if "contrast" not in self._edits.get(row.key, {})]
        changed = {id(row) for row in matching.name_contrasts(free, pattern)}
        self.version += bool(changed)
        self._filling = True
        for number, row in enumerate(self.rows):
            if id(row) in changed:
                self.widget.item(number, CONTRAST).setText(row.contrast)
                self.widget.item(number, CONTRAST).setToolTip(row.problem or row.path or row.contrast)
        self._filling = False

    def remove(self, keep: Callable[[Row], bool]) -> None:
        """Take out the rows that `keep` does not want."""
        for number in reversed(range(len(self.rows))):
            if not keep(self.rows[number]):
                self.version += 1
                del self.rows[number]
                self.widget.removeRow(number)

    def _fill(self, number: int, row: Row) -> None:
        self._filling = True
        size = " × ".join(map(str, row.shape[::-1])) + (f" × {row.frames}" if row.frames > 1 else "")
        texts = (
            row.text,
            row.contrast,
            "" if row.snr is None else f"{row.snr:.1f}",
            row.notes,
            row.group,
            "" if row.sigma is None else f"{row.sigma:.3g}",
            size,
        )
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            flags = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled
            if column == NAME and not row.problem:
                flags = flags | qt.Qt.ItemIsUserCheckable
                item.setCheckState(qt.Qt.Checked if row.included else qt.Qt.Unchecked)
            if column in (CONTRAST, GROUP):
                flags = flags | qt.Qt.ItemIsEditable
            item.setFlags(flags)
            item.setToolTip(row.problem or row.path or text)
            if column == NAME and row.thumbnail:
                item.setIcon(qt.QIcon(qt.QPixmap(row.thumbnail)))
            if column == NAME and row.problem:  # white on red can be read in a dark theme too
                item.setForeground(qt.QBrush(qt.QColor("white")))
                item.setBackground(qt.QBrush(qt.QColor("#c0392b")))
            self.widget.setItem(number, column, item)
        self._filling = False

    def _changed(self, item: Any) -> None:
        if self._filling or not 0 <= item.row() < len(self.rows):
            return
        self.version += 1
        row, column = self.rows[item.row()], item.column()
        kept = self._edits.setdefault(row.key, {})
        if column == NAME:
            row.included = kept["included"] = item.checkState() == qt.Qt.Checked
        elif column == CONTRAST:
            row.contrast = kept["contrast"] = item.text().strip()
        elif column == GROUP:
            row.group = kept["group"] = item.text().strip()
        self._on_change()
