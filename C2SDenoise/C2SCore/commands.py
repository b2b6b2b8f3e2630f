"""What the commands of `c2s` do, one function each; they return the exit code and raise `UserError` for wrong usage.

Torch and the readers are imported inside the functions: `c2s models list` and `c2s --help` should not wait for them.
"""

from __future__ import annotations

import argparse
import codecs
import dataclasses
import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from C2SCore.errors import UserError
from C2SCore.guidance import counted
from C2SCore.terminal import Reporter, about, table, told

if TYPE_CHECKING:
    from C2SCore.batchrecord import Record
    from C2SCore.scanjob import ScanJob


def denoise(options: argparse.Namespace) -> int:
    """Scan after scan; one that fails is reported, and the others go on."""
    from C2SCore import scanjob
    from C2SCore.batchrecord import FAILED
    from C2SCore.device import choose_device
    from C2SCore.modelcache import load_kept

    jobs = _denoise_jobs(options)
    choose_device(options.device)
    load_kept(options.model)
    reports, failed = [], []
    for job in jobs:
        name = Path(job.scan).name or job.scan
        reporter = Reporter(options.quiet, f"{name}: " if len(jobs) > 1 else "")
        try:
            report = scanjob.run(job, reporter)
        except Exception as error:  # one scan must not stop the others
            reporter.close()
            failed.append({"scan": job.scan, "error": told(error)})
            if options.debug:
                traceback.print_exc()
            _say(f"c2s: {name}: {told(error)}" if len(jobs) > 1 else f"c2s: {told(error)}")
            continue
        finally:
            reporter.close()
        reports.append(report)
        if not options.json:
            print(_summary(report))
    if options.json:
        _print_json({"scans": reports, FAILED: failed})
    elif len(jobs) > 1:
        print(f"{len(reports)} of {len(jobs)} scans denoised")
    return 1 if failed else 0


def _denoise_jobs(options: argparse.Namespace) -> list[ScanJob]:
    """The jobs of `c2s denoise`: OUT may be a file for one scan, and is a folder for several."""
    from C2SCore import scanjob
    from C2SCore.batchplan import output_name
    from C2SCore.images import WRITABLE, suffix_of

    many = len(options.scans) > 1
    names = [output_name(scan, options.dicom) for scan in options.scans]
    double = next((n for n in names if names.count(n) > 1), None)
    if double:
        raise UserError(f"Two scans would be written to {double}; names must differ. Denoise them one by one.")

    def place(out: str, name: str, ending: str) -> str:
        plain = ending.startswith(".")  # a file beside the images
        if out and options.dicom and not plain:
            if suffix_of(out) in WRITABLE:
                raise UserError(f"{out} is an image file; with --dicom the output is a folder. Name a folder.")
            return str(Path(out) / f"{name}{ending}")  # a folder of its own for every series
        folder = os.path.isdir(out) or out.endswith(("/", "\\")) or not suffix_of(out)
        if not out or (not many and not folder):
            return out  # a file; a wrong extension is found by check_job
        if os.path.isfile(out) or suffix_of(out) in (*WRITABLE, ".json", ".png"):
            raise UserError(f"{out} is a file, and {len(names)} scans were given. Name a folder.")
        stem = name if options.dicom else name[: len(name) - len(suffix_of(name))]
        return str(Path(out) / f"{stem}{ending}{'' if plain else suffix_of(name)}")

    jobs = []
    for scan, name in zip(options.scans, names, strict=True):
        job = dataclasses.replace(
            _template(options),
            scan=scan,
            output=place(options.output, name, ""),
            residual=place(options.residual, name, "_residual"),
            uncertainty=place(options.uncertainty, name, "_uncertainty"),
            report=place(options.report, name, ".json"),
            picture=place(options.picture, name, ".png"),
        )
        scanjob.check_job(job)
        jobs.append(job)
    scanjob.check_together(jobs)
    return jobs


