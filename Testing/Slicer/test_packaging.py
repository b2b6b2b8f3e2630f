"""The extension, configured and installed against the stand-in Slicer package: what is listed is what is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "Testing" / "SlicerPackage"
INSTALLED = Path("lib/Slicer-5.10/qt-scripted-modules")
NOT_SHIPPED = {"CMakeLists.txt", "Testing", "__pycache__"}

pytestmark = [
    pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed (Debian: apt-get install cmake)"),
    pytest.mark.skipif(
        shutil.which("cc") is None and os.name != "nt",
        reason="project() of an extension needs a C compiler (Debian: apt-get install build-essential)",
    ),
]

TOP = """cmake_minimum_required(VERSION 3.16.3...3.28)
project(Tiny)
set(EXTENSION_HOMEPAGE "https://example.org")
set(EXTENSION_CONTRIBUTORS "A. Author")
set(EXTENSION_DESCRIPTION "{description}")
set(EXTENSION_ICONURL "https://example.org/icon.png")
set(EXTENSION_SCREENSHOTURLS "https://example.org/1.png")
set(EXTENSION_DEPENDS "NA")
find_package(Slicer REQUIRED)
include(${{Slicer_USE_FILE}})
add_subdirectory(Tiny)
include(${{Slicer_EXTENSION_GENERATE_CONFIG}})
include(${{Slicer_EXTENSION_CPACK}})
"""
MODULE = """slicerMacroBuildScriptedModule(
  NAME Tiny SCRIPTS Tiny.py {scripts} RESOURCES Resources/a.txt WITH_GENERIC_TESTS)
if(BUILD_TESTING)
  slicer_add_python_unittest(SCRIPT {test})
endif()
"""


def configure(source: Path, build: Path) -> subprocess.CompletedProcess:
    command = ["cmake", "-S", str(source), "-B", str(build), f"-DSlicer_DIR={PACKAGE}"]
    return subprocess.run(command, capture_output=True, text=True)


def install(source: Path, folder: Path) -> Path:
    """Configure, build and install; the folder of scripted modules in the installation."""
    configured = configure(source, folder / "build")
    assert configured.returncode == 0, configured.stderr
    for command in (
        ["--build", str(folder / "build")],
        ["--install", str(folder / "build"), "--prefix", str(folder / "out")],
    ):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out" / INSTALLED


def files(folder: Path) -> set[str]:
    """Relative paths of all files in a folder that belong into a package."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {path.as_posix() for path in paths if not NOT_SHIPPED & set(path.parts)}


def tiny(folder: Path, scripts: str = "Lib/part", test: str = "Tiny.py", description: str = "Tiny.") -> Path:
    """A small extension to try the stand-in on."""
    (folder / "Tiny" / "Lib").mkdir(parents=True)
    (folder / "Tiny" / "Resources").mkdir()
    for name in ("Tiny/Tiny.py", "Tiny/Lib/part.py", "Tiny/Resources/a.txt", "README.md", "LICENSE.txt"):
        (folder / name).touch()
    (folder / "CMakeLists.txt").write_text(TOP.format(description=description))
    (folder / "Tiny" / "CMakeLists.txt").write_text(MODULE.format(scripts=scripts, test=test))
    return folder


def test_the_stand_in_keeps_sub_folders(tmp_path):
    installed = install(tiny(tmp_path / "source"), tmp_path)
    assert files(installed) == {"Tiny.py", "Lib/part.py", "Resources/a.txt"}
    assert files(tmp_path / "build" / INSTALLED) == files(installed)


@pytest.mark.parametrize(
    "fault, says",
    [
        ({"scripts": "Lib/gone.py"}, "Lib/gone.py, which does not exist"),
        ({"scripts": "../README.md.py"}, "outside the module"),
        ({"test": "gone.py"}, "gone.py"),
        ({"description": ""}, "EXTENSION_DESCRIPTION"),
    ],
)
def test_the_stand_in_stops_at_what_slicer_would_not_install(tmp_path, fault, says):
    configured = configure(tiny(tmp_path / "source", **fault), tmp_path / "build")
    assert configured.returncode != 0
    assert says in " ".join(configured.stderr.split())


def test_the_stand_in_wants_a_licence(tmp_path):
    source = tiny(tmp_path / "source")
    (source / "LICENSE.txt").unlink()
    configured = configure(source, tmp_path / "build")
    assert configured.returncode != 0 and "EXTENSION_LICENSE_FILE" in configured.stderr


# The extension itself

MODULES = sorted(path.parent for path in ROOT.glob("C2SDenoise*/CMakeLists.txt"))
ours = pytest.mark.skipif(not MODULES, reason="no module of the extension has a CMakeLists.txt yet")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    return install(ROOT, tmp_path_factory.mktemp("extension"))


@ours
def test_every_file_of_the_modules_is_installed_and_nothing_else(installed):
    expected = set().union(*(files(module) for module in MODULES))
    shared = {f"Resources/{name}" for name in files(ROOT / "Resources") if name.startswith(("Models/", "Presets/"))}
    found = files(installed)
    assert sorted(expected - found) == []
    assert sorted(found - expected - shared) == []


@ours
def test_the_installed_core_finds_its_models_and_presets(installed):
    program = "from C2SCore.card import resources_folder; print(resources_folder())"
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("C2S_RESOURCES", None)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=installed
    )
    assert done.returncode == 0, done.stderr
    found = Path(done.stdout.strip())
    assert installed.parents[2] in found.parents
    for kind in ("Models", "Presets"):
        assert files(found / kind) == files(ROOT / "Resources" / kind)
