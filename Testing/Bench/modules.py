"""Modules: the object in ``slicer.modules``, its panel, and the manager that loads and unloads them."""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .mrml_widgets import qMRMLWidget
from .wrapping import wrap


def import_module(path: str) -> ModuleType:
    """Import a module file as Slicer's factory does: its folder goes to the end of sys.path, its name is the file's."""
    folder, name = os.path.dirname(path), os.path.splitext(os.path.basename(path))[0]
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _attribute(name: str, kind: object, default: object) -> QtCore.Property:
    """A typed property that only stores what it is given."""
    field = f"_{name}"

    def write(self: QtCore.QObject, value: object) -> None:
        setattr(self, field, value)

    return QtCore.Property(kind, lambda self: getattr(self, field, default), write)


class qSlicerScriptedLoadableModule(QtCore.QObject):
    """``slicer.modules.<name>`` of a scripted module, and the ``parent`` that its Python class fills in."""

    title = _attribute("title", str, "")
    categories = _attribute("categories", "QStringList", [])
    dependencies = _attribute("dependencies", "QStringList", [])
    contributors = _attribute("contributors", "QStringList", [])
    associatedNodeTypes = _attribute("associatedNodeTypes", "QStringList", [])
    helpText = _attribute("helpText", str, "")
    acknowledgementText = _attribute("acknowledgementText", str, "")
    icon = _attribute("icon", QtGui.QIcon, QtGui.QIcon())
    hidden = _attribute("hidden", bool, False)
    index = _attribute("index", int, -1)
    widgetRepresentationCreationEnabled = _attribute("widgetRepresentationCreationEnabled", bool, True)
    path = QtCore.Property(str, lambda self: self._path)

    def __init__(self, path: str):
        super().__init__()
        self._path, self._panel, self._python = path, None, None
        self.setObjectName(os.path.splitext(os.path.basename(path))[0])

    def build(self) -> None:
        """Import the file and make its module class."""
        name = self.objectName()
        module_class = getattr(import_module(self._path), name)
        self._python = module_class(wrap(self))
        setattr(slicer.modules, f"{name}Instance", self._python)

    def widgetRepresentation(self) -> QtWidgets.QWidget:
        """The panel, made when first asked for."""
        if self._panel is None:
            self._panel = qSlicerScriptedLoadableModuleWidget(self)
            self._panel.build()
        return self._panel

    def createNewWidgetRepresentation(self) -> QtWidgets.QWidget:
        panel = qSlicerScriptedLoadableModuleWidget(self)
        panel.build()
        return panel

    def logic(self) -> None:
        """Scripted modules have no C++ logic; theirs belongs to the widget."""

    def self(self) -> object:
        return self._python

    def forget_panel(self) -> None:
        if self._panel is not None:
            self._panel.deleteLater()
            self._panel = None


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel of a scripted module: parent of what its Python widget class builds."""

    def __init__(self, module: qSlicerScriptedLoadableModule):
        super().__init__()
        self._module, self._python, self._entered = module, None, False

    isEntered = QtCore.Property(bool, lambda self: self._entered)
    moduleName = QtCore.Property(str, lambda self: self._module.objectName())

    def build(self) -> None:
        """Make the Python widget and call its setup(), as on first opening and on reload."""
        name = self._module.objectName()
        if self.layout() is None:
            QtWidgets.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)
        self._python = getattr(sys.modules[name], f"{name}Widget")(wrap(self))
        setattr(slicer.modules, f"{name}Widget", self._python)
        self._python.setup()
        self.layout().addStretch(1)

    def reload(self) -> None:
        """Part of slicer.util.reloadScriptedModule: the file was run again; the old contents live on, hidden.

        As in Slicer, `enter` is not called, though the module stays open.
        """
        self.build()

    def self(self) -> object:
        return self._python

    def enter(self) -> None:
        self._entered = True
        self._call("enter")

    def exit(self) -> None:
        self._entered = False
        self._call("exit")

    def _call(self, name: str) -> None:
        method = getattr(self._python, name, None)
        if method is not None:
            method()


class qSlicerModuleManager(QtCore.QObject):
    """Loaded modules by name, and (in place of the module selector) which of them is open."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, qSlicerScriptedLoadableModule] = {}
        self._selected = ""

    def load(self, path: str) -> qSlicerScriptedLoadableModule:
        module = qSlicerScriptedLoadableModule(os.path.abspath(path))
        name = module.objectName()
        self._modules[name] = module
        setattr(slicer.modules, name.lower(), wrap(module))
        module.build()
        self.moduleLoaded.emit(name)
        return module

    def unload(self, name: str) -> None:
        """As at the end of the program: leave the module, then let its widget clean up."""
        module = self._modules.pop(name)
        if self._selected == name:
            module.widgetRepresentation().exit()
            self._selected = ""
        self.moduleAboutToBeUnloaded.emit(name)
        module.forget_panel()

    def module(self, name: str) -> qSlicerScriptedLoadableModule | None:
        return self._modules.get(name)

    def modulesNames(self) -> list[str]:
        return list(self._modules)

    loadedModuleNames = modulesNames

    def factoryManager(self) -> qSlicerModuleManager:
        return self

    def selectModule(self, name: str) -> None:
        """Open a module: exit() of the one before, enter() of this one."""
        if name == self._selected:
            return
        if self._selected:
            self._modules[self._selected].widgetRepresentation().exit()
        self._selected = name
        if name in self._modules:
            self._modules[name].widgetRepresentation().enter()
        else:
            self._selected = ""

    selectedModule = QtCore.Property(str, lambda self: self._selected)
