"""The panel of C2S Train as a whole: what its sections share, and what goes from one to the other."""

from __future__ import annotations

import html
import traceback
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from C2SCore import events, guidance, writing
from C2SCore.errors import UserError
from C2SSlicer import install, job, status
from C2SSlicer.controls import on_path
from C2STrainSlicer import inspection, library, matching, recipe, trainrun
from C2STrainSlicer.datapanel import DataPanel, plan_cases
from C2STrainSlicer.recipepanel import RecipePanel
from C2STrainSlicer.trainpanel import TrainPanel
from C2STrainSlicer.trainrun import Training


class Panel:
    """`logic` does the training; `requirements` is the file that lists the Python packages."""

    def __init__(self, ui: Any, logic: Any, requirements: str) -> None:
        self.ui, self.logic = ui, logic
        self._requirements = install.requirements(requirements)
        self._absent = install.missing([f"torch{install.TORCH}", *self._requirements])
        self._parameters: Any = None
        self._updating = False
        self.data = DataPanel(ui, self.act, self._install, self.update, self._forget)
        self.recipe = RecipePanel(ui, self.act, self.update)
        self.train = TrainPanel(ui, self.act, self._start, self._resume, self._models_changed)
        self._timing: job.Task | None = None
        self._timed: tuple[Any, ...] = ()  # what the estimate is of
        ui.estimateButton.clicked.connect(self._on_estimate)
        ui.copyButton.clicked.connect(self._on_copy)
        on_path(ui.outputFolderEdit, self._on_folder)
        ui.estimateLabel.setVisible(False)
        ui.logText.setMaximumBlockCount(job.LOG_LINES)
        for worker in (trainrun.WORKER, inspection.WORKER):
            job.shared(worker).on_log = self.train.log

    def set_parameters(self, parameters: Any) -> None:
        """Bind to the parameter node of a scene, or to none."""
        self._parameters = parameters
        if parameters is not None:
            self.ui.outputFolderEdit.setCurrentPath(parameters.outputFolder)
        self.recipe.set_parameters(parameters)
        self.data.set_parameters(parameters)
        if parameters is not None:
            self.train.attach()

    def close(self) -> None:
        """The module goes: nothing of ours runs on."""
        self.train.close()
        self.data.close()
        for worker in (trainrun.WORKER, inspection.WORKER):
            job.shared(worker).on_log = None

    def scene_closes(self) -> None:
        """A training that reads from files by now goes on. Volumes of the scene leave the table."""
        self.data.scene_closes()
        self.train.scene_closes()

    def parameters_changed(self) -> None:
        self.recipe.update()
        self.data.update()

    def update(self) -> None:
        """Warnings for the present data and recipe."""
        if self._parameters is None or self._updating:
            return
        self._updating = True
        try:
            self.act(self._update)
        finally:
            self._updating = False

    def _update(self) -> None:
        asked: tuple[Any, ...] = ()
        try:
            asked = self._to_time()
            found = self.data.warnings(asked[0])
        except UserError as error:
            found = [str(error)]
        self.ui.estimateLabel.setVisible(bool(asked) and asked == self._timed)
        number = len(self.data.cases()[0]) if not self.data.problem() else 0
        if self.data.inspection.busy:
            self.train.hint = _("Scans are still being read.")
        elif number:
            self.train.hint = _("Ready to train on {scans}.").format(scans=guidance.counted(number, "scan"))
        else:
            self.train.hint = _("Choose scans under Data, a recipe, and a name for the model.")
        self.train.update()
        text = "<br>".join(f"⚠ {html.escape(warning)}" for warning in found)
        self.ui.warningsLabel.setText(f"<span>{text}</span>")  # without a tag, `&quot;` would be shown as it stands
        self.ui.warningsLabel.setVisible(bool(found))

    def _models_changed(self) -> None:
        self.recipe.fill_models()
        self.recipe.update()
        self.update()

    def act(self, action: Callable[..., Any], *arguments: Any) -> None:
        """Do it, and show what goes wrong where the user looks."""
        try:
            action(*arguments)
        except UserError as error:
            self._fail(str(error))
        except Exception as error:
            self.train.log(traceback.format_exc())
            self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, message: str) -> None:
        self.train.message = status.failed(message).replace("\n", "<br>")
        self.ui.statusLabel.setText(self.train.message)

    def _forget(self) -> None:
        """What went wrong before the scans were read is settled, or said again by the next try."""
        self.train.message = ""

    # ---- starting

    def _install(self) -> None:
        """What the worker needs, asked for once; what was there when the panel was made is not looked for again."""
        if self._absent and not install.ensure(self._requirements):
            raise UserError("Nothing was installed, so nothing was trained. Start again when you want to install.")
        self._absent = []
        if self._parameters is None:
            raise UserError("What was missing is installed, but another module was opened meanwhile. Try again.")

    def _cases(self) -> list[matching.Case]:
        if self.data.inspection.busy:
            raise UserError(
                "Scans are still being read; what is not read yet would be left out. Wait until all are in the table."
            )
        cases, missing = self.data.cases()
        if not cases:
            advice = " ".join(missing[:3]) or "Tick volumes of the scene, or read a folder, under Data."
            raise UserError(f"There is no scan to train on. {advice}")
        return cases

    def _start(self, changed: Any, ended: Any) -> Training:
        self._cases()  # what is wrong with them is said before anything is installed
        out = library.check_out(self._parameters.outputFolder, self._parameters.modelName)
        self._install()
        p, cases = self._parameters, self._cases()
        self.recipe.update()
        return self.logic.begin(
            plan_cases(cases),
            out,
            self.recipe.config(),
            self._card(cases),
            device=p.device.value,
            report=p.report,
            slices=sum(case.target.slices for case in cases),
            onChange=changed,
            onEnd=ended,
        )

    def _resume(self, folder: str, changed: Any, ended: Any) -> Training:
        self._install()
        p = self._parameters
        return self.logic.resume(
            folder, wait=False, device=p.device.value, report=p.report, onChange=changed, onEnd=ended
        )

    def _card(self, cases: list[matching.Case]) -> dict[str, Any]:
        p = self._parameters
        words = {
            "description": p.description,
            "anatomy": p.anatomy,
            "licence": p.licence,
            "attribution": p.attribution,
            "note": p.note,
        }
        card: dict[str, Any] = {name: text.strip() for name, text in words.items() if text.strip()}
        contrasts = [p.target] if p.target else matching.contrasts([case.target for case in cases])
        return card | {"contrasts": contrasts, "auxiliary": self.data.helpers}

    def _on_folder(self, path: str) -> None:
        if self._parameters is not None and path != self._parameters.outputFolder:
            self._parameters.outputFolder = path

    # ---- before starting

    def _on_estimate(self) -> None:
        self.act(self._estimate)

    def _estimate(self) -> None:
        if self.train.busy or (self._timing is not None and not self._timing.finished):
            return
        self._install()
        self._timed = self._to_time()
        order = events.EstimateJob(job.new_id(), *self._timed)
        self.ui.estimateLabel.setVisible(True)
        self.ui.estimateLabel.setText(_("timing some steps…"))

        def ended(ending: events.Message) -> None:
            if isinstance(ending, events.Done):
                numbers = ending.numbers
                text = _("about {time} on the {device} ({steps} of {each} s)").format(
                    steps=guidance.counted(round(numbers["seconds"] / numbers["seconds_per_step"]), "step"),
                    time=status.duration(numbers["seconds"]),
                    device=status.device_name(numbers["device"]),
                    each=f"{numbers['seconds_per_step']:.3g}",
                )
            else:
                text = ending.message if isinstance(ending, events.Failed) else ""
            self.ui.estimateLabel.setText(text)

        self._timing = job.shared(trainrun.WORKER).submit(order, on_end=ended, grace=job.STOP_GRACE)

    def _to_time(self) -> tuple[Any, ...]:
        """What the time of a training depends on: recipe, number of helping contrasts, device."""
        return self.recipe.config().to_dict(), len(self.data.helpers), self._parameters.device.value

    def _on_copy(self) -> None:
        self.act(self._copy)

    def _copy(self) -> None:
        """The command line of what the panel shows, into the clipboard; recipe and card go beside the model."""
        p = self._parameters
        cases = self._cases()
        out = library.check_out(p.outputFolder, p.modelName)
        columns = [[_file_of(case.target) for case in cases]]
        columns += [[_file_of(case.helpers[n]) for case in cases] for n in range(len(self.data.helpers))]
        texts = {"": recipe.yaml_text(self.recipe.config()), "-card": recipe.card_yaml(self._card(cases))}
        paths = {ending: library.free_name(out, ending, text) for ending, text in texts.items() if text}
        files = {ending: str(path) for ending, path in paths.items()}
        device = p.device.value
        line = recipe.command(columns[0], columns[1:], out, files[""], True, device, card=files.get("-card", ""))
        for ending, path in paths.items():
            with writing.atomic(path, path.suffix) as temporary:
                temporary.write_bytes(texts[ending].encode())
        qt.QApplication.clipboard().setText(line)
        self.train.log(line)
        self.train.message = status.plain(
            _("The command is in the clipboard and in the log; its recipe is {path}.").format(path=paths[""])
        )
        self.train.update()


def _file_of(row: Any) -> str:
    """The file of a scan; empty for a volume of the scene that was not saved."""
    import slicer

    if row.path:
        return row.path
    node = slicer.mrmlScene.GetNodeByID(row.node)
    storage = node.GetStorageNode() if node is not None else None
    return storage.GetFileName() or "" if storage is not None and not node.GetModifiedSinceRead() else ""
