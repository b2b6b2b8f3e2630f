"""The section Train of the panel: start, pause, stop, resume, look."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from C2SCore import card as cards
from C2SCore import trainrecord
from C2SCore.trainrecord import Record
from C2SSlicer import job, status
from C2SSlicer.controls import on_path
from C2STrainSlicer import trainrun
from C2STrainSlicer.modelpanel import ModelPanel
from C2STrainSlicer.monitor import Monitor
from C2STrainSlicer.trainrun import Training

FOLDERS = "C2SDenoiseTrain/Folders"  # where trainings were put, for the offer to resume


class TrainPanel:
    """`act` as for `DataPanel`; `start` and `resume` make a training with the callbacks that they are given.

    `on_models` is called when a model has come or gone.
    """

    def __init__(
        self,
        ui: Any,
        act: Callable[..., None],
        start: Callable[..., Training],
        resume: Callable[..., Training],
        on_models: Callable[[], None],
    ):
        self.ui, self._act, self._start, self._resume, self._on_models = ui, act, start, resume, on_models
        self.monitor = Monitor(lambda step: job.shared(trainrun.WORKER).defer(step))
        self.models = ModelPanel(ui, act, self._say, self._models_changed)
        self.training: Training | None = None
        self.message = ""  # what happened last
        self.hint = self.offer = ""  # what to do when nothing has happened yet; the training that could be resumed
        ui.startButton.clicked.connect(self._on_start)
        ui.pauseButton.clicked.connect(self._on_pause)
        ui.stopButton.clicked.connect(self._on_stop)
        ui.showButton.pressed.connect(self._on_show_pressed)
        ui.showButton.toggled.connect(self._on_show)
        ui.resumeButton.clicked.connect(self._on_resume)
        ui.discardButton.clicked.connect(self._on_discard)
        on_path(ui.resumePathEdit, self._on_resume_path)
        ui.reportButton.clicked.connect(self._on_report)

    @property
    def busy(self) -> bool:
        return self.training is not None and not self.training.finished

    def attach(self) -> None:
        """The module is opened: show the training that goes on, offer those that could be resumed."""
        active = trainrun.running()
        if active is not None and active is not self.training:  # a script has begun it, and is told of it too
            self.training, self.message = active, ""
            active.watch(self._changed, self._ended)
            self.monitor.clear()
        self._fill_unfinished()
        self.models.fill()
        self.update()

    def close(self) -> None:
        """The module goes: the training ends after saving what it has."""
        self.monitor.hide()
        if self.training is not None:
            self.training.unwatch(self._changed, self._ended)
            if not self.training.finished:
                self.training.wants_report = False
                self.training.stop()
        job.close(trainrun.WORKER)

    def scene_closes(self) -> None:
        """Volumes that are not in files yet go; those of the next scene may have the same identifiers."""
        if self.training is not None and self.training.state == "preparing":
            self.training.stop()
        self.ui.showButton.setChecked(False)  # which hides the monitor
        self.monitor.clear()

    # ---- the training

    def _on_start(self) -> None:
        self._begin(self._start)

    def _begin(self, make: Callable[..., Training]) -> None:
        def act() -> None:
            self.message = ""
            self.training = make(self._changed, self._ended)
            self.monitor.clear()  # not before: what is refused leaves the curves of the last one
            remember_folder(self.training.plan.out.parent)
            # A change of the layout takes time of its own: in between, the window answers.
            job.shared(trainrun.WORKER).defer(self._show_views)
            self._changed(self.training)

        self._act(act)
        self.update()

    def _show_views(self) -> None:
        if self.busy:  # it may have ended by now, and the module with it
            self.ui.showButton.setChecked(True)

    def _on_pause(self) -> None:
        if self.training is not None:
            self.training.pause(self.training.state != "paused")

    def _on_stop(self) -> None:
        if self.training is not None:
            self.training.stop()

    def _on_show_pressed(self) -> None:
        """Before it is toggled: where the views were left by Slicer's own menu of layouts, it brings them back."""
        if not self.monitor.shown:
            self.ui.showButton.setChecked(False)

    def _on_show(self, on: bool) -> None:
        self._act(self.monitor.show if on else self.monitor.hide)

    def _changed(self, training: Training) -> None:
        def act() -> None:
            self.monitor.update(training.history, training.preview, training.step)
            self._show_progress(training)

        self._act(act)

    def _ended(self, training: Training) -> None:
        def act() -> None:
            self.monitor.update(training.history, training.preview, training.step)
            if training.failure is not None:
                if training.failure.traceback:
                    self.log(training.failure.traceback)
                self.message = status.failed(failure_text(training)).replace("\n", "<br>")
            else:
                self.message = status.plain(_end_text(training))
            self.models.fill(training.plan.out.stem if training.plan.out.exists() else "")
            if training.plan.resumable:  # so it is said that Resume goes on with it
                self.ui.resumePathEdit.setCurrentPath("")
                self._fill_unfinished(str(training.plan.folder))
            self._models_changed()

        self._act(act)
        self.update()

    def log(self, text: str) -> None:
        self.ui.logText.appendPlainText(text)

    def update(self) -> None:
        """Buttons and lines as the training's state wants them."""
        ui, training, busy = self.ui, self.training, self.busy
        ui.startButton.setEnabled(not busy)
        ui.startButton.setText(_("Start training"))
        pausable = busy and training.state in ("running", "paused")
        ui.pauseButton.setEnabled(pausable)
        ui.pauseButton.setText(_("Go on") if busy and training.state == "paused" else _("Pause"))
        self._show_stop(training.state if busy else "")
        ui.progressBar.setVisible(busy)
        for section in (ui.dataSection, ui.recipeSection, ui.modelSection):
            section.setEnabled(not busy)
        for button in (ui.resumeButton, ui.discardButton):
            button.setEnabled(not busy and bool(self._chosen_folder()))
        sentence = str(training.numbers.get("sentence", "")) if training is not None and not busy else ""
        ui.resultLabel.setText(sentence)
        ui.resultLabel.setVisible(bool(sentence))
        has_report = training is not None and Path(training.report).is_file()  # it goes with model or training
        ui.reportButton.setEnabled(has_report)
        if busy:
            self._show_progress(training)
        elif self.message:
            ui.statusLabel.setText(self.message)
        else:
            ui.statusLabel.setText(self.offer or self.hint)

    def _show_progress(self, training: Training) -> None:
        ui = self.ui
        if training.finished:
            return
        fraction = self._fraction(training)
        ui.progressBar.setMaximum(0 if fraction is None else 1000)
        if fraction is not None:
            ui.progressBar.setValue(round(1000 * fraction))
        pausable = training.state in ("running", "paused")
        if ui.pauseButton.enabled != pausable:
            ui.pauseButton.setEnabled(pausable)
        ui.pauseButton.setText(_("Go on") if training.state == "paused" else _("Pause"))
        self._show_stop(training.state)
        ui.statusLabel.setText(progress_text(training))

    def _show_stop(self, state: str) -> None:
        """`state` of the training, empty: none goes on. Its report takes long where BM3D is compared."""
        button, reporting = self.ui.stopButton, state == "reporting"
        button.setEnabled(state not in ("", "stopping"))
        button.setText(_("Skip report") if reporting else _("Stop"))
        if reporting:
            button.setToolTip(_("Use the model without a report: the training has ended."))
        else:
            button.setToolTip(_("End now and keep the best model so far; it can be resumed."))

    def _fraction(self, training: Training) -> float | None:
        """Of the scans while they are read, then of the training. None: unknown."""
        if training.stage not in ("train", "paused") or training.state not in ("running", "paused"):
            done, total = training.part
            return done / total if total > 1 else None
        return training.fraction

    def _models_changed(self) -> None:
        self._fill_unfinished()
        self._on_models()

    # ---- resuming

    def _fill_unfinished(self, chosen: str = "") -> None:
        """List them; `chosen` is shown, else the one that was."""
        box = self.ui.resumeBox
        chosen = chosen or (box.itemData(box.currentIndex) if box.count else "")
        box.clear()
        active = self.training.plan.folder if self.busy else None
        folders = [cards.models_folder(), *remembered_folders()]
        found = [record for record in trainrecord.unfinished(folders) if record.folder != active]
        for plan in found:
            box.addItem(plan.out.stem, str(plan.folder))
            box.setItemData(box.count - 1, str(plan.out.parent), qt.Qt.ToolTipRole)
        box.setCurrentIndex(max(box.findData(chosen), 0) if found else -1)
        box.setEnabled(bool(found))
        words = _("The training {name} was not finished. Resume goes on with it.")
        self.offer = words.format(name=box.currentText) if found else ""

    def _chosen_folder(self) -> str:
        path = self.ui.resumePathEdit.currentPath
        return path or (self.ui.resumeBox.itemData(self.ui.resumeBox.currentIndex) if self.ui.resumeBox.count else "")

    def _on_resume_path(self, path: str) -> None:
        self.update()

    def _on_resume(self) -> None:
        folder = self._chosen_folder()
        self._begin(lambda changed, ended: self._resume(folder, changed, ended))

    def _on_discard(self) -> None:
        def act() -> None:
            plan = Record.load(self._chosen_folder())
            question = _("Discard what the training {name} has learnt so far?").format(name=plan.out.stem)
            if plan.out.exists():
                question += " " + _("The model that it has made already stays.")
            if slicer.util.confirmOkCancelDisplay(question, "C2S Train"):
                plan.discard()
                self.ui.resumePathEdit.setCurrentPath("")
                self._fill_unfinished()
                self._say(_("The training {name} was discarded.").format(name=plan.out.stem))

        self._act(act)

    # ---- what came of it

    def _on_report(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self.training.report))

    def _say(self, text: str) -> None:
        self.message = status.plain(text)
        self.update()


