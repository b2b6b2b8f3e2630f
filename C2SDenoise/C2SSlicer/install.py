"""What the worker needs in Slicer's Python: asked for once, installed at the first Apply, never behind the user's back.

PyTorch comes through the PyTorch extension, which picks the build for the graphics card; the rest through Slicer's
own packaging. Slicer's numpy, scipy and SimpleITK are held at their versions by a pip constraint. Nothing is imported
to find out what is there.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import slicer

from C2SCore.errors import UserError
from C2SSlicer import job

HELD = ("numpy", "scipy", "SimpleITK")
"""Packages of Slicer that an installation must not touch: replacing them has broken Slicer before."""

TORCH = ">=2.2,<2.13" if sys.platform == "win32" else ">=2.2"
"""On Windows, torch 2.13 has file names too long for Slicer's folder (light-the-torch issue 176)."""

ENDING = 4.0  # seconds that a worker has to end before an installation: a job in it has three to stop

_busy: list[bool] = []  # holds something while an installation goes on


def requirements(path: str | Path) -> list[str]:
    """The lines of a requirements file, without comments."""
    lines = (line.split("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def missing(wanted: list[str]) -> list[str]:
    """Those of the requirements that are not installed in a version that suffices."""
    from packaging.requirements import Requirement

    found = []
    for text in wanted:
        requirement = Requirement(text)
        version = installed(requirement.name)
        if version is None or not requirement.specifier.contains(version.split("+")[0], prereleases=True):
            found.append(text)
    return found


def installed(name: str) -> str | None:
    """Version of an installed package, read from its metadata."""
    importlib.invalidate_caches()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def preflight(wanted: list[str]) -> str:
    """One line: what is there and what is not."""
    absent = missing([f"torch{TORCH}", *wanted])
    if absent:
        return f"Not installed yet: {', '.join(absent)}. The first Apply offers to install it."
    return f"PyTorch {installed('torch')} is installed."


def ensure(wanted: list[str], wheels: str = "", say: Callable[[str], None] | None = None) -> bool:
    """Install what is missing after asking once; whether everything is there now.

    `wheels`: a folder with downloaded wheels, for computers without internet. `say` is told what is being done. Slicer
    handles events meanwhile: whoever calls this must not rely on what was true before. Raises `UserError` where an
    installation failed.
    """
    torch_missing, rest = missing([f"torch{TORCH}"]), missing(wanted)
    if not torch_missing and not rest:
        return True
    if job.busy("train"):
        raise UserError(
            f"{', '.join(torch_missing + rest)} is missing, but a training, or the estimate of its time, is going on, "
            "which an installation would end. Wait for it or stop it in C2S Train, then try again."
        )
    if not _allowed(torch_missing + rest, question(torch_missing + rest, wheels)):
        return False
    job.close_all(ENDING)  # Windows replaces no file that a process has loaded
    with _installing(torch_missing + rest, say) as file:
        if wheels:
            _pip(["--no-index", "--find-links", wheels, *torch_missing, *rest], file)
        else:
            if torch_missing:
                _install_torch()
            if rest:
                _pip(rest, file)
    job.close_all()  # one that was started meanwhile has looked for its packages already
    still = missing([f"torch{TORCH}", *wanted])
    if still:
        raise UserError(
            f"{', '.join(still)} could not be installed; the Python console says why. Check the internet connection, "
            "or give a folder of downloaded wheels under Model, and apply again."
        )
    return True


def ensure_evaluation() -> None:
    """PSNR and SSIM come from scikit-image, which Slicer lacks: asked for at the first comparison with a reference."""
    wanted = ["scikit-image>=0.22"]
    if not missing(wanted):
        return
    text = (
        "Comparing with a reference needs the Python package scikit-image, which is not in this Slicer yet. It is "
        "installed into Slicer's own Python, once. Install now?"
    )
    if not _allowed(wanted, text):
        raise UserError(
            "PSNR and SSIM were not measured: they need scikit-image. Choose the reference again to install it."
        )
    with _installing(wanted) as file:
        _pip(wanted, file)


def _allowed(packages: list[str], text: str) -> bool:
    """Ask. Slicer's testing mode would answer yes; nothing is installed there."""
    if _busy:
        raise UserError("An installation is going on. Wait until it has ended; the Python console shows how far it is.")
    if slicer.app.testingEnabled():
        raise UserError(f"{', '.join(packages)} is missing, and nothing is installed while Slicer is being tested.")
    return slicer.util.confirmOkCancelDisplay(text, "C2S Denoise")


@contextlib.contextmanager
def _installing(packages: list[str], say: Callable[[str], None] | None = None) -> Iterator[str]:
    """One installation at a time, and the user sees that something goes on; gives the constraints file."""
    _busy.append(True)
    try:
        if say is not None:
            say(f"Installing {', '.join(packages)}. This may take minutes; the Python console shows how far it is.")
        with slicer.util.WaitCursor(), constraints() as file:
            yield file
    finally:
        _busy.clear()


def question(packages: list[str], wheels: str) -> str:
    """What is asked before anything is installed."""
    names = ", ".join(packages)
    origin = f"from the folder {wheels}, without internet" if wheels else "from the internet"
    size = ""
    if not wheels and any(p.startswith("torch") for p in packages):
        size = " PyTorch is large: some hundred megabytes, or several gigabytes for an NVIDIA graphics card."
    return (
        f"Denoising needs Python packages that are not in this Slicer yet: {names}. They are installed into Slicer's "
        f"own Python, {origin}, once.{size} Slicer's numpy, scipy and SimpleITK stay as they are. Images never leave "
        "this computer.\n\nInstall now?"
    )


@contextlib.contextmanager
def constraints() -> Iterator[str]:
    """A pip constraints file that holds Slicer's packages at their versions; every pip started meanwhile obeys it."""
    lines = [f"{name}=={version}" for name in HELD if (version := installed(name))]
    handle, path = tempfile.mkstemp(suffix=".txt", prefix="C2S-constraints-")
    before = os.environ.get("PIP_CONSTRAINT")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        # As an address: pip splits this variable at spaces, which the folder of many a user has.
        os.environ["PIP_CONSTRAINT"] = Path(path).as_uri()
        yield path
    finally:
        if before is None:
            os.environ.pop("PIP_CONSTRAINT", None)
        else:
            os.environ["PIP_CONSTRAINT"] = before
        os.unlink(path)


def _pip(arguments: list[str], constraint: str) -> None:
    """Install through Slicer; SimpleITK is skipped where Slicer can, constrained everywhere."""
    try:
        slicer.util.pip_install([*arguments, "--constraint", constraint])
    except Exception as error:  # CalledProcessError, or what a newer Slicer makes of it
        raise UserError(
            f"{', '.join(a for a in arguments if not a.startswith('-'))} could not be installed ({error}). Check the "
            "internet connection and that Slicer's folder is writable, or give a folder of downloaded wheels under "
            "Model."
        ) from error


def _install_torch() -> None:
    """PyTorch through the PyTorch extension; raises `UserError` where that extension comes first."""
    try:
        import PyTorchUtils
    except ImportError:
        _install_extension()
        return
    reason = ""
    try:
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=TORCH)
    except Exception as error:  # pip has failed; or it has not, and only Slicer itself cannot load what is new
        reason = f" ({error})"
    if missing([f"torch{TORCH}"]):
        raise UserError(
            f"PyTorch could not be installed{reason}; the Python console says why. Restart Slicer and apply again; or "
            "open the module PyTorch Utils, uninstall it there, restart, and install it there."
        )


def _install_extension() -> None:
    """Always ends with `UserError`: the extension can be used after a restart."""
    manager = slicer.app.extensionsManagerModel() if hasattr(slicer.app, "extensionsManagerModel") else None
    if manager is not None and manager.installExtensionFromServer("PyTorch", False):  # no restart behind one's back
        raise UserError(
            "The PyTorch extension, which installs PyTorch, was added to Slicer. Restart Slicer, then apply again."
        )
    raise UserError(
        "The PyTorch extension is missing and could not be installed. Install it with the Extensions Manager, restart "
        "Slicer and apply again; without internet, give a folder of downloaded wheels under Model."
    )
