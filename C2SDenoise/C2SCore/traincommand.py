"""`c2s train`: cases from paths, the recipe from a preset or a file, and the training itself."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from C2SCore import card, cardedit, config, contrasts, events, files, images, recorded
from C2SCore.config import TrainConfig
from C2SCore.errors import Cancelled, UserError
from C2SCore.guidance import counted, first
from C2SCore.runfolder import RECORD, check_free, run_folder
from C2SCore.terminal import Reporter
from C2SCore.trainrecord import Record
from C2SCore.writing import check_writable

PRESET = "standard"  # where the command line names none
NAMED = 5  # scans, or pairs of them, in a note
STAGES = {"prepare": "Measuring scans"}


def run(options: argparse.Namespace, reporter: Reporter) -> dict[str, Any]:
    """Trains and returns the new model's card; with a report, its numbers too."""
    if options.minutes is not None and not options.minutes > 0:
        raise UserError(f"The minutes are {options.minutes:g}; they must be above 0.")
    facts = card_facts(options)
    out = model_path(options.out).absolute()
    check_writable(out)
    if options.report:
        _check_report(options.report)
    if options.resume:  # a model without its training needs no scans to be refused
        check_free(out, resume=True)
    known = options.resume and (run_folder(out) / RECORD).is_file()
    record = _resumed(options, out) if known else _begun(options, out)
    if options.minutes is not None:
        record.config = TrainConfig.from_dict(record.config).replace(minutes=options.minutes).to_dict()
    record.card |= facts
    if "auxiliary" in facts:
        _check_auxiliary(record)
    record.device = options.device

    def listen(message: events.Message) -> None:
        if isinstance(message, events.Progress):
            if message.fraction is None:
                reporter(STAGES.get(message.stage, message.stage), message.done, message.total)
            else:
                reporter("train (%)", round(100 * message.fraction), 100)
        elif isinstance(message, events.Log):
            reporter.close()
            _note(message.text)
        elif isinstance(message, events.Curve) and not reporter.quiet:
            reporter.close()
            known = ((k, v) for k, v in message.values.items() if v is not None and math.isfinite(v))
            values = ", ".join(f"{k} {v:.4g}" for k, v in known)  # at step 0 there is no loss yet
            print(f"step {message.step}: {values}", file=sys.stderr, flush=True)

    with stop_by_interrupt() as stopped:
        try:
            recorded.carry_out(record, options.resume, listen, stopped.is_set)
        except Cancelled:
            if not record.resumable:
                raise
            reporter.close()
            which = "it went on; the model stays as it was"
            if not out.exists():
                which = "the first look at the held-back slices, so there is no model yet"
            raise Cancelled(f"Stopped before {which}. c2s train --resume --out {options.out} goes on.") from None
        reporter.close()
        print(f"{counted(len(record.cases), 'scan')} -> {out}", file=sys.stderr)
        made = dataclasses.asdict(card.read_card(out))
        return made | {"report": _reported(options, record, reporter, stopped)} if options.report else made


def _check_report(path: str) -> None:
    if not path.lower().endswith((".html", ".htm")):
        raise UserError(f"The report is {path!r}; it is a web page, so its name must end with .html. Change the name.")
    check_writable(path)


def _reported(
    options: argparse.Namespace, record: Record, reporter: Reporter, stopped: threading.Event
) -> dict[str, Any]:
    """Writes the page, says its sentence and returns its numbers; none where the training was stopped early."""
    if stopped.is_set():
        _note(
            f"No report: the training was stopped. c2s train --resume --out {options.out} goes on, with --report too."
        )
        return {}
    from C2SCore import trainjobs
    from C2SCore.worker import Context, Orders

    stages = list[str]()

    def listen(message: events.Message) -> None:
        if isinstance(message, events.Progress) and message.stage not in stages[-1:]:
            stages.append(message.stage)
            if not reporter.quiet:
                print(f"{message.stage} ...", file=sys.stderr, flush=True)

    cases = tuple(record.cases)
    job = events.ReportJob(
        "report", str(record.out), options.report, cases, tuple(record.history()), device=options.device
    )
    try:
        numbers = trainjobs.report(job, Context(job, Orders(stopped), listen)).numbers
    except Cancelled:
        raise Cancelled(f"Stopped before the report was written; the model {record.out} is there.") from None
    print(f"{numbers['sentence']} -> {options.report}", file=sys.stderr)
    return numbers


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr, flush=True)


def _begun(options: argparse.Namespace, out: Path) -> Record:
    """The record of a new training."""
    if not options.data:
        raise UserError(
            f"There is no training {out.stem!r} to resume. Name the scans with --data."
            if options.resume
            else "No scan was given; at least one is needed. Name scans or folders with --data."
        )
    names = [contrasts.guess(Path(group[0]).name) or f"contrast {n}" for n, group in enumerate(options.aux, 1)]
    cases = find_cases(options.data, options.aux, _note)
    return Record(out, cases, _recipe(options).to_dict(), {"auxiliary": names} if names else {})


def _resumed(options: argparse.Namespace, out: Path) -> Record:
    """The record of the training to go on with; recipe and scans may be left off, and scans that were moved named."""
    if options.aux and not options.data:
        raise UserError(
            f"Further contrasts were given with --aux for the training {out.stem}, and no scans; it knows its own. "
            "Leave --aux off, or name the scans with --data too."
        )
    record = Record.load(out)
    if options.preset or options.config or options.initial:
        record.config = _recipe(options).to_dict()
    if options.data:
        beside = record.relocate([_scans(options.data), *map(_scans, options.aux)])
        if beside:
            _note(f"Passed over, for the training {out.stem} has no such scan: {first(beside, NAMED)}.")
    record.check_scans()
    return record