def progress_text(training: Training) -> str:
    """One line while it goes on: pass over the slices, step, time left, device, memory."""
    words = {"preparing": _("Preparing"), "paused": _("Paused"), "stopping": _("Stopping; the best so far is kept")}
    stages = {"prepare": _("Measuring the noise of the scans"), "train": _("Training")}
    parts = [words.get(training.state) or stages.get(training.stage, training.stage)]
    if training.state == "preparing":
        parts = [training.stage]
    elif training.stage in ("Reading scans", "prepare") and training.state == "running":
        parts.append(
            _("{done} of {total}").format(done=min(training.part[0] + 1, training.part[1]), total=training.part[1])
        )
    if training.step:
        parts.append(_("step {step}").format(step=training.step))
        slices = training.plan.slices
        if slices:
            passes = training.step * int(training.plan.config.get("batch", 1)) / slices
            parts.append(_("epoch {number}").format(number=f"{passes:.1f}"))
    if training.seconds_left is not None and training.state == "running":
        parts.append(_("{time} left").format(time=status.duration(training.seconds_left)))
    if training.device:
        parts.append(status.device_name(training.device))
    if training.memory:
        parts.append(f"{training.memory / 2**30:.1f} GB")
    return ", ".join(parts)


def failure_text(training: Training) -> str:
    """What happened; where something was saved, the way on is Resume."""
    failure = training.failure
    if not training.plan.resumable:
        advice = failure.advice.replace("Apply again", "Start again").replace("apply again", "start again")
        return f"{failure.message} {advice}".strip()
    advice = re.sub(",? or crop the volume", "", failure.advice)  # its scans are those that it has
    advice = re.sub("(apply|start) again", "resume", advice).replace("Apply again", "Resume")
    return " ".join(filter(None, [failure.message, advice, _("Resume goes on from what was saved last.")]))


def _end_text(training: Training) -> str:
    if training.state == "done":
        text = _("Done: the model {name} is ready.").format(name=training.plan.out.stem)
        if training.plan.out.parent == cards.models_folder():
            return text
        return text + " " + _("Import {path} under My models to use it here.").format(path=training.plan.out)
    if training.plan.out.exists():
        return _("Stopped. The best so far is the model {name}; Resume goes on.").format(name=training.plan.out.stem)
    if training.plan.resumable:
        return _("Stopped. What was saved last is kept; Resume goes on.")
    return _("Stopped before the first look at the held-back slices, so there is no model yet.")


def remembered_folders() -> list[str]:
    text = slicer.util.settingsValue(FOLDERS, "")
    return [folder for folder in str(text or "").split("\n") if folder]


def remember_folder(folder: Path) -> None:
    folders = list(dict.fromkeys([str(folder), *remembered_folders()]))[:10]
    qt.QSettings().setValue(FOLDERS, "\n".join(folders))
