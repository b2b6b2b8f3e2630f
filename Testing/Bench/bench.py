"""The bench: an application, a scene and a module in it, and the hands to use them. See README.md.

In a test:

    from Bench.bench import bench  # a pytest fixture

    def test_apply(bench):
        widget = bench.load_module("C2SDenoise/C2SDenoise.py")
        bench.enter(widget)
        bench.click(widget.ui.applyButton)
        bench.wait_until(lambda: widget.ui.applyButton.enabled)
"""

from __future__ import annotations

import gc
import os
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest
import slicer
import slicer.util
from PySide6 import QtCore

from . import environment, faults, rules
from .slots import Connections
from .subject_hierarchy import SubjectHierarchy
from .view_widgets import slice_image, to_qimage
from .wrapping import unwrap, wrap


class Bench:
    """One session of the stand-in application: begins empty, ends with everything cleaned up."""

    def __init__(self, main_window: bool = True):
        self._application = environment.application()
        faults.take()
        self._hook, sys.excepthook = sys.excepthook, faults.exception_hook
        self._end_of_warnings = faults.watch_warnings()
        slicer.mrmlScene = slicer.vtkMRMLScene()
        slicer.modules = types.SimpleNamespace()
        self._application.start(slicer.mrmlScene, main_window)
        self._hierarchy = SubjectHierarchy(slicer.mrmlScene)
        self._logics = self._core_logics()
        self.pip_calls: list[tuple] = []  # (arguments, options) of each call: the bench installs nothing
        self._pip = slicer.util.pip_install, slicer.util.pip_uninstall
        slicer.util.pip_install = lambda *arguments, **options: self.pip_calls.append((arguments, options))
        slicer.util.pip_uninstall = slicer.util.pip_install
        self._injected: dict[str, Any] = {}
        self._paths = list(sys.path)
        self.expected: list[str] = []

    def _core_logics(self) -> dict[str, Any]:
        """The C++ modules that come with Slicer and that have their logic in slicer-core."""
        classes = {
            "volumes": "vtkSlicerVolumesLogic",
            "sequences": "vtkSlicerSequencesLogic",
            "plots": "vtkSlicerPlotsLogic",
            "tables": "vtkSlicerTablesLogic",
            "cropvolume": "vtkSlicerCropVolumeLogic",
        }
        logics = {}
        for name, class_name in classes.items():
            logic = getattr(slicer, class_name)()
            logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
            logic.SetMRMLScene(slicer.mrmlScene)
            logics[name] = logic
            setattr(slicer.modules, name, types.SimpleNamespace(logic=lambda logic=logic: logic, name=name))
        return logics

    # Modules

    def load_module(self, path: str | Path) -> Any:
        """Load a module file and build its panel; returns the Python widget."""
        module = self._application.moduleManager().load(str(path))
        return module.widgetRepresentation().self()

    def enter(self, widget: Any) -> None:
        """Open the module, as in the module selector: leaves the one that was open."""
        self._application.moduleManager().selectModule(widget.moduleName)

    def exit(self, widget: Any) -> None:
        self._application.moduleManager().selectModule("")

    def reload(self, widget: Any) -> Any:
        """What the Reload button does; returns the new Python widget."""
        widget.onReload()
        self.process_events()
        return getattr(slicer.modules, widget.moduleName + "Widget")

    def startup_completed(self) -> None:
        """The moment when Slicer has loaded all modules, for which they may have registered work."""
        slicer.app.startupCompleted.emit()
        self.process_events()

    # Hands and eyes

    def click(self, button: Any) -> None:
        """Click, as a user could: AssertionError on a button that is disabled or hidden in its panel."""
        name = button.objectName
        assert button.enabled and all(part.enabled for part in _ancestors(button)), f"{name} is disabled"
        assert not button.isHidden(), f"{name} is hidden"
        button.click()
        self.process_events()

    def process_events(self, seconds: float = 0.0) -> None:
        """Run the event loop for a while, at least once; deferred deletions included."""
        end = time.monotonic() + seconds
        while True:
            self._application.processEvents()
            self._application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
            if time.monotonic() >= end:
                return
            time.sleep(0.002)

    def wait_until(self, condition: Callable[[], Any], seconds: float = 30.0) -> None:
        """Run the event loop until ``condition`` holds. TimeoutError after ``seconds``."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds} s: {getattr(condition, '__name__', condition)}")
            self._application.processEvents()
            time.sleep(0.002)

    def screenshot(self, widget: Any, path: str | Path, width: int = 400) -> Path:
        """PNG of a widget (or of a module's panel) at a given width and the height that it wants, pixels."""
        native = unwrap(getattr(widget, "parent", widget) if not hasattr(widget, "grab") else widget)
        native.setFixedWidth(width)
        native.ensurePolished()
        native.show()
        self.process_events()
        hint = native.layout().totalSizeHint() if native.layout() else native.sizeHint()
        wanted = (
            native.layout().totalHeightForWidth(width)
            if native.layout() and native.layout().hasHeightForWidth()
            else hint.height()
        )
        native.resize(width, max(wanted, hint.height(), 20))
        self.process_events()
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not native.grab().save(str(path)):
            raise OSError(f"cannot write {path}")
        native.setMinimumWidth(0)
        native.setMaximumWidth(16777215)
        return path

    def slice_picture(self, view: str, size: tuple[int, int] | None = None) -> np.ndarray:
        """What a slice view of the current layout shows: (height, width, 4) uint8; ``size``: width, height."""
        logic = unwrap(slicer.app.layoutManager().sliceWidget(view)).sliceLogic()
        if size is not None:
            logic.ResizeSliceNode(*size)
            logic.FitSliceToBackground()
        return slice_image(logic)

    def save_slice(self, view: str, path: str | Path, size: tuple[int, int] | None = None) -> Path:
        if not to_qimage(self.slice_picture(view, size)).save(str(path)):
            raise OSError(f"cannot write {path}")
        return Path(path)

    def open_node_menu(self, selector: Any, node_type: str | None = None) -> Any:
        """The entry "Create new" of a node selector; returns the new node."""
        return selector.addNode(node_type) if node_type else selector.addNode()

    # What the user or the world answers

    @contextmanager
    def answer_dialogs(self, answer: Callable[[Any], Any] | Any) -> Iterator[list]:
        """Answer modal dialogs with a value or a function of the dialog; yields the texts that were shown."""
        shown: list = []

        def respond(dialog: Any) -> Any:
            wrapped = wrap(dialog)
            shown.append(wrapped.text if hasattr(wrapped, "text") else dialog)
            return unwrap(answer(wrapped) if callable(answer) else answer)

        rules.modal_answer = respond
        try:
            yield shown
        finally:
            rules.modal_answer = None

    def set_testing(self, testing: bool) -> None:
        """Slicer's --testing: dialogs are skipped. On by default."""
        self._application.setTestingEnabled(testing)

    def inject(self, name: str, module: Any) -> None:
        """Put a fake Python module (PyTorchUtils, slicer.packaging …) in place until the end of the test."""
        self._injected.setdefault(name, sys.modules.get(name))
        sys.modules[name] = module
        if name.startswith("slicer."):
            setattr(slicer, name.partition(".")[2], module)

    # Faults

    def expect_fault(self, text: str) -> None:
        """A fault that contains ``text`` is part of the test and does not fail it; its absence does."""
        self.expected.append(text)

    def unmet(self) -> list[str]:
        """Faults recorded and not expected, and expectations that nothing met."""
        recorded = faults.take()
        unexpected = [
            f"{fault.kind}: {fault.text}" for fault in recorded if not any(text in fault.text for text in self.expected)
        ]
        missing = [
            f"expected, but did not happen: {text}"
            for text in self.expected
            if not any(text in f.text for f in recorded)
        ]
        return unexpected + missing

    def close(self) -> None:
        """The end of the program: aboutToQuit, then every module is left and unloaded."""
        self._application.aboutToQuit.emit()
        manager = self._application.moduleManager()
        for name in list(manager.modulesNames()):
            manager.unload(name)
        self.process_events()
        self._hierarchy.stop()
        self._application.finish()
        for top in self._application.topLevelWidgets():
            top.deleteLater()
        self.process_events()
        Connections.undo_all()
        self._empty_scene()
        self._logics = {}
        slicer.modules = types.SimpleNamespace()
        for name, before in self._injected.items():
            sys.modules.pop(name, None)
            if before is not None:
                sys.modules[name] = before
            elif name.startswith("slicer."):
                delattr(slicer, name.partition(".")[2])
        slicer.util.pip_install, slicer.util.pip_uninstall = self._pip
        sys.path[:] = self._paths
        self._application.setTestingEnabled(True)
        gc.collect()
        sys.excepthook = self._hook
        self._end_of_warnings()

    def _empty_scene(self) -> None:
        """Remove all nodes and free their voxels, even if something in Python still holds a node."""
        volumes = list(slicer.util.getNodesByClass("vtkMRMLVolumeNode"))
        for sequence in slicer.util.getNodesByClass("vtkMRMLSequenceNode"):
            sequence.RemoveAllDataNodes()
        slicer.mrmlScene.Clear(True)
        for volume in volumes:
            volume.SetAndObserveImageData(None)


def _ancestors(widget: Any) -> Iterator[Any]:
    parent = widget.parentWidget()
    while parent is not None:
        yield parent
        parent = parent.parentWidget()


def _session(main_window: bool) -> Iterator[Bench]:
    """A session; at its end the test fails on every fault that the application would have swallowed."""
    session = Bench(main_window)
    try:
        yield session
    finally:
        session.close()
    problems = session.unmet()
    if problems:
        pytest.fail("the application would have gone on in silence after:\n" + "\n".join(problems), pytrace=False)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Slicer with its main window."""
    yield from _session(main_window=True)


@pytest.fixture
def headless_bench() -> Iterator[Bench]:
    """Slicer with --no-main-window: no layout manager, no views."""
    yield from _session(main_window=False)
