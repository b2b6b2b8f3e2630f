"""The folder beside a model in which its training keeps what it needs to go on; one training at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

from C2SCore.errors import UserError

SUFFIX = ".training"
STATE = "state.safetensors"  # the checkpoint
RECORD = "training.json"  # what was ordered, see `trainrecord`
MEASURED = "measured.jsonl"  # what was measured of the scans, see `measuring`


def run_folder(out: str | Path) -> Path:
    """`<model>.training` beside `<model>.safetensors`."""
    return Path(out).with_suffix(SUFFIX)


def owner(folder: Path) -> int | None:
    """The process that trains into this run folder now, if there is one."""
    try:
        text = (folder / "lock").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and _alive(int(text)) else None


class RunFolder:
    """Context that owns the folder: a second training into it is refused while this one lives, a dead one's claim is
    taken over.
    """

    def __init__(self, out: Path, resume: bool) -> None:
        if out.suffix != ".safetensors":
            raise UserError(f"The model file is {out.name!r}; its name must end with .safetensors. Change the name.")
        self.path = run_folder(out)
        self.lock, self.state = self.path / "lock", self.path / STATE
        self.preview, self.measured = self.path / "preview.npy", self.path / MEASURED
        other = owner(self.path)
        if other is not None:
            raise UserError(_taken(other, self.path))
        if not resume and (self.state.exists() or out.exists()):
            raise UserError(
                f"{out} or its training exists already; a new training would overwrite it. Resume it, "
                "or choose another name."
            )

    def __enter__(self) -> RunFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._claim()
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({error.strerror}); the training needs it. Choose "
                "another place for the model."
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lock.unlink(missing_ok=True)
        if kind is not None and not self.state.exists():
            # Nothing worth resuming: leave nothing behind, but for what was measured, which the next attempt needs not
            # measure again.
            for name in (self.preview, self.path / RECORD):
                name.unlink(missing_ok=True)
            try:
                self.path.rmdir()
            except OSError:
                pass

    def _claim(self) -> None:
        for _ in range(2):
            try:
                handle = os.open(self.lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                other = owner(self.path)
                if other is not None:
                    raise UserError(_taken(other, self.path)) from None
                self.lock.unlink(missing_ok=True)
                continue
            os.write(handle, str(os.getpid()).encode("ascii"))
            os.close(handle)
            return
        raise UserError(f"{self.lock} is claimed by another training. Wait for it, or choose another name.")


def _taken(process: int, folder: Path) -> str:
    advice = "Wait for it, stop it, or choose another name."
    return f"Process {process} is training into {folder} already; two cannot. {advice}"


def _alive(process: int) -> bool:
    if process == os.getpid():
        return True
    if sys.platform == "win32":
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, process)  # query limited information
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
