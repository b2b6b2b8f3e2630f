"""Puts the stand-ins where modules look for them: ``qt``, ``ctk``, ``slicer.qMRML…``, ``slicer.i18n`` and so on.

With the environment variable C2S_SLICER_PYTHON set to the folder Base/Python of a Slicer source tree, Slicer's own
parameterNodeWrapper, ScriptedLoadableModule and i18n are used in place of the stand-ins.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

import slicer
import slicer.util
from PySide6 import QtCore

from . import ctk_widgets, modules, mrml_widgets, view_widgets
from .application import qSlicerApplication
from .qt_module import make_qt_module
from .refcounts import make_singletons_immortal
from .wrapping import wrap, wrapper_class

VARIABLE = "C2S_SLICER_PYTHON"
_HELPERS = {"i18n": "i18n", "ScriptedLoadableModule": "scripted_module", "parameterNodeWrapper": "parameter_nodes"}
_application: qSlicerApplication | None = None


def application() -> qSlicerApplication:
    """The one application of this process; made, with all modules in place, on the first call."""
    global _application
    if _application is None:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        make_singletons_immortal()
        sys.modules["qt"] = make_qt_module()
        sys.modules["ctk"] = ctk_widgets.make_ctk_module()
        for widgets in (mrml_widgets.WIDGETS, view_widgets.WIDGETS):
            for name, cls in widgets.items():
                setattr(slicer, name, wrapper_class(cls))
        for cls in (modules.qSlicerScriptedLoadableModule, modules.qSlicerScriptedLoadableModuleWidget):
            setattr(slicer, cls.__name__, wrapper_class(cls))
        QtCore.qInstallMessageHandler(_print_message)
        _application = qSlicerApplication()
        slicer.app = wrap(_application)
        _application._bench_keep = slicer.app  # wrappers are held weakly
        folder = os.environ.get(VARIABLE)
        for name, stand_in in _HELPERS.items():
            _install_helper(name, stand_in, Path(folder) / "slicer" if folder else None)
    return _application


def _print_message(kind: object, context: object, text: str) -> None:
    """Qt's own warnings, less the one that the screenless platform repeats for every window."""
    if "propagateSizeHints" not in text:
        print(f"Qt: {text}", file=sys.stderr)


def _install_helper(name: str, stand_in: str, folder: Path | None) -> None:
    full = f"slicer.{name}"
    if folder is None:
        module = importlib.import_module(f"{__package__}.{stand_in}")
        sys.modules[full] = module
    else:
        package = folder / name / "__init__.py"
        path = package if package.is_file() else folder / f"{name}.py"
        if not path.is_file():
            raise FileNotFoundError(
                f"{VARIABLE} is {folder.parent}, which has no slicer/{name}; set it to Base/Python of Slicer's sources"
            )
        places = [str(package.parent)] if package.is_file() else None
        spec = importlib.util.spec_from_file_location(full, path, submodule_search_locations=places)
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    setattr(slicer, name, module)