def _check_auxiliary(record: Record) -> None:
    """Raise `UserError` unless the card names each further contrast that the model will read."""
    names, needed = record.card.get("auxiliary", ()), len(record.files()[0]) - 1
    if len(names) != needed:
        raise UserError(
            f"The card names {len(names)} further contrasts ({', '.join(names) or 'none'}), and {needed} are given "
            "with --aux; there must be a name for each. Correct `auxiliary` on the card, or leave it out."
        )


def _recipe(options: argparse.Namespace) -> TrainConfig:
    recipe = config.load(options.config) if options.config else config.preset(options.preset or PRESET)
    return recorded.starting_from(recipe, options.initial)


def card_facts(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says for the model card; raises `UserError` for words that no card takes."""
    return cardedit.checked(config.read_yaml(options.card), cardedit.GIVEN) if options.card else {}


def model_path(name: str) -> Path:
    """A bare name goes to the user's own models, where `--model NAME` finds it; a path stays one."""
    path = Path(name)
    if not path.name or (path.name != name and path.is_dir()) or name.endswith(("/", os.sep)):
        raise UserError(
            f"The model is {name!r}; it must be a name or a file. Add a name, as in models/mine.safetensors."
        )
    images.check_name(path.name)  # the card, which is written at the end, holds it
    if path.suffix == ".safetensors":
        return path
    if path.name != name:
        return path.with_name(path.name + ".safetensors")
    if name in card.bundled_names():
        raise UserError(f"There is a bundled model {name!r}; names are unique. Choose another name.")
    return card.models_folder() / f"{card.check_name(name)}.safetensors"


def find_cases(
    paths: Sequence[str], helping: Sequence[Sequence[str]], note: Callable[[str], None] = lambda text: None
) -> list[dict[str, Any]]:
    """One case as in `TrainJob` for every scan, with its further contrasts; nothing is read yet.

    Folders are searched, those of the contrasts too; what is found in one is `optional`, and belongs to the scan of the
    same case by its name. Scans of one case are one `group`. Raises `UserError` where a contrast has another number of
    scans than the targets, or names of other cases.
    """
    targets = _scans(paths, note)
    others = [_partners(targets, _scans(group, note), paths, group, note) for group in helping]
    return [
        {
            "target": target,
            "auxiliary": [group[n][0] for group in others],
            "group": contrasts.case_of(text),
            "optional": all(found for _, found in [(target, searched), *(group[n] for group in others)]),
        }
        for n, ((target, searched), text) in enumerate(zip(targets, _texts(targets, paths)))
    ]


def _partners(
    targets: list[tuple[str, bool]],
    others: list[tuple[str, bool]],
    paths: Sequence[str],
    group: Sequence[str],
    note: Callable[[str], None],
) -> list[tuple[str, bool]]:
    """The scans of a further contrast in the order of the targets, by their names where a search has found them."""
    if len(others) != len(targets):
        raise UserError(
            f"{len(targets)} scans were given, and {len(others)} of a further contrast; there must be one for each. "
            "Give them in the same order, each contrast after its own --aux."
        )
    if not any(searched for _, searched in [*targets, *others]):
        return others  # named one by one: the order is meant
    names, candidates = _texts(targets, paths), _texts(others, group)
    places, sure = contrasts.partners(names, candidates)
    if not sure:
        pairs = [f"{name} with {candidates[place]}" for name, place in zip(names, places)]
        note(f"The names do not say which scans belong together; their order does: {first(pairs, NAMED)}.")
    return [others[place] for place in places]


def _texts(scans: list[tuple[str, bool]], paths: Sequence[str]) -> list[str]:
    """What the scans are called, below the folder that all were searched for in."""
    tops = [os.path.abspath(path if Path(path).is_dir() else Path(path).parent) for path in paths]
    try:
        top = os.path.commonpath(tops)
    except ValueError:  # drives of Windows
        top = ""
    texts = []
    for path, _ in scans:
        file = files.split_part(path)[0]
        texts.append(contrasts.matching_text(str(file) if file.is_dir() else path, top))  # a series' number is no name
    return texts


def _scans(paths: Sequence[str], note: Callable[[str], None] = lambda text: None) -> list[tuple[str, bool]]:
    """The absolute path of every scan, and whether a search has found it."""
    found: list[tuple[str, bool]] = []
    left_out: list[tuple[Path, str]] = []
    for path in map(Path, paths):
        scans = files.find_scans(path, left_out) if path.is_dir() else [path]
        searched = scans != [path]  # a folder with one DICOM series, and nothing else, is that scan
        for scan in scans:
            file, part = files.split_part(scan)
            if not searched and not file.exists():
                raise UserError(f"{scan} does not exist; a scan must be a file or a DICOM folder. Check the path.")
            found.append((files.with_part(file.absolute(), part), searched))
    for scan, reason in left_out:
        note(f"Left out: {scan}: {reason}.")
    if not found:
        raise UserError(f"No scan was found in {', '.join(map(str, paths))}; one is needed. Check the paths.")
    return found


@contextmanager
def stop_by_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C, or a cluster's word that the time is up, sets the event and says so; the second interrupts."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def handle(number: int, frame: Any) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        words = "Stopping; the best model so far, if there is one, is kept. Press Ctrl-C again to stop at once."
        with suppress(RuntimeError):  # it came in the middle of another line
            print(words, file=sys.stderr)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
