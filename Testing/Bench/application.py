"""``slicer.app``: the application object and the small services that hang on it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

import slicer
from PySide6 import QtCore, QtWidgets

from .io_manager import qSlicerCoreIOManager
from .layouts import qSlicerLayoutManager
from .modules import qSlicerModuleManager

VERSION = (5, 10, 0)  # the oldest Slicer that the modules support


class qSlicerExtensionsManagerModel(QtCore.QObject):
    """Knows the extensions that a test says are installed; installing one is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.installed: set[str] = set()
        self.requested: list[str] = []

    def isExtensionInstalled(self, name: str) -> bool:
        return name in self.installed

    def installExtensionFromServer(self, name: str, *options: object) -> bool:
        self.requested.append(name)
        return False  # the bench has no network

    def setInteractive(self, interactive: bool) -> None:
        """No questions are asked here."""


class qSlicerCommandOptions(QtCore.QObject):
    """What the program was started with."""

    testingEnabled = QtCore.Property(bool, lambda self: slicer.app.testingEnabled())
    noMainWindow = QtCore.Property(bool, lambda self: slicer.util.mainWindow() is None)


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The views in the middle, the module panel on the left; no menus."""

    def __init__(self, layout_manager: qSlicerLayoutManager, modules: qSlicerModuleManager):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._modules = modules
        self.setCentralWidget(layout_manager.viewport())
        self.resize(1300, 800)

    def moduleSelector(self) -> QtCore.QObject:
        return self._modules


class qSlicerApplication(QtWidgets.QApplication):
    """One per process; ``start`` and ``finish`` give each test its own scene and services."""

    startupCompleted = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__(["Slicer"])
        self.setApplicationName("Slicer")
        self.setOrganizationName("NA-MIC")
        self.setStyle("Fusion")
        self.setQuitOnLastWindowClosed(False)
        self._testing = True
        self._folder = ""

    def start(self, scene: object, main_window: bool) -> None:
        self._folder = tempfile.mkdtemp(prefix="bench ü ")  # a space and an umlaut, as on many a user's disk
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, self._folder)
        self._scene = scene
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._logic.SetTemporaryPath(self._folder)
        self._logic.SetMRMLScene(scene)
        colors = slicer.vtkMRMLColorLogic()
        colors.SetMRMLScene(scene)
        self._logic.SetColorLogic(colors)
        self._colors = colors
        self._modules = qSlicerModuleManager()
        self._io = qSlicerCoreIOManager(scene, self._folder)
        self._extensions = qSlicerExtensionsManagerModel()
        self._options = qSlicerCommandOptions()
        # Without a main window Slicer has no layout manager.
        self._layouts = qSlicerLayoutManager(self._logic, scene) if main_window else None
        self._window = qSlicerMainWindow(self._layouts, self._modules) if main_window else None

    def finish(self) -> None:
        if self._window is not None:
            self._layouts.dispose()
            self._window.deleteLater()
        self._window = self._layouts = None
        shutil.rmtree(self._folder, ignore_errors=True)
        while self.overrideCursor() is not None:
            self.restoreOverrideCursor()

    # What Slicer's application offers

    applicationVersion = QtCore.Property(str, lambda self: ".".join(map(str, VERSION)) + "-2025-11-10")
    majorVersion = QtCore.Property(int, lambda self: VERSION[0])
    minorVersion = QtCore.Property(int, lambda self: VERSION[1])
    temporaryPath = QtCore.Property(str, lambda self: self._folder)
    slicerHome = QtCore.Property(str, lambda self: os.path.dirname(sys.executable))
    slicerUserSettingsFilePath = QtCore.Property(str, lambda self: os.path.join(self._folder, "Slicer.ini"))
    documentationBaseUrl = QtCore.Property(str, lambda self: "https://slicer.readthedocs.io/en/latest/")

    def testingEnabled(self) -> bool:
        return self._testing

    def setTestingEnabled(self, testing: bool) -> None:
        self._testing = testing

    def mrmlScene(self) -> object:
        return self._scene

    def applicationLogic(self) -> object:
        return self._logic

    def layoutManager(self) -> QtCore.QObject | None:
        return self._layouts

    def moduleManager(self) -> QtCore.QObject:
        return self._modules

    def coreIOManager(self) -> QtCore.QObject:
        return self._io

    ioManager = coreIOManager

    def extensionsManagerModel(self) -> QtCore.QObject:
        return self._extensions

    def commandOptions(self) -> QtCore.QObject:
        return self._options

    def mainWindow(self) -> QtWidgets.QWidget | None:
        return self._window

    def settings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    userSettings = revisionUserSettings = settings

    def startupEnvironment(self) -> dict[str, str]:
        return dict(os.environ)

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    def pauseRender(self) -> None:
        """Views here paint only when Qt asks them to."""

    resumeRender = pauseRender
