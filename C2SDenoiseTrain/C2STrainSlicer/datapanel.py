"""The section Data of the panel: which scans, what they are, and how they make cases."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from C2SCore import guidance
from C2SCore.errors import UserError
from C2SSlicer.controls import on_path, tick
from C2STrainSlicer import matching, scans
from C2STrainSlicer.inspection import Inspection
from C2STrainSlicer.matching import Case
from C2STrainSlicer.scans import Row
from C2STrainSlicer.table import ScanTable

Action = Callable[..., None]


class DataPanel:
    """`act(function, ...)` runs a function and shows what goes wrong; `on_change` is called when the cases change.

    `prepare` asks for the Python packages that reading scans needs; `on_read` is called when scans were read.
    """

    def __init__(
        self,
        ui: Any,
        act: Action,
        prepare: Callable[[], None],
        on_change: Callable[[], None],
        on_read: Callable[[], None],
    ) -> None:
        self.ui, self._act, self._prepare, self._on_change, self._read = ui, act, prepare, on_change, on_read
        self._parameters: Any = None
        self._updating = False
        self.table = ScanTable(ui.scanTable, self._edited)
        self.inspection = Inspection(self._row_found, self._progressed, self._inspected)
        self._text = ""
        self._matched: tuple[tuple[Any, ...], tuple[list[Case], list[str]]] | None = (
            None  # what was asked, and answered
        )
        ui.volumeSelector.checkedNodesChanged.connect(self._on_volumes)
        ui.readButton.clicked.connect(self._on_read)
        ui.clearButton.clicked.connect(self._on_clear)
        ui.targetBox.currentIndexChanged.connect(self._on_target)
        ui.helpersList.itemChanged.connect(self._on_helper)
        on_path(ui.dataFolderEdit, self._on_folder)
        self._settle = qt.QTimer()
        self._settle.setSingleShot(True)
        self._settle.setInterval(50)  # rows come in bursts
        self._settle.timeout.connect(self.update)

    @property
    def rows(self) -> list[Row]:
        return self.table.rows

    @property
    def helpers(self) -> list[str]:
        """The helping contrasts, in their order; none without a target."""
        target = self._parameters.target if self._parameters else ""
        return [name for name in self._ticked() if name != target] if target else []

    def _ticked(self) -> list[str]:
        """What was ticked; also what is no helper for now, because it is the target or there is none."""
        return list(json.loads(self._parameters.helpers)) if self._parameters.helpers else []

    def set_parameters(self, parameters: Any) -> None:
        self._parameters = parameters
        if parameters is None:
            return
        self.table.edits = parameters.edits
        if self.table.edits != parameters.edits:  # the scene is new, and scans of a folder stay
            parameters.edits = self.table.edits
        self.ui.dataFolderEdit.setCurrentPath(parameters.dataFolder)
        tick(self.ui.volumeSelector, self._parameters.volumes)
        self._sync_volumes()
        self.update()

    def close(self) -> None:
        self._settle.stop()
        self.inspection.close()

    def scene_closes(self) -> None:
        self._settle.stop()
        self.inspection.stop()
        self.table.remove(lambda row: not row.node)

    def cases(self) -> tuple[list[Case], list[str]]:
        """Cases of the present choices, and lines on what is left out; `UserError` for a pattern that cannot work."""
        p = self._parameters
        question = (self.table.version, p.target, self.helpers, p.pattern.strip())
        if self._matched is None or self._matched[0] != question:  # asked often, and long for thousands of scans
            self._matched = (question, matching.match(self.rows, *question[1:]))
        return self._matched[1]

    def update(self) -> None:
        """Bring contrasts, matches and summary up to date."""
        if self._parameters is None or self._updating:
            return
        self._updating = True
        try:
            self._act(self._update)
        finally:
            self._updating = False
        self._on_change()

    def _update(self) -> None:
        self.table.remove(lambda row: not row.node or slicer.mrmlScene.GetNodeByID(row.node) is not None)
        self._rename()
        with contextlib.suppress(UserError):  # `problem` says it
            self.table.name_contrasts(self._parameters.pattern.strip())
        self._fill_contrasts()
        usable = [row for row in self.rows if row.usable]
        broken = sum(1 for row in self.rows if row.problem)
        if self.inspection.busy:
            text = self._text or _("Reading scans…")
        elif not self.rows:
            text = _("Tick volumes of the scene, or choose a folder and press Read.")
        else:
            text = _("{used} of {all}, {slices}.").format(
                used=len(usable),
                all=guidance.counted(len(self.rows), "scan"),
                slices=guidance.counted(sum(row.slices for row in usable), "slice"),
            )
            if broken:
                text += " " + _("{number} cannot be used; the note says why.").format(number=broken)
        self.ui.dataLabel.setText(text)
        self.ui.readButton.setText(_("Stop") if self.inspection.reading else _("Read"))
        problem = self.problem()
        self.ui.matchLabel.setText(problem or (matching.summary(*self.cases(), self.helpers) if usable else ""))

    def _rename(self) -> None:
        """Volumes can be renamed in the scene."""
        for row in [row for row in self.rows if row.node]:
            name = slicer.mrmlScene.GetNodeByID(row.node).GetName()
            if name != row.text:
                self.table.add(scans.renamed(row, name))

    def problem(self) -> str:
        """What is wrong with the name pattern; empty if nothing."""
        try:
            self.cases()
        except UserError as error:
            return str(error)
        return ""

    def warnings(self, config: dict[str, Any]) -> list[str]:
        return [] if self.problem() else guidance.warnings([case.target.seen for case in self.cases()[0]], config)

    # ---- which scans

    def _on_folder(self, path: str) -> None:
        if self._parameters is not None and path != self._parameters.dataFolder:
            self._parameters.dataFolder = path

    def _on_read(self) -> None:
        if self.inspection.reading:
            self.inspection.stop_folder()
            return

        def act() -> None:
            self._prepare()
            self.inspection.folder(self._parameters.dataFolder)
            self.table.remove(lambda row: not row.path or Path(row.path.partition("::")[0]).exists())
            self.update()

        self._act(act)

    def _on_clear(self) -> None:
        self.inspection.stop()
        self.table.remove(lambda row: False)
        self._parameters.volumes = []
        tick(self.ui.volumeSelector, self._parameters.volumes)
        self.update()

    def _on_volumes(self) -> None:
        if self._parameters is not None and not self._updating:
            self._parameters.volumes = list(self.ui.volumeSelector.checkedNodes())
            self._act(self._prepare)
            self._act(self._sync_volumes)
            self.update()

    def _sync_volumes(self) -> None:
        """Rows of volumes that are no longer ticked go; new ones are looked at."""
        if self._parameters is None:  # another module was opened while something was installed
            return
        chosen = self._chosen()
        self.table.remove(lambda row: not row.node or row.node in chosen)
        known = {row.node for row in self.rows}
        self.inspection.nodes([identifier for identifier in chosen if identifier not in known])

    def _chosen(self) -> list[str]:
        """The ids of the volumes that are ticked."""
        return [node.GetID() for node in self._parameters.volumes if node is not None]

    # ---- what is found

    def _row_found(self, row: Row) -> None:
        if row.node and slicer.mrmlScene.GetNodeByID(row.node) is None:
            return
        if row.node and self._parameters is not None and row.node not in self._chosen():
            return  # it was unticked while it was being read
        self.table.add(row)
        self._settle.start()

    def _progressed(self, done: int, total: int) -> None:
        self._text = _("Reading scan {done} of {total}…").format(done=done + 1, total=total)
        self.ui.dataLabel.setText(self._text)

    def _inspected(self, problem: str) -> None:
        self._text = ""
        if not problem:
            self._read()
        self.update()
        if problem:
            self.ui.dataLabel.setText(problem)

    # ---- contrasts

    def _edited(self) -> None:
        if self._parameters is not None:
            self._parameters.edits = self.table.edits
            self.update()

    def _fill_contrasts(self) -> None:
        names, p, box, listed = matching.contrasts(self.rows), self._parameters, self.ui.targetBox, self.ui.helpersList
        entries = [(_("all scans"), ""), *((name, name) for name in names)]
        if p.target and p.target not in names:  # it holds, so it is shown: or nobody could choose another
            entries.append((self._absent(p.target), p.target))
        blocked = box.blockSignals(True)
        if [(box.itemText(n), box.itemData(n) or "") for n in range(box.count)] != entries:
            box.clear()
            for text, name in entries:
                box.addItem(text, name)
        box.setCurrentIndex([name for _text, name in entries].index(p.target))
        box.blockSignals(blocked)
        helpers = self.helpers
        others = [(name, name) for name in names if name != p.target] if p.target else []
        others += [(self._absent(name), name) for name in helpers if name not in names]
        if [(listed.item(n).text(), listed.item(n).data(qt.Qt.UserRole)) for n in range(listed.count)] != others:
            blocked = listed.blockSignals(True)
            listed.clear()
            for text, name in others:
                item = qt.QListWidgetItem(text)
                item.setData(qt.Qt.UserRole, name)
                item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
                item.setCheckState(qt.Qt.Checked if name in helpers else qt.Qt.Unchecked)
                listed.addItem(item)
            listed.blockSignals(blocked)
        for widget in (self.ui.targetLabel, box):
            widget.setVisible(len(names) > 1 or bool(p.target))
        for widget in (self.ui.helpersLabel, listed):
            widget.setVisible(bool(others))
        for widget in (self.ui.patternLabel, self.ui.patternEdit):  # also where no name says a contrast: it finds them
            widget.setVisible(len(self.rows) > 1 or bool(p.pattern.strip()))

    def _absent(self, name: str) -> str:
        """How a contrast is called that no scan has; as long as there is nothing to see, as it is."""
        known = self.rows and not self.inspection.busy
        return _("{name} (none here)").format(name=name) if known else name

    def _on_target(self, index: int) -> None:
        if self._parameters is not None and not self._updating and index >= 0:
            self._parameters.target = self.ui.targetBox.itemData(index)
            self.update()

    def _on_helper(self, item: Any) -> None:
        if self._parameters is not None and not self._updating:
            self._keep_helpers()
            self.update()

    def _keep_helpers(self) -> None:
        listed = self.ui.helpersList
        items = [listed.item(n) for n in range(listed.count)]
        ticked = [item.data(qt.Qt.UserRole) for item in items if item.checkState() == qt.Qt.Checked]
        hidden = [name for name in self._ticked() if name == self._parameters.target]
        self._parameters.helpers = json.dumps(ticked + hidden)


def plan_cases(cases: list[Case]) -> list[dict[str, Any]]:
    """The cases as `TrainJob` takes them, one for each frame; volumes of the scene as "node ID", see `trainrun`."""
    planned = []
    for case in cases:
        row = case.target
        target = row.path or f"node {row.node}"
        base = {
            "name": case.name,
            "target": target,
            "auxiliary": [helper.path or f"node {helper.node}" for helper in case.helpers],
            "group": row.group or None,
            "reference": target,
        }
        if (row.path and any(helper.node for helper in case.helpers)) or (
            row.node and any(h.path for h in case.helpers)
        ):
            raise UserError(
                f"{case.name} mixes files and volumes of the scene; a case is one or the other. Load the files, or "
                "save the volumes."
            )
        frames = row.frames if row.path and not Path(row.path).suffix == ".npy" else 1
        planned += [base | ({"frame": n, "name": f"{case.name} {n + 1}"} if frames > 1 else {}) for n in range(frames)]
    return planned
