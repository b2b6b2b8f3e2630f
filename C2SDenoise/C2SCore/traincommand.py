"""`c2s train`: cases from paths, the recipe from a preset or a file, and the training itself."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from C2SCore import card, config, events, files, model, scan, training
from C2SCore.errors import UserError
from C2SCore.patches import Case
from C2SCore.scanjob import on_grid
from C2SCore.terminal import Reporter
from C2SCore.writing import check_writable


def run(options: argparse.Namespace, reporter: Reporter) -> dict[str, Any]:
    """Trains and returns the new model's card."""
    recipe = config.load(options.config) if options.config else config.preset(options.preset)
    if options.minutes is not None:
        if not options.minutes > 0:
            raise UserError(f"The minutes are {options.minutes:g}; they must be above 0.")
        recipe = recipe.replace(minutes=options.minutes)
    facts = card_facts(options)
    out = model_path(options.out)
    check_writable(out)
    if options.initial:
        recipe = recipe.replace(initial="" if options.initial == "none" else options.initial)
    initial = model.load(recipe.initial) if recipe.initial else None
    if initial is not None:
        recipe = recipe.replace(neighbours=initial.denoiser.neighbours)
    messages: list[str] = []
    cases = find_cases(options.data, options.aux, messages)
    for message in messages:
        print(f"note: {message}", file=sys.stderr)

    began = time.monotonic()

    def listen(message: events.Message) -> None:
        if isinstance(message, events.Progress):
            if message.seconds_left is None:
                reporter(message.stage, message.done, message.total)
            else:  # the budget is of steps or of time: the seconds know both
                passed = time.monotonic() - began
                reporter("train (%)", round(100 * passed / max(passed + message.seconds_left, 1e-9)), 100)
        elif isinstance(message, events.Curve) and not reporter.quiet:
            reporter.close()
            values = ", ".join(f"{k} {v:.4g}" for k, v in message.values.items() if v is not None)
            print(f"step {message.step}: {values}", file=sys.stderr, flush=True)

    with stop_by_interrupt() as stopped:
        training.train(
            cases,
            recipe,
            out,
            resume=options.resume,
            initial=initial,
            device=options.device,
            emit=listen,
            cancelled=stopped.is_set,
            card=facts,
        )
    reporter.close()
    print(f"{len(cases)} scans -> {out}", file=sys.stderr)
    return dataclasses.asdict(card.read_card(out))


def card_facts(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says for the model card; raises `UserError` for a card file with unknown fields."""
    facts: dict[str, Any] = {}
    if options.aux:
        facts["auxiliary"] = tuple(Path(group[0]).name for group in options.aux)
    if options.card:
        facts |= config.read_yaml(options.card)
    known = {field.name for field in dataclasses.fields(card.Card)}
    unknown = sorted(set(facts) - known)
    if unknown:
        raise UserError(
            f"The card {options.card} has the unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}."
        )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}


def model_path(name: str) -> Path:
    """A bare name goes to the user's own models, where `--model NAME` finds it; a path stays one."""
    path = Path(name)
    if path.suffix != ".safetensors":
        path = path.with_name(path.name + ".safetensors")
    if path.name == name or path.name == f"{name}.safetensors":
        if Path(name).suffix != ".safetensors":
            return card.models_folder() / f"{card.check_name(name)}.safetensors"
    return path


def find_cases(paths: Sequence[str], contrasts: Sequence[Sequence[str]], messages: list[str]) -> list[Case]:
    """One case per frame of every scan, with its further contrasts on its grid.

    Folders are searched, those of the contrasts too. Raises `UserError` for scans that cannot be learnt from, and where
    a contrast has another number of scans than the targets.
    """
    targets = _scans(paths)
    others = [_scans(group) for group in contrasts]
    for group in others:
        if len(group) != len(targets):
            raise UserError(
                f"{len(targets)} scans were given, and {len(group)} of a further contrast; there must be one for each. "
                "Give them in the same order, each contrast after its own --aux."
            )
    cases = []
    for n, path in enumerate(targets):
        frames = files.read(path)
        arrays: list[np.ndarray] = []
        for group in others:
            arrays.append(on_grid(files.read_one(group[n]), frames[0], messages).voxels)
        for frame in frames:
            scan.check(frame)
            cases.append(Case(frame.name, frame.voxels, arrays, source=str(path), group=str(path)))
    return cases


def _scans(paths: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        found += files.find_scans(path) if path.is_dir() and not files.is_scan(path) else [path]
    if not found:
        raise UserError(f"No scan was found in {', '.join(map(str, paths))}; one is needed. Check the paths.")
    return found


@contextmanager
def stop_by_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event and says so; the second interrupts as ever."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def handle(number: int, frame: Any) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        print("Stopping; the best model so far is kept. Press Ctrl-C again to stop at once.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
