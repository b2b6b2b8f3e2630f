"""The plan of a batch: which scans there are, and where each result goes.

Scans are found in the folders that are named, and the output tree mirrors these; no two results meet, and none replaces
an input.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from C2SCore import batchrecord, files, scanjob
from C2SCore.dicom import is_dicom
from C2SCore.errors import UserError
from C2SCore.images import WRITABLE, stem_of, suffix_of
from C2SCore.jobfiles import folded, resolved_scan
from C2SCore.scanjob import ScanJob


@dataclass(frozen=True)
class Beside:
    """What is written beside each result."""

    residual: bool = False
    uncertainty: bool = False
    pictures: bool = False

    def named(self, job: ScanJob) -> ScanJob:
        """The job with the names of these, after that of its result."""
        residual, uncertainty, picture = batchrecord.beside(job.output)
        return dataclasses.replace(
            job,
            residual=residual if self.residual else "",
            uncertainty=uncertainty if self.uncertainty else "",
            picture=picture if self.pictures else "",
        )


def output_name(path: str | Path, dicom: bool = False) -> str:
    """A file name for the result of a scan: its own, with its format where that can be written, else `.nrrd`; the name
    of a folder for what is written as `dicom`.
    """
    file, part = files.split_part(path)
    if file.name in ("", ".."):  # as in `.`
        file = file.resolve()
    suffix = suffix_of(file)
    known = suffix in WRITABLE or suffix in (".nhdr", ".mhd", ".h5", ".hdf5", ".dcm")
    name = stem_of(file) if known else file.name
    name = f"{name}_{part}" if part else name
    return name if dicom else name + (suffix if suffix in WRITABLE else ".nrrd")


def plan(
    inputs: Sequence[str | Path],
    folder: str | Path,
    template: ScanJob,
    left_out: list[tuple[Path, str]] | None = None,
    beside: Beside = Beside(),
) -> list[ScanJob]:
    """One job per scan in `inputs` (scans, and folders that are searched); the output tree mirrors that of the folders.

    A scan that is met twice is done once, and what a batch wrote is no scan. `left_out` receives what was found and is
    none, with the reason; `beside` says what each job writes beside its result. Raises `UserError` if nothing is found,
    two scans would be written to one file, or an output would replace an input.
    """
    if not str(folder):
        raise UserError("The output folder has no name. Name a folder.")
    if "" in map(str, inputs):
        raise UserError("An input has no name (an empty variable?). Name a scan or a folder.")
    folder = Path(folder)
    found: dict[str, tuple[Path, Path]] = {}  # scan, folder of its output
    left_out = [] if left_out is None else left_out
    for path, inside in _scans(inputs, folder, left_out):
        found.setdefault(resolved_scan(path), (path, folder / inside))
    if not found:
        example = "".join(f" ({path}: {reason})" for path, reason in left_out[:1])
        raise UserError(f"No scan was found in {', '.join(map(str, inputs))}{example}; one is needed. Check the paths.")
    jobs = [
        beside.named(dataclasses.replace(template, scan=str(path), output=str(output), dicom=_as_dicom(path, template)))
        for path, output in _with_outputs(list(found.values()), template)
    ]
    scanjob.check_together(jobs)
    return jobs


def _scans(inputs: Sequence[str | Path], folder: Path, left_out: list[tuple[Path, str]]) -> Iterator[tuple[Path, Path]]:
    """Every scan, with its place in the folder in which it was found; what any batch wrote, to `folder` or where its
    record is met on the way, is no scan.
    """
    results = {folder: batchrecord.results_in(folder)}

    def written(scan: str, place: Path, top: Path) -> bool:
        above = [p for p in place.parents if p.is_relative_to(top)]
        for p in above:
            if p not in results:
                results[p] = batchrecord.results_in(p)
        return any(scan in results[p] for p in (folder, *above))

    for entry in map(Path, inputs):
        if not entry.is_dir():
            yield entry, Path()
            continue
        for path in files.find_scans(entry, left_out):
            place = files.split_part(path)[0]
            if not written(resolved_scan(path), place, entry):
                yield path, Path() if place == entry else place.parent.relative_to(entry)


def _as_dicom(path: Path, template: ScanJob) -> bool:
    """Whether the result is to be DICOM, as the scan is."""
    file = files.split_part(path)[0]
    return template.dicom and (file.is_dir() or is_dicom(file))


def _with_outputs(found: Sequence[tuple[Path, Path]], template: ScanJob) -> Iterator[tuple[Path, Path]]:
    """Scans with their outputs; where two would meet, the name tells the format of the source. A DICOM series whose
    folder has further ones below it is written beside them, and not around them.
    """
    outputs = [place / output_name(path, _as_dicom(path, template)) for path, place in found]
    counts = Counter(map(folded, outputs))
    around = {folded(above) for output in outputs for above in output.parents}
    taken: dict[str, Path] = {}
    for (path, place), output in zip(found, outputs):
        file = files.split_part(path)[0]
        source = "dicom" if file.is_dir() else suffix_of(file)[1:]
        if counts[folded(output)] > 1 and source and f".{source}" != suffix_of(output):
            output = place / f"{stem_of(output)}_{source}{suffix_of(output)}"
        if folded(output) in around:
            output = output / output.name
        other = taken.setdefault(folded(output), path)
        if other is not path:
            raise UserError(
                f"{other} and {path} would both be written to {output}; names must differ. "
                "Give the folder above them, or run them one by one."
            )
        yield path, output
