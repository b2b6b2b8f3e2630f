"""What the controls of C2S Denoise do. State lives in the parameter node; this class shows it and acts on it.

An exception in a slot would be printed and swallowed by PythonQt, so every action goes through `_act`, which shows it.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from C2SCore import events
from C2SCore.errors import UserError
from C2SSlicer import evidence, install, job, models, sequences, status, volumes
from C2SSlicer.belonging import Belonging
from C2SSlicer.compare import Comparison
from C2SSlicer.compare_controls import CompareControls
from C2SSlicer.controls import show_number, tick
from C2SSlicer.noise_watch import NoiseWatch, key_of
from C2SSlicer.refinement import Refinement
from C2SSlicer.run import Run
from C2SSlicer.volume_watch import VolumeWatch

SETTLED = 300  # milliseconds after the last move of the slider, when the result is measured again


class Panel:
    """The panel; `logic` does the denoising, `requirements` is the file that lists the Python packages."""

    def __init__(self, ui: Any, logic: Any, requirements: str) -> None:
        self.ui, self.logic = ui, logic
        self.comparison = Comparison()
        self.viewing = CompareControls(ui, self.comparison, lambda: self._parameters, self._act)
        self.run: Run | None = None
        self.refinement: Refinement | None = None
        self._denoised = ("", 0)  # the source of the run, as it was when that began
        self._requirements = install.requirements(requirements)
        self._parameters: Any = None
        self._updating = False
        self._sigma: Mapping[str, Any] = {}
        self._worker = job.shared()
        self._worker.on_log = self.log
        self._watch = NoiseWatch(self._worker, self._measured)
        self._volumes, self._belonging = VolumeWatch(self.update), Belonging(self._worker, self.update)
        self._evidence = evidence.Measurement(self._worker, self._evidence_measured)
        self._settled = qt.QTimer()
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLED)
        self._settled.timeout.connect(self._measure_evidence)
        self._failed = ""
        self._input = ""  # id of the volume that is chosen: what went wrong with another is no longer said
        self._connect()
        self.ui.setupLabel.setText(install.preflight(self._requirements))

    def _connect(self) -> None:
        ui = self.ui
        ui.applyButton.clicked.connect(self._on_apply)
        ui.contrastSelector.checkedNodesChanged.connect(self._on_contrasts)
        ui.modelBox.currentIndexChanged.connect(self._on_model)
        ui.importButton.clicked.connect(self._on_import)
        ui.detailSlider.valueChanged.connect(self._on_detail)
        ui.referenceSelector.currentNodeChanged.connect(self._on_reference)
        ui.logText.setMaximumBlockCount(job.LOG_LINES)

    def close(self) -> None:
        """The module goes: nothing of ours runs on, and the layout is as it was."""
        self._stop_all()
        self.comparison.close()
        self._worker.on_log = None

    def scene_closes(self) -> None:
        """What was made belongs to the scene that goes."""
        self._stop_all()
        self.viewing.hide()
        self.run = self.refinement = None
        self._failed = ""

    def _stop_all(self) -> None:
        self._settled.stop()
        self._volumes.stop()
        self._belonging.stop()
        self._watch.stop()
        self._evidence.stop()
        if self.run is not None and not self.run.finished:
            self.run.cancel()

    # ---- showing the state

    def set_parameters(self, parameters: Any) -> None:
        """Bind to the parameter node of a scene, or to none."""
        self._parameters = parameters
        if parameters is not None:
            self._fill_models()
            tick(self.ui.contrastSelector, parameters.otherContrasts)
            self.update()
            if self.refinement is not None:  # of a run that ended while another module was shown
                self._on_detail(parameters.detail)
        else:
            self._volumes.stop()
            self._belonging.stop()

    def parameters_changed(self) -> None:
        self.update()

    def update(self) -> None:
        """Bring every control up to date with parameters, scene and run."""
        if self._parameters is None or self._updating:
            return
        self._updating = True
        try:
            self._act(self._update)
        finally:
            self._updating = False

    def _update(self) -> None:
        ui, p = self.ui, self._parameters
        source, result = p.inputVolume, p.resultVolume
        running = self.run is not None and not self.run.finished
        frames = sequences.number_of_frames(source)
        chosen = source.GetID() if source is not None else ""
        if chosen != self._input:
            self._input, self._failed = chosen, ""
        for widget in (ui.framesLabel, ui.framesBox):
            widget.setVisible(frames > 1)
        ui.adaptMinutesSpinBox.setEnabled(p.adapt)
        ui.noiseLevelSpinBox.setEnabled(p.manualNoise)
        self._show_noise_level()
        for section in (ui.inputSection, ui.modelSection, ui.noiseSection):
            section.setEnabled(not running)
        for widget in (ui.outputSelector, ui.keepNoiseCheckBox, ui.keepUncertaintyCheckBox):
            widget.setEnabled(not running)
        self._update_model()
        self._update_noise(source)
        self._update_apply(source, running)
        comparable = result is not None and p.resultSource is not None and not running
        for button in (ui.sideBySideButton, ui.revealButton, ui.flickerButton):
            button.setEnabled(comparable)
        if self.comparison.shown and not comparable and not running:
            ui.sideBySideButton.setChecked(False)
        self._update_note(source, p.resultSource, result)
        self._update_evidence(result)
        self._volumes.look(source, p.resultSource, result)

    def _update_apply(self, source: Any, running: bool) -> None:
        button = self.ui.applyButton
        button.setText(_("Cancel") if running else _("Apply"))
        button.setEnabled(running or source is not None)
        if running:
            button.setToolTip(_("Stop; the scene stays as it was."))
        elif source is None:
            button.setToolTip(_("Choose a volume to denoise."))
        else:
            button.setToolTip(_("Denoise {name}; it is not changed.").format(name=source.GetName()))
        self.ui.progressBar.setVisible(running)
        state = self.run.state if self.run is not None and self.run.request.source == self._input else ""
        if running:
            self._show_progress(self.run)
        elif self._failed:
            self.ui.statusLabel.setText(status.failed(self._failed))
        elif state == "cancelled":
            self.ui.statusLabel.setText(_("Cancelled. The scene is as it was."))
        elif state == "done" and self._parameters.resultVolume is not None:
            self.ui.statusLabel.setText(status.done(self.run))
        else:
            ready = _("Ready.") if source is not None else _("Load a volume, or choose one under Input.")
            self.ui.statusLabel.setText(ready)

    def _update_model(self) -> None:
        entry = self._entry()
        if entry is None:
            self.ui.modelSummaryLabel.setText(_("There is no model. Import one."))
            return
        fit = models.fits(entry.card, self._sigma.get("sigma"), self._sigma.get("signal"))
        self.ui.modelSummaryLabel.setText(f"{models.summary(entry.card)} {fit}".strip())
        self.ui.modelBox.setToolTip(models.details(entry))
        needed = entry.card.auxiliary
        self.ui.contrastSelector.setEnabled(bool(needed))
        self.ui.contrastLabel.setEnabled(bool(needed))

    def _update_noise(self, source: Any) -> None:
        if source is None or source.GetImageData() is None:
            self._sigma = {}
            self._watch.stop()
            self.ui.measuredLabel.setText("–")
        elif self.run is None or self.run.finished:
            if not self._watch.knows(source):
                self.ui.measuredLabel.setText(_("measuring…"))
            self._watch.look(source)

    def _update_note(self, chosen: Any, source: Any, result: Any) -> None:
        """Say so where source and result do not belong together any more, or where another volume is chosen: side by
        side, and beside the evidence, nothing else would show it.
        """
        note = self._belonging.note(source, result)
        if not note and result is not None and chosen not in (None, source, result):
            note = f"Views and evidence are those of {result.GetName()}. Apply to denoise {chosen.GetName()}."
        self.ui.noteLabel.setText(status.plain(note))
        self.ui.noteLabel.setVisible(bool(note))

    def _update_evidence(self, result: Any) -> None:
        text = self._parameters.evidence
        numbers = json.loads(text) if text and result is not None else {}
        ui = self.ui
        ui.verdictLabel.setText(evidence.sentence(numbers) if numbers else _("Appears here after a run."))
        ui.evidenceLabel.setText(evidence.as_html(numbers))
        ui.evidenceLabel.setToolTip(evidence.explanation(numbers) or _("Numbers measured on this result."))
        ui.evidenceLabel.setVisible(bool(numbers))

    def _act(self, action: Callable[..., Any], *arguments: Any) -> None:
        """Do it, and show what goes wrong where the user looks."""
        try:
            action(*arguments)
        except UserError as error:
            self._fail(str(error))
        except Exception as error:
            self.log(traceback.format_exc())
            self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, message: str) -> None:
        self._failed = message
        self.ui.statusLabel.setText(status.failed(message))

    def log(self, text: str) -> None:
        self.ui.logText.appendPlainText(text)

    # ---- input and model

    def _fill_models(self) -> None:
        box = self.ui.modelBox
        blocked = box.blockSignals(True)
        box.clear()
        for entry in models.entries():
            box.addItem(models.label(entry), entry.name)
        index = box.findData(self._parameters.model)
        box.setCurrentIndex(max(index, 0) if box.count else -1)
        box.blockSignals(blocked)
        if box.count:
            self._on_model(box.currentIndex)

    def _entry(self) -> Any:
        return next((e for e in models.entries() if e.name == self._parameters.model), None)

    def _on_model(self, index: int) -> None:
        if self._parameters is not None and index >= 0:
            self._parameters.model = self.ui.modelBox.itemData(index)

    def _on_import(self) -> None:
        def act() -> None:
            path = self.ui.importPathEdit.currentPath
            if not path:
                raise UserError("No file is chosen. Choose a model file (.safetensors) and press Import.")
            self._parameters.model = models.import_file(path)
            self._fill_models()
            self._failed = ""
            self.update()

        self._act(act)

    def _on_contrasts(self) -> None:
        if self._parameters is not None and not self._updating:
            self._parameters.otherContrasts = list(self.ui.contrastSelector.checkedNodes())

    def _measured(self, found: Mapping[str, Any] | str) -> None:
        """The noise of the chosen volume is known."""
        if isinstance(found, str):
            self._sigma = {}
            self.ui.measuredLabel.setText(found)
            return
        self._sigma = found
        self.ui.measuredLabel.setText(status.noise(found))
        if self._parameters is not None:
            if not self._parameters.manualNoise and found.get("sigma"):
                self._parameters.noiseLevel = float(found["sigma"])
            self._show_noise_level()
            self._update_model()
        self._watch.warm_up(self._ready)

    def _show_noise_level(self) -> None:
        """Voxels may be in any unit: some scans are of the order of 1e-6, others of 1e9."""
        show_number(self.ui.noiseLevelSpinBox, self._parameters.noiseLevel, self._sigma.get("sigma") or 0.0)

    def _ready(self, numbers: Mapping[str, Any]) -> None:
        self.ui.setupLabel.setText(status.device(numbers))

    # ---- apply and cancel

    def _on_apply(self) -> None:
        if self.run is not None and not self.run.finished:
            self.run.cancel()
            if not self.run.finished:
                self._show_progress(self.run)
            return
        self._failed = ""
        self._act(self._start)
        self.update()

    def _start(self) -> None:
        volumes.check_scalar(self._parameters.inputVolume)
        self.ui.applyButton.setEnabled(False)  # events are handled during an installation
        if not install.ensure(self._requirements, self.ui.wheelsPathEdit.currentPath, self.ui.statusLabel.setText):
            raise UserError("Nothing was installed, so nothing was denoised. Apply again when you want to install.")
        self.ui.setupLabel.setText(install.preflight(self._requirements))
        p, self._failed = self._parameters, ""
        if p is None:  # another module was opened while something was installed
            return
        self._watch.stop()
        self._evidence.stop()
        self.run = self.logic.denoise(
            p.inputVolume,
            p.outputVolume,
            p.model,
            tuple(n for n in p.otherContrasts if n is not None) if self.ui.contrastSelector.enabled else (),
            allFrames=p.frames.value == "all" and sequences.number_of_frames(p.inputVolume) > 1,
            sigma=p.noiseLevel if p.manualNoise else "auto",
            noise=p.noiseKind.value,
            detail=p.detail / 100,
            removedNoise=p.keepNoise,
            uncertainty=p.keepUncertainty,
            adaptMinutes=p.adaptMinutes if p.adapt else 0,
            device=p.device.value,
            wait=False,
            onProgress=self._show_progress,
            onEnd=self._ended,
        )
        self._denoised = key_of(p.inputVolume)

    def _show_progress(self, run: Run) -> None:
        bar = self.ui.progressBar
        bar.setMaximum(1000 if run.fraction is not None else 0)
        if run.fraction is not None:
            bar.setValue(round(1000 * run.fraction))
        self.ui.statusLabel.setText(status.running(run))

    def _ended(self, run: Run) -> None:
        if run is self.run:
            self._act(self._show_end, run)

    def _show_end(self, run: Run) -> None:
        p = self._parameters
        if run.state == "failed":
            if run.failure.traceback:
                self.log(run.failure.traceback)
            self._failed = f"{run.failure.message} {run.failure.advice}".strip()
        for warning in run.result.warnings if run.result else ():
            self.log(warning)
        if run.state == "done":
            parameters = p if p is not None else self.logic.getParameterNode()  # the module may not be shown now
            self.refinement = run.refinement
            if run.request.sigma == "auto" and not run.request.all_frames:
                self._watch.remember(self._denoised, run.result.numbers)
            self._belonging.made(run.result.volume, self._denoised)
            self._updating = True  # once, below, and not at each of these
            try:
                parameters.resultSource = slicer.mrmlScene.GetNodeByID(run.request.source)
                parameters.resultVolume, parameters.resultNoise = run.result.volume, run.result.noise
                parameters.evidence = json.dumps(run.result.numbers)
            finally:
                self._updating = False
            if p is not None:
                self._worker.defer(lambda: self._act(self._after_result))
        self.update()

    def _after_result(self) -> None:
        p = self._parameters
        if p is None or p.resultVolume is None:
            return
        self._refine(p.detail / 100)  # it may have been moved meanwhile
        if p.referenceVolume is not None:
            self._settled.start()
        if p.showWhenDone:
            self.viewing.show()

    # ---- detail, after the run

    def _on_detail(self, percent: float) -> None:
        if self._parameters is not None and (self.run is None or self.run.finished):
            self._act(self._refine, percent / 100)

    def _refine(self, detail: float) -> None:
        """Move the result in place, without inference."""
        p = self._parameters
        if p.resultVolume is None or p.resultSource is None:
            return
        if self.refinement is None or self.refinement.output != p.resultVolume.GetID():
            changed = self._belonging.changed(p.resultSource, p.resultVolume)
            found = None if changed else Refinement.from_scene(p.resultVolume, p.resultSource, p.resultNoise)
            self.refinement = found
        if (
            self.refinement is not None
            and abs(self.refinement.detail - detail) > 1e-6
            and self.refinement.apply(detail)
        ):
            self._settled.start()

    # ---- evidence

    def _on_reference(self, node: Any) -> None:
        """Numbers against the reference of before are not shown beside the name of another."""
        p = self._parameters
        if p is not None and not self._updating:
            self._evidence.stop()
            p.referenceVolume = node  # or the next change would bring back the one of before, which it still holds
            self._failed, p.evidence = "", evidence.without_reference(p.evidence)
            self._settled.start()
            self.update()

    def _measure_evidence(self) -> None:
        self._act(self._start_measurement)

    def _start_measurement(self) -> None:
        p = self._parameters
        if p is None or p.resultVolume is None or p.resultSource is None:
            return
        facts = volumes.facts_of(p.resultVolume)
        source = sequences.frame_at(p.resultSource, facts.get("Frame", ""))  # another one may be shown by now
        images = [volume.GetImageData() for volume in (source, p.resultVolume) if volume is not None]
        if len(images) < 2 or None in images or images[0].GetDimensions() != images[1].GetDimensions():
            return
        if self._belonging.changed(p.resultSource, p.resultVolume):
            return
        reference = None
        if p.referenceVolume is not None:
            self._prepare_evaluation(p)
            if self._parameters is not p or p.referenceVolume is None:  # events were handled meanwhile
                return
            reference = volumes.resampled(p.referenceVolume, p.resultVolume)  # it lies where its frame lies
        kept = self.refinement if self.refinement and self.refinement.output == p.resultVolume.GetID() else None
        sigma = kept.levels if kept and kept.levels is not None else float(facts.get("Sigma", 0))
        self._evidence.start(source, p.resultVolume, float(facts.get("Detail", 0)), sigma, reference)

    def _prepare_evaluation(self, p: Any) -> None:
        """What a reference needs; who does not want it installed is asked again when choosing one, not before."""
        try:
            install.ensure_evaluation()
        except UserError:
            p.referenceVolume = None
            raise

    def _evidence_measured(self, ending: events.Message) -> None:
        if (
            isinstance(ending, events.Done)
            and self._parameters is not None
            and self._parameters.resultVolume is not None
        ):
            self._parameters.evidence = json.dumps(ending.numbers)
        elif isinstance(ending, events.Failed):
            self._fail(f"{ending.message} {ending.advice}".strip())
        self.update()
