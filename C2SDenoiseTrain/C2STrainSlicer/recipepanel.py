"""The section Recipe of the panel: preset or file, starting model, and every setting in a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from C2SCore.config import TrainConfig
from C2SCore.errors import UserError
from C2SSlicer import models
from C2SSlicer.controls import on_path
from C2STrainSlicer import recipe

PRESETS = ("quick", "standard", "paper")


class RecipePanel:
    """`act` as for `DataPanel`; `on_change` is called when the recipe changes."""

    def __init__(self, ui: Any, act: Callable[..., None], on_change: Callable[[], None]) -> None:
        self.ui, self._act, self._on_change = ui, act, on_change
        self._parameters: Any = None
        self._updating = False
        self._shown: dict[str, Any] = {}
        self._fixed: dict[str, str] = {}
        self._stale = False  # the table shows what was typed, which may not hold
        words = {
            "quick": _("Quick: a few scans, minutes"),
            "standard": _("Standard: a folder of scans, hours without a GPU"),
            "paper": _("Paper: as published, long"),
        }
        for name in PRESETS:
            ui.presetBox.addItem(words[name], name)
        ui.presetBox.currentIndexChanged.connect(self._on_preset)
        on_path(ui.recipeFileEdit, self._on_file)
        ui.initialBox.currentIndexChanged.connect(self._on_initial)
        ui.resetButton.clicked.connect(self._on_reset)
        table = ui.recipeTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Setting"), _("Value")])
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().setVisible(False)
        table.itemChanged.connect(self._on_edited)

    def set_parameters(self, parameters: Any) -> None:
        self._parameters = parameters
        if parameters is None:
            return
        blocked = self.ui.presetBox.blockSignals(True)
        self.ui.presetBox.setCurrentIndex(max(self.ui.presetBox.findData(parameters.preset), 0))
        self.ui.presetBox.blockSignals(blocked)
        self.ui.recipeFileEdit.setCurrentPath(parameters.recipeFile)
        self.fill_models()
        self.update()

    @property
    def overrides(self) -> dict[str, Any]:
        """What the user changed in the table, by dotted name."""
        text = self._parameters.overrides if self._parameters is not None else ""
        return dict(json.loads(text)) if text else {}

    def config(self) -> TrainConfig:
        """The recipe as it stands; `UserError` for what cannot work."""
        p = self._parameters
        try:
            return recipe.resolve(p.preset, p.recipeFile, self.overrides, p.initial, p.minutes, p.heldBack)
        except ModuleNotFoundError as error:
            raise UserError(
                f"The recipes cannot be read before the Python package {error.name} is installed. Start offers to "
                "install it."
            ) from error

    def update(self) -> None:
        """Show the recipe in the table."""
        if self._parameters is None or self._updating:
            return
        box = self.ui.initialBox
        if box.count and (box.itemData(box.currentIndex) or "") != self._parameters.initial:  # a script chose
            self.fill_models()
        self._updating = True
        try:
            self._act(self._fill)
        finally:
            self._updating = False

    def _fill(self) -> None:
        values, table, p = recipe.flat(self.config().to_dict()), self.ui.recipeTable, self._parameters
        self._name_budget()
        changed = self.overrides
        fixed = recipe.elsewhere(values, changed, p.minutes)
        if values == self._shown and fixed == self._fixed and not self._stale:
            return
        self._shown, self._fixed, self._stale = values, fixed, False
        blocked = table.blockSignals(True)
        table.setRowCount(len(values))
        for number, (name, value) in enumerate(values.items()):
            text = value if isinstance(value, str) else json.dumps(value)
            if name == "steps" and name in fixed:
                text = _("as many as fit")
            for column, words in enumerate((name, text)):
                item = qt.QTableWidgetItem(words)
                item.setToolTip(f"{recipe.TOOLTIPS.get(name, name)} {fixed.get(name, '')}".strip())
                flags = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled
                item.setFlags(flags | qt.Qt.ItemIsEditable if column == 1 and name not in fixed else flags)
                font = item.font()
                font.setBold(name in changed and name not in fixed)
                item.setFont(font)
                table.setItem(number, column, item)
        table.resizeColumnToContents(0)
        table.blockSignals(blocked)
        self.ui.resetButton.setEnabled(bool(changed))

    def _name_budget(self) -> None:
        """What the time of 0 stands for: the budget of the recipe itself."""
        p = self._parameters
        own = recipe.resolve(p.preset, p.recipeFile, self.overrides, p.initial)
        text = _("{minutes} min (recipe)").format(minutes=f"{own.minutes:g}")
        if not own.minutes:
            text = _("{steps} steps (recipe)").format(steps=own.steps)
        self.ui.minutesSpinBox.setSpecialValueText(text)

    def fill_models(self) -> None:
        """Models to start from; one that is chosen and gone is among them, or nobody could choose another."""
        if self._parameters is None:
            return
        box, chosen = self.ui.initialBox, self._parameters.initial
        blocked = box.blockSignals(True)
        box.clear()
        box.addItem(_("what the recipe says"), "")
        box.addItem(_("nothing (from scratch)"), recipe.SCRATCH)
        for entry in models.entries():
            box.addItem(models.label(entry), entry.name)
        if chosen and box.findData(chosen) < 0:
            is_file = chosen.endswith(".safetensors") and Path(chosen).is_file()  # by a script
            box.addItem(Path(chosen).stem if is_file else _("{name} (missing)").format(name=chosen), chosen)
        box.setCurrentIndex(max(box.findData(chosen), 0))
        box.blockSignals(blocked)

    def _on_preset(self, index: int) -> None:
        if self._parameters is not None and index >= 0:
            self._parameters.preset = self.ui.presetBox.itemData(index)
            self._changed()

    def _on_file(self, path: str) -> None:
        if self._parameters is not None and path != self._parameters.recipeFile:
            self._parameters.recipeFile = path
            self._changed()

    def _on_initial(self, index: int) -> None:
        if self._parameters is not None and index >= 0:
            self._parameters.initial = self.ui.initialBox.itemData(index)
            self._changed()

    def _on_reset(self) -> None:
        if self._parameters is not None:
            self._parameters.overrides = ""
            self._changed()

    def _on_edited(self, item: Any) -> None:
        if self._parameters is None or self._updating or item.column() != 1:
            return
        name = list(self._shown)[item.row()]
        if name in self._fixed:  # the mouse cannot, a script can
            self._stale = True
            self._changed()
            return
        before, kept = self._parameters.overrides, self.overrides
        kept[name] = recipe.parse(item.text(), self._shown[name])
        self._parameters.overrides = json.dumps(kept)

        def check() -> None:
            try:
                self.config()
            except UserError:
                self._parameters.overrides = before
                raise

        self._stale = True  # also after a refusal
        self._act(check)
        self._changed()

    def _changed(self) -> None:
        self.update()
        self._on_change()
