"""The training loop."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from C2SCore import guidance
from C2SCore.augmentation import augment
from C2SCore.card import Card
from C2SCore.config import TrainConfig
from C2SCore.corruption import corrupted, patch_size
from C2SCore.denoiser import Denoiser, on_device, with_contrasts
from C2SCore.device import choose_device
from C2SCore.errors import Cancelled, UserError, out_of_memory
from C2SCore.events import Curve, Log, Message, Preview, Progress
from C2SCore.feeding import Feeder, threads_for
from C2SCore.measuring import Cache
from C2SCore.model import Model, load, save
from C2SCore.objective import recipe_loss, validation_set
from C2SCore.patches import Batch, Case, PatchSampler, hold_back
from C2SCore.preparing import prepare
from C2SCore.preview import write_preview
from C2SCore.runfolder import RunFolder
from C2SCore.samescans import marks, same_scans
from C2SCore.state import (
    State,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)
from C2SCore.stepping import Stepper
from C2SCore.traincard import drafted

LOOKS = 20  # at least so many validations in a training, however slow the machine
LOOK_STEPS = 5  # but never closer than this because of `LOOKS`: a validation costs about as much as a step
REPORT_SECONDS = 0.5
FIRST_CHECKPOINT = 5.0  # seconds, then every `checkpoint_every`: a kill soon after the start loses little, too


def train(
    cases: Sequence[Case],
    config: TrainConfig,
    out: str | Path,
    *,
    resume: bool = False,
    initial: Model | None = None,
    device: str = "auto",
    emit: Callable[[Message], None] = lambda message: None,
    cancelled: Callable[[], bool] = lambda: False,
    paused: Callable[[], bool] = lambda: False,
    prepared: Callable[[Sequence[Case]], None] = lambda cases: None,
    card: dict[str, Any] | None = None,
    folder: RunFolder | None = None,
) -> Path:
    """Learn a denoiser from noisy scans alone and write it to `out` (.safetensors).

    Beside `out`, the folder `<name>.training` keeps the state from which `resume` goes on (`folder`: the same, claimed
    by the caller already). Unless there is a time budget (`config.minutes`), a training that was stopped and resumed
    gives the weights of one that was not, bit for bit on a CPU. The model written is the one that was best on the
    slices held back, by the loss itself: nothing clean is needed. `cancelled` ends the training early and keeps the
    best so far; before the first validation it raises `Cancelled`. `prepared` is told the cases that are learnt from.
    Raises `UserError` for data or settings that cannot work.
    """
    _check_contrasts(cases)
    target = choose_device(device)
    out = Path(out)
    with contextlib.nullcontext(folder) if folder is not None else RunFolder(out, resume) as claimed:
        saved = load_state(claimed.state) if resume and claimed.state.is_file() else None
        if initial is None and config.initial and saved is None:
            initial = load(config.initial)
        if initial is not None:
            _check_initial(initial, config, len(cases[0].auxiliary))
        if saved is not None:
            check_recipe(TrainConfig.from_dict(saved[1]["config"]), config)
            if "scans" in saved[1]:  # before they are judged: what changed is to be put back, not to be left out
                cases = same_scans(cases, saved[1]["scans"], out)
        cases = prepare(cases, config, Cache(claimed.measured), emit, cancelled, str(target))
        prepared(cases)
        for warning in guidance.warnings([_seen(case) for case in cases], config.to_dict()) if saved is None else ():
            emit(Log(warning))
        try:
            run = _Run(cases, config, target, initial, drafted(card or {}, cases, config, out), saved)
            if saved is not None and run.fraction() >= 1:
                emit(Log(_complete(run, out)))
            run.loop(claimed, emit, cancelled, paused)
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error):
                raise UserError(_too_large(target, config)) from error
            raise
        left = "only writes the model" if run.fraction() >= 1 else "goes on, and writes the model at its end"
        advice = f"Free some space and resume the training (--resume): what it has learnt is kept, and it {left}."
        return save(out, run.denoiser, run.final_card(), run.best, advice)


def _seen(case: Case) -> guidance.Seen:
    snr = case.signal / float(np.median(case.sigmas))
    clean = snr > guidance.CLEAN_SNR
    flags = ("clean",) if clean else () if case.spectrum.white else ("interpolated",)
    return guidance.Seen(case.name, len(case.slices), snr, flags)


def check_recipe(before: TrainConfig, now: TrainConfig) -> None:
    """Raises `UserError` unless a training of one recipe can go on with the other: longer, or shorter."""
    if before.replace(steps=now.steps, minutes=now.minutes) != now:
        raise UserError(
            "The recipe differs from that of the training to resume; only steps and minutes may. Start a new model, or "
            "restore the recipe."
        )


def _check_contrasts(cases: Sequence[Case]) -> None:
    if not cases:
        raise UserError("There is no scan to train on; at least one is needed. Add scans.")
    odd = next((case.name for case in cases if len(case.auxiliary) != len(cases[0].auxiliary)), None)
    if odd:
        raise UserError(
            f"{odd} has another number of contrasts than {cases[0].name}; all cases need the same "
            "ones. Complete it or leave it out."
        )


def _check_initial(initial: Model, config: TrainConfig, contrasts: int) -> None:
    if initial.denoiser.contrasts not in (0, contrasts) or initial.denoiser.neighbours != config.neighbours:
        raise UserError(
            f"The model to start from reads {initial.denoiser.contrasts} other contrasts and "
            f"{initial.denoiser.neighbours} neighbours, the recipe {contrasts} and {config.neighbours}; they must "
            "agree. Start from scratch or from another model."
        )


class _Run:
    """What changes during a training."""

    def __init__(
        self,
        cases: Sequence[Case],
        config: TrainConfig,
        device: torch.device,
        initial: Model | None,
        card: Card,
        saved: State | None,
    ) -> None:
        self.config, self.device, self.card = config, device, card
        torch.manual_seed(config.seed)
        # Noise is made where it is used, if that is a GPU; the other kinds of device lack transforms of older torch.
        self.generator = torch.Generator(device if device.type == "cuda" else "cpu")
        held = hold_back(cases, config.validation, config.seed)
        self.sampler = PatchSampler(cases, config.patch, config.neighbours, held, background=config.background)
        self.validation = validation_set(cases, config, held)
        contrasts = len(cases[0].auxiliary)
        self.fresh = initial is None and not config.initial
        self.rate = config.learning_rate * (1.0 if self.fresh else config.fine_tune)
        if saved is not None:
            size = saved[1].get("network", config.network)
            self.denoiser = Denoiser(size, config.neighbours, contrasts)
        elif initial is None:
            self.denoiser = Denoiser(config.network, config.neighbours, contrasts)
        else:
            self.denoiser = with_contrasts(initial.denoiser, contrasts)
        self.denoiser = on_device(self.denoiser, device).train().requires_grad_(True)
        self.average = copy.deepcopy(self.denoiser).eval().requires_grad_(False)
        self.stepper = Stepper(self.denoiser, self.average, config, device)
        self.step, self.elapsed = 0, 0.0
        self.best: dict[str, Tensor] = {}
        self.best_value, self.best_step = math.inf, 0
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []  # since the last validation
        self.pending: list[Tensor] = []  # losses of the last steps, not waited for yet
        self.judged: tuple[int, float] = (0, 0.0)  # step and elapsed at the last validation
        self.case, self.slice = held[0] if held else (0, int(cases[0].slices[len(cases[0].slices) // 2]))
        self.cases = cases
        self.kept = saved is not None  # the state on the disk is this one
        self.scans = [[case.name, marks(case)] for case in cases]
        # Its own held-back slices were others: those of today it may have learnt from.
        self.seen_before = 0 if initial is None else len({case.name for case in cases} & set(initial.card.trained_on))
        if saved is not None:
            self.restore(*saved)

    # ---- the loop ----

    def loop(
        self,
        folder: RunFolder,
        emit: Callable[[Message], None],
        cancelled: Callable[[], bool],
        paused: Callable[[], bool],
    ) -> None:
        config = self.config
        clock, reported = time.monotonic(), 0.0
        due = clock + min(FIRST_CHECKPOINT, config.checkpoint_every)
        if not self.fresh and not self.history:
            # What the training starts from takes part in the contest: the result is never worse by its own measure.
            self.judge(folder, emit)
        with Feeder(self.draw, threads_for(self.device.type)) as feeder:
            while self.fraction() < 1:
                while paused() and not cancelled():
                    emit(self.progress("paused"))
                    time.sleep(0.2)
                    clock = time.monotonic()
                if cancelled():
                    self.settle()
                    if not self.best:
                        if folder.state.is_file():
                            self.store(folder.state)
                        raise Cancelled
                    break
                self.advance(*feeder.get(self.step))
                now = time.monotonic()
                self.elapsed, clock = self.elapsed + now - clock, now
                ended = self.fraction() >= 1
                if now - reported > REPORT_SECONDS or now >= due or ended or self.overdue():
                    self.settle()
                if now - reported > REPORT_SECONDS:
                    reported = now
                    emit(self.progress("train", self.elapsed * (1 / max(self.fraction(), 1e-9) - 1)))
                if ended or self.overdue():
                    self.judge(folder, emit)
                if now >= due:
                    due = now + config.checkpoint_every
                    self.store(folder.state)
        if not self.best:
            self.judge(folder, emit)
        if not self.kept:
            self.store(folder.state)

    def progress(self, stage: str, left: float | None = None) -> Progress:
        device, fraction = self.device.type, min(self.fraction(), 1.0)
        return Progress("", stage, self.step, self.config.steps, left, device, fraction=fraction)

    def fraction(self) -> float:
        """How much of the budget is used, 0 to 1: of the steps, and of the minutes if there are any."""
        return self.share(self.step, self.elapsed)

    def share(self, steps: int, seconds: float) -> float:
        """The part of the budget that so many steps and seconds are."""
        used = steps / self.config.steps
        return max(used, seconds / (60 * self.config.minutes)) if self.config.minutes else used

    def overdue(self) -> bool:
        """Whether enough steps, or so much of the budget, went by since the last validation."""
        steps, seconds = self.step - self.judged[0], self.elapsed - self.judged[1]
        waited = steps >= LOOK_STEPS and self.share(steps, seconds) >= 1 / LOOKS
        return waited or steps >= self.config.validate_every

    def draw(self, step: int) -> tuple[Batch, np.random.Generator]:
        """The patches of a step and what its noise is drawn with: they depend on the seed and the step alone."""
        rng = np.random.default_rng([self.config.seed, step])
        batch = self.sampler.draw(self.config.batch, rng, patch_size(self.config))
        return augment(batch, self.config, rng), rng

    def advance(self, batch: Batch, rng: np.random.Generator) -> None:
        """One step of the optimizer."""
        config = self.config
        rate = self.rate * _schedule(self.step, self.fraction(), config.warm_up)
        self.generator.manual_seed(int(rng.integers(2**62)))
        example = corrupted(batch, config, rng, self.generator)
        # The average forgets the start: its memory grows with the steps until it reaches config.ema.
        decay = min(config.ema, (2 + self.step) / (11 + self.step))
        self.pending.append(self.stepper.step(example, rate, decay))
        self.step += 1
        self.kept = False

    def settle(self) -> None:
        """Wait for the steps that a GPU still works at; raises `UserError` where a loss is not finite, so before it is
        saved.
        """
        if not self.pending:
            return
        first = self.step - len(self.pending) + 1
        values = torch.stack(self.pending).tolist()
        self.pending = []
        for n, value in enumerate(values):
            if not math.isfinite(value):
                raise self.diverged(value, first + n)
        self.losses += values

    def diverged(self, loss: float, step: int) -> UserError:
        return UserError(
            f"The loss became {loss} at step {step}; it must stay finite. Start a new training with a lower "
            f"learning_rate (now {self.config.learning_rate})."
        )

    def judge(self, folder: RunFolder, emit: Callable[[Message], None]) -> None:
        """Validate the averaged weights, keep them if they are the best, report."""
        self.kept = False
        value = self.validate()
        self.judged = (self.step, self.elapsed)
        if value < self.best_value:
            self.best_value, self.best_step = value, self.step
            self.best = {name: t.detach().clone() for name, t in self.average.state_dict().items()}
        if not self.best:  # the last step, too, can break the weights, and no further loss would tell
            raise self.diverged(value, self.step)
        loss = float(np.mean(self.losses)) if self.losses else math.nan
        self.history.append({"step": self.step, "loss": loss, "validation": value})
        self.losses = []
        emit(Curve(self.step, {"loss": loss, "validation": value}))
        case = self.cases[self.case]
        picture = write_preview(folder.preview, self.average, case, self.slice, self.device)
        emit(Preview(str(picture), self.step, case.name))

    def validate(self) -> float:
        """The loss on the slices held back, with draws that never change."""
        total, count = 0.0, 0
        with torch.no_grad():
            for example in self.validation:
                values = recipe_loss(self.average, example, self.config, self.device)
                total, count = total + values.sum().item(), count + len(values)
        return total / count

    # ---- its memory ----

    def store(self, path: Path) -> None:
        groups: dict[str, dict[str, Tensor]] = {
            "weights": self.denoiser.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            "optimizer": optimizer_tensors(self.stepper.optimizer),
        }
        facts: dict[str, Any] = {
            "step": self.step,
            "elapsed": self.elapsed,
            "best_value": self.best_value if self.best else None,
            "best_step": self.best_step,
            "history": self.history,
            "losses": self.losses,
            "judged": self.judged,
            "network": self.denoiser.size,
            "config": self.config.to_dict(),
            "scans": self.scans,
            "seen_before": self.seen_before,
        }
        save_state(path, groups, facts)
        self.kept = True

    def restore(self, groups: dict[str, dict[str, Tensor]], facts: dict[str, Any]) -> None:
        try:
            self.denoiser.load_state_dict(groups["weights"])
            self.average.load_state_dict(groups["average"])
        except (RuntimeError, KeyError) as error:
            raise UserError(
                "The checkpoint is of another network, or of other contrasts. Give the scans that the training had, or "
                "remove its folder to start again."
            ) from error
        restore_optimizer(self.stepper.optimizer, groups.get("optimizer", {}))  # before the first step it has nothing
        self.best = {name: t.to(self.device) for name, t in groups.get("best", {}).items()}
        self.step, self.elapsed, self.history = facts["step"], facts["elapsed"], facts["history"]
        self.best_value = math.inf if facts["best_value"] is None else facts["best_value"]
        self.best_step, self.losses = facts["best_step"], list(facts.get("losses", []))
        self.judged = tuple(facts.get("judged", (0, 0.0)))
        self.seen_before = facts.get("seen_before", 0)

    def final_card(self) -> Card:
        measured = {
            "validation": self.best_value,
            "best_step": self.best_step,
            "steps": self.step,
            "seen_before": self.seen_before,
            "minutes": round(self.elapsed / 60, 2),
            "device": self.device.type,
        }
        return dataclasses.replace(self.card, quality=self.card.quality | measured)


def _complete(run: _Run, out: Path) -> str:
    """Why a training that is resumed has no step left, and how to go on."""
    if not out.exists():
        return "This training is complete; what is left is to write its model."
    if run.step >= run.config.steps:
        return (
            f"This training has used up its steps ({run.config.steps}), so that more minutes add none. To learn more, "
            f"start a new training from its model (--initial {out})."
        )
    return (
        f"This training has used up its {run.config.minutes:g} minutes; give it more (--minutes), so that it goes on."
    )


def _too_large(device: torch.device, config: TrainConfig) -> str:
    return (
        f"The memory of {device} did not suffice for {config.batch} patches of {config.patch} pixels at a time. Close "
        "other programs or choose the processor (cpu), and resume, or start anew with a smaller batch or patch."
    )


def _schedule(step: int, fraction: float, warm_up: int) -> float:
    """Learning rate factor: a linear warm-up in steps, then half a cosine down to 1 % over the budget."""
    rise = min(1.0, (step + 1) / (warm_up + 1))
    return rise * (0.01 + 0.99 * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2)