def _template(options: argparse.Namespace) -> ScanJob:
    """A job with all settings, without scan and outputs."""
    from C2SCore import files
    from C2SCore.scanjob import ScanJob

    try:
        sigma: str | float = float(options.sigma)
    except ValueError:
        sigma = options.sigma
    if isinstance(sigma, str) and sigma != "auto" and not Path(files.split_part(sigma)[0]).exists():
        raise UserError(
            f"sigma is {sigma!r}; it must be 'auto', a number from 0, or the file of a noise map. Change it."
        )
    if isinstance(sigma, float) and not 0 <= sigma < float("inf"):
        raise UserError(f"sigma is {options.sigma}; it must be a number from 0, in the scan's unit, 'auto', or a map.")
    if not 0 <= options.detail <= 1:
        raise UserError(f"The detail is {options.detail:g}; it must be from 0 (all noise removed) to 1 (the source).")
    return ScanJob(
        scan="",
        output="",
        model=options.model,
        auxiliary=tuple(options.aux),
        sigma=sigma,
        noise=options.noise,
        detail=options.detail,
        device=options.device,
        adapt=options.adapt,
        integers=options.dtype == "source",
        dicom=options.dicom,
    )


def _summary(report: dict[str, Any]) -> str:
    """A few lines on one scan."""

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    lines = [
        f"{report['scan']} -> {report['output']}",
        f"  noise {shown(report['sigma'])} ({report['noise']}), SNR {shown(report['snr_before'])} -> "
        f"{shown(report['snr_after'])} (+{report['snr_gain_db']:.1f} dB)",
        f"  {report['sentence']}",
        f"  {report['seconds']:.1f} s on {report['device']}, model {report['model']}",
    ]
    return "\n".join([*lines, *(f"  note: {w}" for w in report["warnings"])])


def batch(options: argparse.Namespace) -> int:
    """All scans, in processes or on a cluster."""
    from C2SCore import batch as batches
    from C2SCore import batchplan
    from C2SCore.batchrecord import FAILED, LEFT_OUT
    from C2SCore.device import choose_device

    choose_device(options.device)
    passed: list[tuple[Path, str]] = []
    beside = batchplan.Beside(options.residual, options.uncertainty, options.pictures)
    jobs = batchplan.plan(options.inputs, options.output, _template(options), passed, beside)
    for path, reason in passed:
        _say(f"left out: {path}: {reason}")

    def listen(record: Record, done: int, total: int) -> None:
        if not options.quiet:
            said = about(record.scan, record.error) if record.error else record.scan
            _say(f"{done}/{total} {record.state}: {said}")
        if options.debug and record.details:
            _say(record.details)

    records = batches.run(
        jobs,
        options.output,
        workers=options.workers,
        scheduler=options.scheduler,
        resume=options.resume,
        listen=listen,
    )
    failed = [r for r in records if r.state == FAILED]
    left_out = [r for r in records if r.state == LEFT_OUT]
    if options.json:
        _print_json([dataclasses.asdict(r) for r in records])
    else:
        total = len(records) - len(left_out)
        counts = ((len(failed), FAILED), (len(left_out) + len(passed), LEFT_OUT))
        others = "".join(f", {count} {state}" for count, state in counts if count)
        print(f"{total - len(failed)} of {total} scans denoised{others}; record: {Path(options.output, 'batch.html')}")
    if options.quiet:
        for record in failed:
            _say(f"c2s: {about(record.scan, record.error)}")
    return 1 if failed else 0


