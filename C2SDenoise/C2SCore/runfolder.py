"""The folder beside a model in which its training keeps what it needs to go on; one training at a time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType

from C2SCore import runlock
from C2SCore.errors import UserError

SUFFIX = ".training"
STATE = "state.safetensors"  # the checkpoint
LOCK = "lock"  # held by the process that trains, see `runlock`
RECORD = "training.json"  # what was ordered, see `trainrecord`
MEASURED = "measured.jsonl"  # what was measured of the scans, see `measuring`


def run_folder(out: str | Path) -> Path:
    """`<model>.training` beside `<model>.safetensors`."""
    return Path(out).with_suffix(SUFFIX)


def owner(folder: Path) -> int | None:
    """The number of the process that trains into this run folder now, if there is one; 0 if its number is unknown."""
    return runlock.holder(folder / LOCK)


def check_free(out: Path, resume: bool) -> None:
    """Raise `UserError` where a training would overwrite a model that it does not go on with, or another's state."""
    state = run_folder(out) / STATE
    if not resume and (state.exists() or out.exists()):
        raise UserError(
            f"{out} or its training exists already; a new training would overwrite it. Resume it, "
            "or choose another name."
        )
    if resume and out.exists() and not state.exists():
        raise UserError(
            f"{out} is a model without a training to resume ({state} is missing); a new training would overwrite it. "
            "Choose another name, and start from this model if you like (--initial)."
        )


class RunFolder:
    """Context that owns the folder: a second training into it is refused while this one lives, wherever it runs; after
    a dead one, the folder is free.
    """

    def __init__(self, out: Path, resume: bool) -> None:
        if out.suffix != ".safetensors":
            raise UserError(f"The model file is {out.name!r}; its name must end with .safetensors. Change the name.")
        self.path = run_folder(out)
        self.lock, self.state = self.path / LOCK, self.path / STATE
        self.preview, self.measured = self.path / "preview.npy", self.path / MEASURED
        other = owner(self.path)
        if other is not None:
            raise UserError(_taken(other, self.path))
        check_free(out, resume)

    def __enter__(self) -> RunFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._held = self._claim()
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({error.strerror}); the training needs it. Choose "
                "another place for the model."
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        nothing = kind is not None and not self.state.exists()
        if nothing:
            # Nothing worth resuming: leave nothing behind, but for what was measured, which the next attempt needs not
            # measure again.
            for name in (self.preview, self.path / RECORD):
                name.unlink(missing_ok=True)
        runlock.release(self.lock, self._held)
        if nothing:
            with suppress(OSError):  # it stays if anything else is in it
                self.path.rmdir()

    def _claim(self) -> int:
        handle = runlock.claim(self.lock)
        if handle is None:
            raise UserError(_taken(owner(self.path) or 0, self.path))
        return handle


def _taken(process: int, folder: Path) -> str:
    advice = "Wait for it, stop it, or choose another name."
    return f"Process {process} is training into {folder} already; two cannot. {advice}"
