"""A researcher at the bench who trains a model and uses it: sets controls and presses buttons, calls no logic.

What is read from the modules is only what the researcher would see on the screen, and where files and volumes are.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import page_picture
from Bench.bench import Bench
from scenes import MODULE as DENOISE
from scenes import apply, settle
from screenshots import LABEL, _captioned
from test_denoise_speed import Ticks
from trainscenes import MODULE as TRAIN
from trainscenes import read_folder, start, until_end

HOUR = 3600.0


class Researcher:
    """Opens both modules; `pictures` is the folder of the screenshots, None: none are taken."""

    def __init__(self, pictures: Path | None = None) -> None:
        self.bench = Bench()
        self.pictures = pictures
        self.denoise = self.bench.load_module(DENOISE)
        self.train = self.bench.load_module(TRAIN)
        self.bench.enter(self.train)
        self.ui = self.train.ui
        self._ticks = Ticks()
        self.gaps = [0.0, 0.0]  # longest gap of the event loop while training, ms: by the clock, of it own work

    def close(self) -> None:
        """Leave Slicer; raises RuntimeError for what Slicer would have passed over in silence."""
        self.bench.close()
        faults = self.bench.unmet()
        if faults:
            raise RuntimeError("Slicer would have gone on in silence after:\n" + "\n".join(faults))

    # ---- pictures

    def picture(self, state: str) -> None:
        """The panel of C2S Train as it is now, 400 pixels wide, as train-STATE.png."""
        from PySide6 import QtGui

        if self.pictures is not None:
            path = self.bench.screenshot(self.train, self.pictures / f"train-{state}.png", width=400)
            self._save(QtGui.QImage(str(path)), path, state)

    def picture_of_views(self) -> None:
        """Curves and preview as the views of the main window show them, as train-views.png."""
        import slicer

        if self.pictures is not None:
            window = slicer.util.mainWindow()
            window.resize(1000, 640)
            window.show()
            self.bench.process_events(0.3)
            picture = window.grab().toImage()
            window.hide()
            native = picture._native if hasattr(picture, "_native") else picture
            self._save(native, self.pictures / "train-views.png", "curves and preview")

    def picture_of_report(self, training: Any) -> None:
        """What the button Report opens, as train-report.png."""
        if self.pictures is not None:
            assert self.ui.reportButton.enabled, self.ui.resultLabel.text
            picture = page_picture.draw(Path(training.report).read_text(encoding="utf-8"))
            path = self.pictures / "train-report.png"
            _captioned(picture, "report: drawn by Qt's text engine, not by a browser").save(str(path))
            print(path, flush=True)

    def _save(self, picture: Any, path: Path, title: str) -> None:
        _captioned(picture, f"{title}: {LABEL}").save(str(path))
        print(path, flush=True)

    # ---- C2S Train

    def read(self, folder: Path) -> None:
        """Forget the scans of before and read those of a folder."""
        self.bench.click(self.ui.clearButton)
        read_folder(self.bench, self.train, folder)

    def choose_contrasts(self, target: str, helpers: Sequence[str] = (), pattern: str = "") -> str:
        """Which contrast to learn and which help it; what the panel says it has matched."""
        import qt

        box, listed = self.ui.targetBox, self.ui.helpersList
        box.setCurrentIndex(box.findData(target))
        self.bench.process_events()
        for item in [listed.item(n) for n in range(listed.count)]:
            item.setCheckState(qt.Qt.Checked if item.text() in helpers else qt.Qt.Unchecked)
        if helpers:
            self.ui.patternEdit.setText(pattern)
        self.bench.process_events()
        return self.ui.matchLabel.text

    def choose_recipe(self, preset: str, minutes: int, initial: str, settings: dict[str, object]) -> None:
        """Preset, time budget (0: the recipe's), model to start from (empty: the recipe's), and lines of the table."""
        ui = self.ui
        ui.presetBox.setCurrentIndex(ui.presetBox.findData(preset))
        ui.initialBox.setCurrentIndex(ui.initialBox.findData(initial))
        ui.minutesSpinBox.setValue(minutes)
        self.bench.process_events()
        table = ui.recipeTable
        names = [table.item(n, 0).text() for n in range(table.rowCount)]
        for name, value in settings.items():
            ui.advancedSection.setCollapsed(False)
            table.item(names.index(name), 1).setText(str(value))
            self.bench.process_events()
        ui.advancedSection.setCollapsed(True)

    def want_report(self, wanted: bool) -> None:
        self.ui.reportCheckBox.setChecked(wanted)
        self.bench.process_events()

    def name_model(self, name: str, **card: str) -> None:
        """Name and card fields (`anatomy`, `description`, `licence`, `attribution`, `note`) of the model."""
        self.ui.nameEdit.setText(name)
        for field, text in card.items():
            getattr(self.ui, f"{field}Edit").setText(text)
        self.bench.process_events()

    def start(self) -> Any:
        """Press Start; with pictures, look at it when half is done. The training."""
        self._ticks.restart()
        training = start(self.bench, self.train)
        if self.pictures is not None:
            self.wait(lambda: self._half_done(training))
            self._note_gap()
            self.picture("running")
            self.picture_of_views()
            self._ticks.restart()
        return training

    def _half_done(self, training: Any) -> bool:
        bar = self.ui.progressBar
        return training.finished or (training.step > 0 and bar.maximum > 0 and 2 * bar.value >= bar.maximum)

    def until_done(self) -> Any:
        """Wait for the end of the training that goes on, and for its report; the training."""
        training = self.train.panel.train.training
        self.wait(lambda: training.finished)
        self._note_gap()
        until_end(self.bench, training)
        return training

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until it holds; Slicer goes on meanwhile."""
        self.bench.wait_until(condition, HOUR)

    def _note_gap(self) -> None:
        self.gaps = [max(pair) for pair in zip(self.gaps, self._ticks.longest(), strict=True)]

    def keep(self, training: Any, folder: Path) -> None:
        """Model, record and report of a training, copied for whoever wants to look later."""
        plan = training.plan
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(plan.out, folder)
        shutil.copytree(plan.folder, folder / plan.folder.name, dirs_exist_ok=True)

    def use(self, training: Any) -> None:
        """Press "Use in C2S Denoise", which opens that module with the model of this training."""
        self.bench.click(self.ui.useButton)
        assert self.denoise.parent.isEntered, self.ui.statusLabel.text
        chosen = self.denoise.ui.modelBox.currentText
        assert chosen == f"{training.plan.out.stem} (own)", chosen

    # ---- C2S Denoise

    def load(self, path: Path) -> Any:
        """Load a file into the scene, as by dropping it on the window."""
        import slicer

        return slicer.util.loadVolume(str(path))

    def denoised(self, volume: Any, model: str = "", others: Sequence[Any] = ()) -> np.ndarray:
        """Denoise in C2S Denoise with the model that is chosen there, or with `model`; (K, J, I) float32.

        `others` are the volumes to tick under Other contrasts.
        """
        import qt
        import slicer

        ui = self.denoise.ui
        self.bench.enter(self.denoise)
        ui.inputSelector.setCurrentNode(volume)
        if model:
            ui.modelBox.setCurrentIndex(ui.modelBox.findData(model))
        ticked, selector = {node.GetID() for node in others}, ui.contrastSelector
        for node in [selector.nodeFromIndex(n) for n in range(selector.nodeCount())]:
            selector.setCheckState(node, qt.Qt.Checked if node.GetID() in ticked else qt.Qt.Unchecked)
        settle(self.bench, self.denoise, HOUR)
        before = self.denoise.panel.run
        run = apply(self.bench, self.denoise, seconds=HOUR)
        assert run is not before, ui.statusLabel.text  # refused, the panel still has the run of before
        settle(self.bench, self.denoise, HOUR)
        return np.array(slicer.util.arrayFromVolume(run.result.volume), dtype=np.float32)

    def back(self) -> None:
        """Open C2S Train again."""
        self.bench.enter(self.train)
