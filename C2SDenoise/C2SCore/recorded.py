"""A training from its record to its model: what `c2s train` and the worker share."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from C2SCore import files, noise, scan, spacing, training
from C2SCore.card import find_model, read_card
from C2SCore.config import TrainConfig
from C2SCore.errors import Cancelled, UserError
from C2SCore.events import Log, Message, Progress
from C2SCore.gridinputs import on_grid
from C2SCore.patches import Case
from C2SCore.preparing import listed
from C2SCore.runfolder import RECORD, RunFolder
from C2SCore.scan import Scan
from C2SCore.trainrecord import Record
from C2SCore.writing import TEMPORARY

CONVERTED = "converted-"  # and the process id: folder inside the training's own, for scans that are no arrays yet


def carry_out(
    record: Record,
    resume: bool = False,
    emit: Callable[[Message], None] = lambda message: None,
    cancelled: Callable[[], bool] = lambda: False,
    paused: Callable[[], bool] = lambda: False,
) -> Path:
    """Train what the record says, or go on with it, and keep the record up to date; returns the model file.

    Raises as `training.train` does.
    """
    recipe = TrainConfig.from_dict(record.config)
    with RunFolder(record.out, resume) as folder:  # a folder in use is found before its scans are read
        for left in folder.path.glob(f"{CONVERTED}*"):  # by a training that was killed
            shutil.rmtree(left, ignore_errors=True)
        for left in folder.path.glob(f"{TEMPORARY}*"):  # by one that was killed while it wrote its state
            with contextlib.suppress(OSError):
                left.unlink()
        before = record.checkpoint().get("config") if resume else None
        if before is not None:  # another recipe must not be written down
            training.check_recipe(TrainConfig.from_dict(before), recipe)
        # Of a training to go on with, the record stays as it is until the scans turn out to be its own.
        begun = before is None or not (folder.path / RECORD).is_file()
        try:
            reading = Cases(folder.path, record.cases, emit, cancelled)

            def prepared(used: Sequence[Case]) -> None:
                """Only these are needed to go on; what was left out may go."""
                nonlocal begun
                begun = True
                record.cases, record.slices = reading.facts_of(used), sum(len(case.target) for case in used)
                record.save()

            with reading as cases:
                record.slices = sum(len(case.target) for case in cases)
                record.state, record.message = "running", ""
                if begun:
                    record.save()
                path = training.train(
                    cases,
                    recipe,
                    record.out,
                    folder=folder,
                    resume=resume,
                    device=record.device,
                    emit=emit,
                    cancelled=cancelled,
                    paused=paused,
                    prepared=prepared,
                    card={
                        key: tuple(value) if isinstance(value, list) else value for key, value in record.card.items()
                    },
                )
        except BaseException as error:
            if begun:
                stopped = isinstance(error, (Cancelled, KeyboardInterrupt))
                _ended(record, "stopped" if stopped else "failed", str(error))
            raise
        _ended(record, "stopped" if cancelled() else "done")
    return path


def starting_from(recipe: TrainConfig, name: str) -> TrainConfig:
    """The recipe begun with a model, whose network it takes; "none" begins from scratch, "" as the recipe says."""
    if name:
        recipe = recipe.replace(initial="" if name == "none" else name)
    if not recipe.initial:
        return recipe
    card = read_card(find_model(recipe.initial))
    return recipe.replace(neighbours=card.neighbours, network=str(card.network.get("size", recipe.network)))


def _ended(record: Record, state: str, message: str = "") -> None:
    """Write down how it ended. Where that is not possible (a full disk), the error itself tells."""
    record.state, record.message = state, message
    with contextlib.suppress(UserError):
        record.save()


class Cases:
    """Context: the cases of a training as memory maps, one for each frame of each scan unless a `frame` is named.

    `facts` as in `TrainJob`. Scans that are no `.npy` yet are converted in a folder in `folder`; at the end the maps
    are let go of and the converted files go. Scans that cannot be read are named all at once; those that are `optional`
    (found in a folder) are left out, and the log says so.
    """

    def __init__(
        self,
        folder: Path,
        facts: Sequence[dict[str, Any]],
        emit: Callable[[Message], None] = lambda message: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder, self._facts = folder / f"{CONVERTED}{os.getpid()}", facts
        self._emit, self._cancelled = emit, cancelled
        self._cases: list[Case] = []
        self._origins: dict[int, int] = {}  # id of a case -> number of its facts
        self._last: tuple[str, list[Scan]] = ("", [])

    def __enter__(self) -> list[Case]:
        try:
            self._read()
        except BaseException:
            self.__exit__()
            raise
        self._last = ("", [])
        return self._cases

    def __exit__(self, *error: object) -> None:
        for case in self._cases:  # Windows does not delete a file that is mapped
            case.target, case.auxiliary, case.turned = None, (), ()  # type: ignore[assignment]
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # it stays if anything else is in it
            self._folder.parent.rmdir()

    def facts_of(self, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """The facts that some of the cases were read from."""
        return [self._facts[number] for number in sorted({self._origins[id(case)] for case in cases})]

    def _read(self) -> None:
        problems: list[str] = []
        for number, facts in enumerate(self._facts):
            if self._cancelled():
                raise Cancelled
            self._emit(Progress("", "Reading scans", number, len(self._facts)))
            try:
                found = self._scans(facts)
            except UserError as error:
                if facts.get("optional"):
                    self._emit(Log(f"Left out: {error}"))
                else:
                    problems.append(str(error))
                continue
            if not problems:
                made = self._converted(facts, *found, number)
                self._origins |= {id(case): number for case in made}
                self._cases += made
        if problems:
            raise UserError(listed(problems))
        if not self._cases:
            raise UserError("None of the scans can be read, so there is nothing to train on. The log says why.")

    def _scans(self, facts: dict[str, Any]) -> tuple[list[tuple[str, np.ndarray]], list[np.ndarray], bool]:
        """Name and voxels of each frame of one scan, the voxels of the other contrasts on its grid, and whether voxels
        are as thick as wide.
        """
        target, others = str(facts["target"]), [str(path) for path in facts.get("auxiliary", ())]
        name = str(facts.get("name") or "")
        if target.endswith(".npy"):
            axis = int(facts.get("slices", 0))
            voxels, *helpers = (np.moveaxis(_mapped(path), axis, 0) for path in (target, *others))
            return [(name or Path(target).stem, voxels)], helpers, bool(facts.get("isotropic"))
        if self._last[0] != target:  # cases of one file follow one another: it is read once for all
            self._last = (target, files.read(target))
        frames = series = self._last[1]
        if "frame" in facts:
            wanted = int(facts["frame"])
            if wanted >= len(frames):
                raise UserError(f"{target} has {len(frames)} frames, and number {wanted + 1} is needed. Put it back.")
            frames = [frames[wanted]]
        constant = [f.name for f in frames if scan.is_constant(f)]
        if constant and not all(map(scan.is_constant, series)):
            self._emit(Log(f"Left out: {', '.join(constant)}, of which every voxel is the same."))
            frames = [f for f in frames if f.name not in constant]
        if not frames:
            return [], [], False
        for frame in frames:
            scan.check(frame)
        messages: list[str] = []
        helpers = []
        for path in others:
            other = files.read_one(path)
            scan.check(other)
            helpers.append(on_grid(other, frames[0], messages).voxels)
        for message in messages:
            self._emit(Log(message))
        names = [f"{name} {n + 1}" if len(frames) > 1 else name for n in range(len(frames))]
        axis = spacing.slice_axis(frames[0].spacing, frames[0].voxels.shape)
        targets = [
            (given if name else frame.name, np.moveaxis(frame.voxels, axis, 0)) for given, frame in zip(names, frames)
        ]
        isotropic = spacing.isotropic(frames[0].spacing, frames[0].voxels.shape)
        return targets, [np.moveaxis(helper, axis, 0) for helper in helpers], isotropic

    def _converted(
        self,
        facts: dict[str, Any],
        frames: list[tuple[str, np.ndarray]],
        helpers: list[np.ndarray],
        isotropic: bool,
        number: int,
    ) -> list[Case]:
        others = [self._map(voxels, f"{number}-auxiliary{n}") for n, voxels in enumerate(helpers)]
        beside = [np.moveaxis(_mapped(path), int(facts.get("slices", 0)), 0) for path in facts.get("beside", ())]
        return [
            Case(
                name,
                self._map(voxels, f"{number}-target{n}"),
                others,
                facts.get("sigma"),
                source=str(facts["target"]),
                group=facts.get("group"),
                limit=noise.frame_limit(voxels, beside),
                optional=bool(facts.get("optional")),
                isotropic=isotropic,
            )
            for n, (name, voxels) in enumerate(frames)
        ]

    def _map(self, voxels: np.ndarray, name: str) -> np.ndarray:
        """The same values in a file that is read where they are needed."""
        if isinstance(voxels, np.memmap):
            return voxels
        path = self._folder / f"{name}.npy"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            np.save(path, voxels)
        except OSError as error:  # numpy gives no reason where the disk is full
            raise UserError(
                f"{path} cannot be written ({error.strerror or 'the disk is full'}); the scans are unpacked there as "
                "long as the training lasts. Free some space, or choose another folder for the model."
            ) from error
        return _mapped(str(path))


def _mapped(path: str) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); it must be a .npy array. Start a new training.") from error
