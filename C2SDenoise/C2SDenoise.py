"""C2S Denoise.

The radiologist's module. Thin: the work is in C2SSlicer (inside Slicer) and C2SCore (in the worker process).
"""

# ruff: noqa: UP045  Optional[...] is what Slicer's parameterNodeWrapper documents. Annotations stay objects, which it
# reads.
import enum
from pathlib import Path
from typing import Annotated, Any, Optional

import slicer
import vtk
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

from C2SSlicer import compare, job, request, selftest, volumes
from C2SSlicer.device import Device
from C2SSlicer.module_widget import PanelWidget, forget
from C2SSlicer.panel import Panel
from C2SSlicer.run import Run


class C2SDenoise(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("C2S Denoise")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering.Denoising")]
        self.parent.dependencies = []
        self.parent.contributors = ["C2SDenoise contributors"]
        self.parent.helpText = _(
            "Removes noise from magnetic resonance images with a model that was trained on noisy images alone "
            "(Corruption2Self). Choose a volume, press Apply, and compare. For research use only."
        )
        self.parent.acknowledgementText = _(
            "Method: Tu, Shi and Lam, Score-based Self-supervised MRI Denoising, ICLR 2025 (arXiv 2505.05631)."
        )
        slicer.app.connect("startupCompleted()", compare.register)


class NoiseKind(enum.Enum):
    """Which noise the image has; the value is the core's word for it."""

    AUTOMATIC = "auto"
    GAUSSIAN = "gaussian"
    RICIAN = "rician"

    def label(self) -> str:
        return {"auto": _("Automatic"), "gaussian": _("Gaussian"), "rician": _("Rician (magnitude image)")}[self.value]


class Frames(enum.Enum):
    """Which frames of a time series."""

    THIS = "this"
    ALL = "all"

    def label(self) -> str:
        return {"this": _("This frame"), "all": _("All frames")}[self.value]


@parameterNodeWrapper
class C2SDenoiseParameterNode:
    """Everything that the panel shows, saved with the scene.

    `detail` is in percent, `evidence` the numbers of the result as JSON.
    """

    inputVolume: Optional[vtkMRMLScalarVolumeNode]
    otherContrasts: list[vtkMRMLScalarVolumeNode]
    frames: Frames = Frames.THIS
    model: str = "default"
    adapt: bool = False
    adaptMinutes: Annotated[int, WithinRange(1, 120)] = 3
    device: Device = Device.AUTOMATIC
    noiseKind: NoiseKind = NoiseKind.AUTOMATIC
    manualNoise: bool = False
    noiseLevel: Annotated[float, WithinRange(0, 1e30)] = 0.0
    outputVolume: Optional[vtkMRMLScalarVolumeNode]
    detail: Annotated[float, WithinRange(0, 100)] = 0.0
    keepNoise: bool = True
    keepUncertainty: bool = False
    showWhenDone: bool = True
    referenceVolume: Optional[vtkMRMLScalarVolumeNode]
    resultSource: Optional[vtkMRMLScalarVolumeNode]
    resultVolume: Optional[vtkMRMLScalarVolumeNode]
    resultNoise: Optional[vtkMRMLScalarVolumeNode]
    evidence: str = ""


class C2SDenoiseWidget(PanelWidget, ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Connects the panel with the scene: what Slicer calls is here, what the controls do is in C2SSlicer.panel."""

    def __init__(self, parent: Any = None) -> None:
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        logic = C2SDenoiseLogic()
        self.build(logic, lambda ui: Panel(ui, logic, self.resourcePath("requirements.txt")))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self.onNodeRemoved)

    def cleanup(self) -> None:
        PanelWidget.cleanup(self)
        job.close()

    def onReload(self) -> None:
        """Reload our package too, not this file alone; the worker goes, the next Apply starts a new one."""
        if self.panel is not None:
            self.panel.close()
        job.close()
        forget("C2SSlicer")
        ScriptedLoadableModuleWidget.onReload(self)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller: Any, event: Any, node: Any) -> None:
        if node.IsA("vtkMRMLVolumeNode") and not slicer.mrmlScene.IsClosing():
            self.panel.update()

    def initializeParameterNode(self) -> None:
        """Take the scene's parameters; choose a first volume where none is chosen."""
        PanelWidget.initializeParameterNode(self)
        if self._parameterNode.inputVolume is None:
            self._parameterNode.inputVolume = volumes.first_shown()


class C2SDenoiseLogic(ScriptedLoadableModuleLogic):
    """Denoising for scripts and for the panel; needs no window."""

    def getParameterNode(self) -> C2SDenoiseParameterNode:
        return C2SDenoiseParameterNode(super().getParameterNode())

    def denoise(
        self,
        inputVolume: Any,
        outputVolume: Any = None,
        model: str = "default",
        auxiliary: tuple[Any, ...] = (),
        *,
        allFrames: bool = False,
        sigma: float | str = "auto",
        noise: str = "auto",
        detail: float = 0.0,
        removedNoise: Any = False,
        uncertainty: Any = False,
        adaptMinutes: float = 0.0,
        device: str = "auto",
        wait: bool = True,
        onProgress: Any = None,
        onEnd: Any = None,
    ) -> Any:
        """Denoise a volume node; the input is never changed.

        Parameters
        ----------
        inputVolume : scalar volume node.
        outputVolume : node to fill; None makes a new one.
        model : name of a model, or path of a model file.
        auxiliary : volume nodes of other contrasts, in the order in which the model names them.
        allFrames : for a volume that shows a time series, denoise all of it.
        sigma : standard deviation of the noise in the image's own unit, or "auto".
        noise : its kind: "auto", "gaussian" or "rician".
        detail : 0 (all noise removed) to 1 (the source).
        removedNoise, uncertainty : False, True (a new volume), or the node to fill.
        adaptMinutes : time to adapt a copy of the model to this scan first; 0 = not at all.
        device : "auto", "cpu", "cuda" or "mps".
        wait : True blocks and returns a `Result` (volume, noise, uncertainty, numbers, warnings). False returns a `Run`
            at once; `onProgress(run)` and `onEnd(run)` are called while Slicer goes on; `run.cancel()` stops it.

        Raises
        ------
        UserError (a ValueError) : something is wrong with what was given; nothing was started.
        RuntimeError : the run failed; the message says why and what to do.
        """

        def target(wanted: Any) -> str | None:
            return None if wanted is False or wanted is None else "" if wanted is True else wanted.GetID()

        volumes.check_scalar(inputVolume)
        order = request.Request(
            source=inputVolume.GetID(),
            output=outputVolume.GetID() if outputVolume is not None else "",
            model=str(model),
            auxiliary=request.node_ids(auxiliary),
            all_frames=bool(allFrames),
            sigma=sigma,
            noise=noise,
            detail=float(detail),
            noise_output=target(removedNoise),
            uncertainty_output=target(uncertainty),
            adapt_minutes=float(adaptMinutes),
            device=device,
        )
        started = Run(order, on_progress=onProgress, on_end=onEnd)
        if not wait:
            return started
        started.wait()
        if started.failure is not None:
            raise RuntimeError(
                f"{started.failure.message} {started.failure.advice}\n{started.failure.traceback}".strip()
            )
        return started.result


class C2SDenoiseTest(ScriptedLoadableModuleTest):
    """The story of a user, for the self test of the real Slicer; where PyTorch is not installed, of its absence."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_denoise_a_phantom()

    def test_denoise_a_phantom(self) -> None:
        """A noisy phantom goes in; a quieter volume in the same place comes out, the source as it was."""
        import numpy as np

        source, clean = selftest.phantom(6, 96, "Phantom")
        source.SetSpacing(0.9, 0.8, 5.0)
        source.SetOrigin(10, 20, 30)
        noisy = slicer.util.arrayFromVolume(source).copy()
        missing = selftest.absent(str(Path(__file__).parent / "Resources" / "requirements.txt"))
        if any(text.startswith(("torch", "safetensors")) for text in missing):  # the others are for files and training
            self._refused(source, missing)
            return
        self.delayDisplay("Denoising a phantom")
        result = C2SDenoiseLogic().denoise(source, removedNoise=True, sigma=selftest.NOISE)
        self.delayDisplay("Looking at the result")
        inside = clean == 200
        self.assertLess(slicer.util.arrayFromVolume(result.volume)[inside].std(), 0.6 * noisy[inside].std())
        self.assertTrue(np.allclose(volumes.matrix_of(result.volume), volumes.matrix_of(source), atol=1e-9))
        self.assertTrue(np.array_equal(slicer.util.arrayFromVolume(source), noisy))
        self.assertEqual(volumes.facts_of(result.volume)["Content"], "denoised")
        self.delayDisplay("Test passed")

    def _refused(self, source: Any, missing: list[str]) -> None:
        """What is missing is said, and the scene stays as it was."""
        self.delayDisplay(f"Not installed: {', '.join(missing)}")
        with self.assertRaisesRegex(RuntimeError, "is missing"):
            C2SDenoiseLogic().denoise(source, sigma=selftest.NOISE)
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"), [source])
        self.delayDisplay("Test passed, as far as it goes without PyTorch")
