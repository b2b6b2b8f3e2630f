"""Files appear whole or not at all, and an unwritable place is found before the work and not after it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from C2SCore.errors import UserError

WINDOWS = os.name == "nt"
UNFIT = frozenset('<>:"|?*')  # for names on Windows
TEMPORARY = ".c2s-"  # begins the names under which files are written
ATTEMPTS, WAIT = 10, 0.1  # of a renaming that Windows refuses, and the seconds between them


def check_writable(path: str | Path) -> Path:
    """Raises `UserError` if a file could not be written at `path`; changes nothing that stays.

    Folders that do not exist yet are no fault: writing makes them, if the nearest folder above allows it.
    """
    path = Path(path)
    if WINDOWS and (unfit := UNFIT.intersection(path.name)):
        raise UserError(f"{path} has {' '.join(sorted(unfit))} in its name, which no name on Windows may. Change it.")
    _check_place(path)
    if WINDOWS and path.exists():  # a file that is read-only, or held by another program, is not replaced there
        try:
            path.open("r+b").close()
        except OSError as error:
            raise _in_use(path, error) from error
    return path


def _check_place(path: Path) -> None:
    """Raises `UserError` if no file can be made where `path` is."""
    if os.path.isdir(path):  # false, and no error, for names that are too long
        raise UserError(f"{path} is a folder; the output must be a file name. Add a name with an extension.")
    folder = path.absolute().parent
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        with contextlib.suppress(FileNotFoundError):
            os.lstat(path)  # fails where the system takes no such name
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{path} cannot be written ({folder}: {reason}); the folder must exist or be possible to make, and allow "
            "writing, and the system must take the name. Choose another place."
        ) from error


@contextmanager
def atomic(path: str | Path, suffix: str = "") -> Iterator[Path]:
    """A temporary name in the folder of `path`, renamed to `path` on success and removed otherwise.

    `suffix` keeps an extension that the writer goes by (``.nii.gz``). Raises `UserError` if the place is not writable.
    """
    path = Path(path)
    _check_place(path)
    with _folder(path.parent):
        temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}{suffix}"
        try:
            temporary.touch(exist_ok=False)  # within: whatever stops the program now, the file goes
            yield temporary
            try:
                _replace(temporary, path)
            except PermissionError as error:
                raise _in_use(path, error) from error
        finally:
            temporary.unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """A file as another one, whole or not at all; raises `UserError`."""
    try:
        with atomic(target, target.suffix) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise UserError(
            f"{target} cannot be written ({error.strerror or error}); it would be a copy of {source}. Free some space, "
            "or choose another place."
        ) from error


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """As `atomic`, for a folder that is filled; one that is there already goes only after the new one has come."""
    with (
        _folder(folder.parent),
        tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder.parent, ignore_cleanup_errors=True) as name,
    ):
        new, old = Path(name) / "new", Path(name) / "old"
        new.mkdir()
        yield new
        try:
            if folder.is_dir():
                _replace(folder, old)
            try:
                _replace(new, folder)
            except OSError:
                if old.is_dir():
                    _replace(old, folder)
                raise
        except PermissionError as error:
            raise _in_use(folder, error) from error


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Made where it is missing, with those above it; what was made goes again if what was to come into it fails."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # somebody else has put something there
            for made in missing:
                made.rmdir()
        raise


def _replace(new: Path, path: Path) -> None:
    """Rename over whatever is there; where Windows refuses, as while somebody reads one of them, try again."""
    for _ in range(ATTEMPTS - 1):
        try:
            return os.replace(new, path)
        except PermissionError:
            if not WINDOWS:
                raise
            time.sleep(WAIT)
    os.replace(new, path)


def _in_use(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path} cannot be replaced ({error.strerror or error}): it may be protected, or open in another program. "
        "Close it there and try again, or choose another name."
    )


def write_json(path: str | Path, values: Any) -> Path:
    """Writes `values` as indented JSON, atomically; raises `UserError` where there is no room for it."""
    return write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def write_text(path: str | Path, text: str) -> Path:
    """Writes a text as UTF-8, as `write_bytes` does.

    What is not UTF-8 in the name of a file is written as its code, so that one such name costs no record.
    """
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Writes a file, atomically; raises `UserError` where there is no room for it."""
    with atomic(path) as temporary:
        try:
            temporary.write_bytes(content)
        except OSError as error:
            raise UserError(
                f"{path} could not be written ({error.strerror or error}); all of it must fit. "
                "Free some space or choose another place."
            ) from error
    return Path(path)
