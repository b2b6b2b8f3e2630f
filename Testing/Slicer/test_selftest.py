"""The modules' own tests, as Slicer runs them: with what they need, and where nothing is installed."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from trainscenes import MODULE

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"torch": "torch", "yaml": "PyYAML", "h5py": "h5py", "safetensors": "safetensors"}
_START = """
import sys
from Bench import environment
environment.application()
before = set(sys.modules)
import C2SDenoise, C2SDenoiseTrain
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""


@pytest.fixture
def bare(request, monkeypatch, tmp_path):
    """Neither Slicer's Python nor the worker's has the packages: those of the test's parameter, or all."""
    from C2SCore import config
    from C2SSlicer import job

    packages = getattr(request, "param", tuple(PACKAGES))
    for name in packages:
        text = f"No module named {name}"
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError({text!r}, name={name!r})")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [n for n in sys.modules if n.partition(".")[0] in packages]:
        monkeypatch.delitem(sys.modules, name)
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name in {PACKAGES[module] for module in packages}:
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    config._bundled.cache_clear()  # a recipe that was read is not read again
    job.close_all()
    yield
    job.close_all()


def run(bench, name: str) -> None:
    """As the button Test of the module does."""
    import slicer

    bench.load_module(ROOT / "C2SDenoise" / "C2SDenoise.py")
    bench.load_module(ROOT / name / f"{name}.py")
    slicer.selfTests[name]()
    bench.process_events()


@pytest.mark.parametrize("name", ["C2SDenoise", "C2SDenoiseTrain"])
def test_where_nothing_is_installed(bench, bare, name, capfd):
    run(bench, name)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("bare", [("h5py",), ("yaml",), ("safetensors",)], indirect=True, ids=str)
@pytest.mark.parametrize("name", ["C2SDenoise", "C2SDenoiseTrain"])
def test_where_one_package_is_missing(bench, bare, name):
    """Not every job needs it."""
    run(bench, name)


def test_the_start_of_slicer_loads_no_large_library(bench):
    """Slicer imports all modules when it starts; even SimpleITK, which it has, is loaded when it is needed."""
    folders = [str(ROOT / name) for name in ("Testing", "C2SDenoise", "C2SDenoiseTrain")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    started = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True, env=environment)
    assert started.returncode == 0, started.stderr
    loaded = set(started.stdout.split())
    assert "C2SCore" in loaded and not loaded & {*PACKAGES, "SimpleITK", "scipy", "pydicom", "skimage"}


def test_denoising_a_phantom(bench):
    run(bench, "C2SDenoise")


def test_a_panel_that_is_made_without_the_module_selector(bench):
    """Slicer's base class calls setup() in its constructor then."""
    bench.load_module(ROOT / "C2SDenoise" / "C2SDenoise.py")
    widget = sys.modules["C2SDenoise"].C2SDenoiseWidget()
    assert widget.panel is not None and widget._parameterNode is not None
    widget.cleanup()
    widget.parent.deleteLater()
    bench.process_events()


def test_a_panel_that_fails_to_close_observes_nothing_any_more(bench, monkeypatch):
    bench.load_module(ROOT / "C2SDenoise" / "C2SDenoise.py")
    widget = sys.modules["slicer"].modules.C2SDenoiseWidget

    def fail() -> None:
        raise OSError("a file is held")

    with monkeypatch.context() as patch:
        patch.setattr(widget.panel, "close", fail)
        with pytest.raises(OSError, match="held"):
            widget.cleanup()
    assert not widget.Observations


def test_a_file_that_is_held_does_not_keep_the_module_from_closing(bench, monkeypatch):
    """As on Windows, where the worker that is just ending still has it open."""
    bench.load_module(ROOT / "C2SDenoiseTrain" / "C2SDenoiseTrain.py")
    inspection = sys.modules["slicer"].modules.C2SDenoiseTrainWidget.panel.data.inspection
    file = Path(inspection._place()) / "held.npy"
    file.touch()

    def held(path, **options) -> None:
        raise OSError(errno.EBUSY, "held", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", held)
        inspection.close()
    assert file.exists()
    shutil.rmtree(file.parent)


def test_the_self_test_passes(bench, models):
    """Also after the module was reloaded, as a developer does."""
    widget = bench.load_module(MODULE)
    bench.enter(widget)
    assert bench.reload(widget) is not widget
    from C2SDenoiseTrain import C2SDenoiseTrainTest

    C2SDenoiseTrainTest().runTest()