def train(options: argparse.Namespace) -> int:
    """One model from all scans; the first Ctrl-C ends it early and keeps the best so far."""
    from C2SCore import traincommand

    card = traincommand.run(options, Reporter(options.quiet))
    if options.json:
        _print_json(card)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """PSNR, SSIM and NRMSE of an image against a reference."""
    from C2SCore import files, quality, scan
    from C2SCore.gridinputs import on_grid

    reference = files.read_one(options.reference)
    image = files.read_one(options.image)
    scan.check(reference)
    scan.check(image)
    messages: list[str] = []
    image = on_grid(image, reference, messages)
    mask = None
    if options.mask:
        given = files.read_one(options.mask)
        inside = given.with_voxels(given.voxels != 0)  # before it is resampled, which makes values in between
        mask = on_grid(inside, reference, messages).voxels >= 0.5
    numbers = {
        "psnr": quality.psnr(reference.voxels, image.voxels, mask),
        "ssim": quality.ssim(reference.voxels, image.voxels, mask),
        "nrmse": quality.nrmse(reference.voxels, image.voxels, mask),
    }
    if options.json:
        _print_json({**numbers, "warnings": messages})
    else:
        print(f"PSNR {numbers['psnr']:.2f} dB, SSIM {numbers['ssim']:.4f}, NRMSE {numbers['nrmse']:.4f}")
        for message in messages:
            _say(f"note: {message}")
    return 0


def noise(options: argparse.Namespace) -> int:
    """sigma, signal and SNR of every frame, or of repetitions by their difference."""
    from C2SCore import noisecommand

    rows, failed = noisecommand.measure(options.scans, options.repetitions, options.map or "", options.debug)
    if options.json:
        _print_json({"scans": rows, "failed": failed})
    elif rows:
        lines = [("scan", "sigma", "signal", "SNR", "kind")]
        lines += [(r["name"], f"{r['sigma']:.4g}", f"{r['signal']:.4g}", f"{r['snr']:.4g}", r["kind"]) for r in rows]
        print(table(lines))
    for row in failed:
        _say(f"c2s: {about(row['scan'], row['error'])}")
    return 1 if failed else 0


def models(options: argparse.Namespace) -> int:
    """The models that there are; reading cards needs no torch."""
    from C2SCore import card

    if options.action == "list":
        entries = card.list_models()
        if options.json:
            _print_json([{**dataclasses.asdict(e), "path": str(e.path)} for e in entries])
        else:
            rows = [(e.name, "bundled" if e.bundled else "own", e.card.description or str(e.path)) for e in entries]
            print(table([("name", "kind", "description"), *rows]))
    elif options.action in ("show", "edit"):
        path = card.find_model(options.model)
        if options.action == "edit":
            from C2SCore import cardedit, config

            cardedit.edit_card(path, config.read_yaml(options.card))
        values = dataclasses.asdict(card.read_card(path))
        if options.json:
            _print_json(values)
        else:
            print(table([(key, _line(value)) for key, value in values.items() if value not in ("", (), {}, None)]))
    else:
        from C2SCore import model

        if options.action == "import":
            entry = model.import_model(options.file, options.name)
            print(f"{options.file} is now the model {entry.name!r}")
        elif options.action == "export":
            exported = model.export_model(options.model, options.file)
            print(f"{options.model} -> {exported}")
            own = not any(entry.bundled and entry.name == options.model for entry in card.list_models())
            if own and (named := len(card.read_card(exported).trained_on)):
                _say(
                    f"note: The card names {counted(named, 'scan')} after files and folders, which may hold names of "
                    f'patients. To take them out: c2s models edit "{exported}" --card FILE.yaml, with the line '
                    "trained_on: []"
                )
        else:
            print(f"{model.remove_model(options.model)} removed")
    return 0


def _line(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _print_json(values: Any) -> None:
    """Escaped where the stream is not UTF-8, as into a pipe of Windows: readers of JSON take nothing else."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # None: it was closed, as a daemon's may be
    text = json.dumps(_finite(values), indent=2, ensure_ascii=codecs.lookup(encoding).name != "utf-8")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # of a name that is not UTF-8
        text = json.dumps(_finite(values), indent=2)
    print(text)


def _finite(values: Any) -> Any:
    """JSON knows no NaN and no infinity: None instead."""
    if isinstance(values, dict):
        return {k: _finite(v) for k, v in values.items()}
    if isinstance(values, (list, tuple)):
        return [_finite(v) for v in values]
    return None if isinstance(values, float) and not abs(values) < float("inf") else values


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
