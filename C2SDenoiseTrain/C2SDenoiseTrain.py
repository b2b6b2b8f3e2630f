"""C2S Train.

The researcher's module: a model from the user's own noisy scans. Thin: the work is in C2STrainSlicer (inside Slicer),
in C2SSlicer (shared with C2S Denoise) and in C2SCore (in worker processes).
"""

# ruff: noqa: E402  The imports from the sibling come after its folder.
import sys
from pathlib import Path
from typing import Annotated, Any

import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# Installed, all modules share one folder; from source, that of C2SDenoise may not be on the path yet.
_SIBLING = Path(__file__).resolve().parent.parent / "C2SDenoise"
if _SIBLING.is_dir() and str(_SIBLING) not in sys.path:
    sys.path.append(str(_SIBLING))

from C2SCore.config import TrainConfig
from C2SCore.trainrecord import Record
from C2SSlicer import job, selftest
from C2SSlicer.device import Device
from C2SSlicer.module_widget import PanelWidget, forget
from C2STrainSlicer import closing, monitor, planning, trainrun
from C2STrainSlicer.panel import Panel

REQUIREMENTS = Path(job.__file__).resolve().parent.parent / "Resources" / "requirements.txt"  # C2S Denoise has it


class C2SDenoiseTrain(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("C2S Train")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering.Denoising")]
        self.parent.dependencies = ["C2SDenoise"]
        self.parent.contributors = ["C2SDenoise contributors"]
        self.parent.helpText = _(
            "Trains a denoising model on noisy scans alone: no clean scan is needed. Choose scans and a recipe, press "
            "Start, and use the model in C2S Denoise. For research use only."
        )
        self.parent.acknowledgementText = _(
            "Method: Tu, Shi and Lam, Score-based Self-supervised MRI Denoising, ICLR 2025 (arXiv 2505.05631)."
        )
        slicer.app.connect("startupCompleted()", monitor.register)


@parameterNodeWrapper
class C2SDenoiseTrainParameterNode:
    """Everything that the panel shows, saved with the scene.

    `edits` (what was changed in the table of scans), `helpers` (contrasts) and `overrides` (of the recipe) are JSON;
    `heldBack` is in percent, `minutes` 0 leaves the recipe's budget.
    """

    volumes: list[vtkMRMLScalarVolumeNode]
    dataFolder: str = ""
    edits: str = ""
    target: str = ""
    helpers: str = ""
    pattern: str = ""
    preset: str = "quick"
    recipeFile: str = ""
    overrides: str = ""
    initial: str = ""
    device: Device = Device.AUTOMATIC
    minutes: Annotated[int, WithinRange(0, 100000)] = 0
    heldBack: Annotated[int, WithinRange(0, 50)] = 10
    modelName: str = "my model"
    outputFolder: str = ""
    description: str = ""
    anatomy: str = ""
    licence: str = ""
    attribution: str = ""
    note: str = ""
    report: bool = True


class C2SDenoiseTrainWidget(PanelWidget, ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Connects the panel with the scene: what Slicer calls is here, what the controls do is in C2STrainSlicer.panel."""

    def __init__(self, parent: Any = None) -> None:
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        logic = C2SDenoiseTrainLogic()
        self.build(logic, lambda ui: Panel(ui, logic, REQUIREMENTS))

    def cleanup(self) -> None:
        """A training saves what it has, and ends."""
        closing.unwatch()
        PanelWidget.cleanup(self)

    def onReload(self) -> None:
        """Reload our package too, not this file alone. What both modules share stays: C2S Denoise uses it."""
        closing.unwatch()
        if self.panel is not None:
            self.panel.close()
        forget("C2STrainSlicer")
        ScriptedLoadableModuleWidget.onReload(self)


class C2SDenoiseTrainLogic(ScriptedLoadableModuleLogic):
    """Training for scripts and for the panel; needs no window."""

    def getParameterNode(self) -> C2SDenoiseTrainParameterNode:
        return C2SDenoiseTrainParameterNode(super().getParameterNode())

    def train(
        self,
        volumesOrFolder: Any,
        outputModel: str,
        *,
        preset: str = "quick",
        config: Any = None,
        target: str = "",
        auxiliary: tuple[Any, ...] = (),
        pattern: str = "",
        minutes: float = 0.0,
        initial: str = "",
        device: str = "auto",
        card: dict[str, Any] | None = None,
        report: bool = True,
        wait: bool = True,
        onChange: Any = None,
        onEnd: Any = None,
    ) -> trainrun.Training:
        """Train a model on noisy scans.

        Parameters
        ----------
        volumesOrFolder : a folder that is searched for scans, a list of files, or a list of volume nodes.
        outputModel : a name, which puts the model among the user's own, or a path ending with .safetensors.
        preset : the recipe: "quick", "standard" or "paper".
        config : settings over it, by dotted name (``{"loss.alpha": -1}``), or the path of a YAML file in its place.
        target, pattern : for a folder, the contrast to learn, and how names are made (see `matching.match`); what is
            left out is told by `logging.warning`.
        auxiliary : for a folder, the contrasts that help; for lists, one list of the same length for each of them.
        minutes : time budget; 0 leaves the recipe's.
        initial : model to start from, "none", or empty for what the recipe says.
        device : "auto", "cpu", "cuda" or "mps".
        card : what to write on the model's card, such as ``{"anatomy": "brain", "licence": "CC BY 4.0"}``.
        report : whether to denoise held-back slices and write `report.html` beside the model.
        wait : True blocks; False returns at once, `onChange(training)` and `onEnd(training)` are called while Slicer
            goes on; `training.pause(True)`, `training.stop()`. A folder is read before either returns.

        Returns
        -------
        Training : `plan.out` is the model file, `history` the curves, `numbers` and `report` what the report found.

        Raises
        ------
        UserError (a ValueError) : something is wrong with what was given; nothing was started.
        RuntimeError : the training failed; the message says why and what to do.
        """
        cases, facts = planning.cases_of(volumesOrFolder, target, auxiliary, pattern)
        settings = planning.config_of(preset, config, initial, minutes)
        out = planning.out_of(outputModel)
        started = self.begin(
            cases,
            out,
            settings,
            facts | (card or {}),
            device=device,
            report=report,
            onChange=onChange,
            onEnd=onEnd,
        )
        return self._waited(started) if wait else started

    def begin(
        self,
        cases: list[dict[str, Any]],
        out: Path,
        config: TrainConfig,
        card: dict[str, Any],
        *,
        device: str = "auto",
        report: bool = True,
        slices: int = 0,
        onChange: Any = None,
        onEnd: Any = None,
    ) -> trainrun.Training:
        """Start the training of cases as in `TrainJob`; returns at once."""
        closing.watch()
        plan = Record(Path(out), cases, config.to_dict(), card, device, slices)
        return trainrun.Training(plan, False, onChange, onEnd, report)

    def resume(
        self,
        folder: Any,
        wait: bool = True,
        device: str = "",
        report: bool = True,
        onChange: Any = None,
        onEnd: Any = None,
    ) -> trainrun.Training:
        """Go on with a training that was stopped or that crashed: its folder (`.training`) or its model file.

        Also with one that `c2s train` has begun, and the other way round. `device`: empty for that of before.
        """
        closing.watch()
        plan = Record.load(folder)
        plan.device = device or plan.device
        started = trainrun.Training(plan, True, onChange, onEnd, report)
        return self._waited(started) if wait else started

    def _waited(self, started: trainrun.Training) -> trainrun.Training:
        started.wait()
        if started.failure is not None:
            failure = started.failure
            raise RuntimeError(f"{failure.message} {failure.advice}\n{failure.traceback}".strip())
        return started


class C2SDenoiseTrainTest(ScriptedLoadableModuleTest):
    """The story of a user, for the self test of the real Slicer; where PyTorch is not installed, of its absence."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_train_on_a_phantom()

    def test_train_on_a_phantom(self) -> None:
        """A few steps on a noisy phantom make a model file with a card."""
        import tempfile

        source, _clean = selftest.phantom(8, 64, "Phantom T1")
        missing = selftest.absent(str(REQUIREMENTS))
        settings = {"initial": "", "steps": 12, "minutes": 0.0, "validate_every": 4, "patch": 32, "batch": 4}
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            out = Path(folder) / "phantom.safetensors"
            if missing:
                self.delayDisplay(f"Not installed: {', '.join(missing)}")
                with self.assertRaises((RuntimeError, ImportError)):  # ImportError: of PyYAML, for the recipe
                    C2SDenoiseTrainLogic().train([source], str(out), config=settings, report=False)
                self.assertFalse(out.exists())
            else:
                self.delayDisplay("Training on a phantom")
                done = C2SDenoiseTrainLogic().train([source], str(out), config=settings, report=False)
                self.assertEqual(done.state, "done")
                self.assertTrue(done.plan.out.is_file())
                self.assertEqual([point["step"] for point in done.history], [4, 8, 12])
            job.close(trainrun.WORKER)
        self.delayDisplay("Test passed" + (", as far as it goes without PyTorch" if missing else ""))
