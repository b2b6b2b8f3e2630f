"""The section My models of the panel: use, edit the card, export, import, remove."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from C2SCore import card as cards
from C2SCore.errors import UserError
from C2SSlicer import models
from C2STrainSlicer import library


class ModelPanel:
    """`act` as for `DataPanel`; `say` shows a line where the user looks; `on_change`: a model has come or gone."""

    def __init__(
        self, ui: Any, act: Callable[..., None], say: Callable[[str], None], on_change: Callable[[], None]
    ) -> None:
        self.ui, self._act, self._say, self._on_change = ui, act, say, on_change
        self._card: tuple[str, cards.Card] | None = None  # of which model, as it is in the file
        ui.useButton.clicked.connect(self._on_use)
        ui.exportButton.clicked.connect(self._on_export)
        ui.importButton.clicked.connect(self._on_import)
        ui.removeButton.clicked.connect(self._on_remove)
        ui.cardButton.clicked.connect(self._on_card)
        ui.ownBox.currentIndexChanged.connect(self._on_own)

    def fill(self, chosen: str = "") -> None:
        """List the user's own models; `chosen` is shown."""
        box = self.ui.ownBox
        before = chosen or (box.itemData(box.currentIndex) if box.count else "")
        blocked = box.blockSignals(True)
        box.clear()
        for entry in library.own():
            box.addItem(entry.name, entry.name)
        box.setCurrentIndex(max(box.findData(before), 0) if box.count else -1)
        box.blockSignals(blocked)
        self._on_own(box.currentIndex)

    def _on_own(self, index: int) -> None:
        entry = next((e for e in library.own() if e.name == self._own()), None)
        self.ui.ownLabel.setText(models.summary(entry.card) if entry else _("No model of your own yet."))
        self.ui.ownBox.setToolTip(models.details(entry) if entry else _("Models that were trained or imported here."))
        for widget in (self.ui.useButton, self.ui.exportButton, self.ui.removeButton, self.ui.cardSection):
            widget.setEnabled(entry is not None)
        card = (entry.name, entry.card) if entry else None
        if card != self._card:  # else what is typed just now stays
            self._card = card
            for name, edit in self._card_edits().items():
                edit.setText(_shown(entry.card, name) if entry else "")

    def _card_edits(self) -> dict[str, Any]:
        """The control of each field of the card that can be edited."""
        ui = self.ui
        return {
            "description": ui.cardDescriptionEdit,
            "contrasts": ui.cardContrastsEdit,
            "anatomy": ui.cardAnatomyEdit,
            "attribution": ui.cardAttributionEdit,
            "licence": ui.cardLicenceEdit,
            "note": ui.cardNoteEdit,
            "trained_on": ui.cardScansEdit,
        }

    def _on_card(self) -> None:
        def act() -> None:
            name = self._own()
            card = cards.read_card(cards.find_model(name))
            edits = {field: edit.text for field, edit in self._card_edits().items()}
            # Names of scans may have commas in them: what was not edited stays as it is.
            library.edit_card(name, {field: text for field, text in edits.items() if text != _shown(card, field)})
            self.fill(name)
            self._say(_("The card of {name} was saved.").format(name=name))

        self._act(act)

    def _own(self) -> str:
        box = self.ui.ownBox
        return box.itemData(box.currentIndex) if box.count else ""

    def _on_use(self) -> None:
        """Open C2S Denoise with this model."""

        def act() -> None:
            from C2SDenoise import C2SDenoiseLogic

            C2SDenoiseLogic().getParameterNode().model = self._own()
            slicer.util.selectModule("C2SDenoise")

        self._act(act)

    def _on_export(self) -> None:
        def act() -> None:
            path = library.export(self._own(), self.ui.exportPathEdit.currentPath)
            said = _("Exported to {path}.").format(path=path)
            if cards.read_card(path).trained_on:
                said += _(
                    " Its card names the scans as their files are called. If those are names of patients, empty Scans "
                    "under Card of this model, and export again."
                )
            self._say(said)

        self._act(act)

    def _on_import(self) -> None:
        def act() -> None:
            path = self.ui.importPathEdit.currentPath
            if not path:
                raise UserError("No file is chosen. Choose a model file (.safetensors) and press Import.")
            name = models.import_file(path)
            self.fill(name)
            self._on_change()
            self._say(_("Imported as {name}.").format(name=name))

        self._act(act)

    def _on_remove(self) -> None:
        def act() -> None:
            name = self._own()
            question = _("Remove the model {name} and its training from this computer?").format(name=name)
            if slicer.util.confirmOkCancelDisplay(question, "C2S Train"):
                library.remove(name)
                self.fill()
                self._on_change()
                self._say(_("{name} was removed.").format(name=name))

        self._act(act)


def _shown(card: cards.Card, field: str) -> str:
    """A field of the card as one line."""
    value = getattr(card, field)
    return value if isinstance(value, str) else ", ".join(value)
