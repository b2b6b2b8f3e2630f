"""`batch.html`, the record of a batch to be looked at: what needs a person first, with the pictures that were drawn."""

from __future__ import annotations

import html
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from C2SCore.batchrecord import DONE, FAILED, LEFT_OUT, SKIPPED, WAITING, Record
from C2SCore.webpage import figure, page
from C2SCore.writing import write_text

_PICTURED = "Middle slice: source, result, what was removed"
_STYLE = "section{border-top:1px solid #ddd}h3{margin:.6em 0 .2em}p{margin:.2em 0}.look{color:#b00}img{max-width:100%}"
_VERDICTS = {
    "noise": "What was removed looks like noise.",
    "anatomy": "What was removed holds anatomy.",
    "clean": "Hardly any noise: nothing was removed.",
}


def write(folder: Path, records: Sequence[Record]) -> Path:
    """Writes the page of all records of a folder; pictures are linked to, not copied."""
    folder = Path(os.path.realpath(folder))
    name = folder.name
    states = Counter(DONE if record.state == SKIPPED else record.state for record in records)
    counts = ", ".join(f"{states[state]} {state}" for state in (DONE, FAILED, WAITING, LEFT_OUT) if states[state])
    parts = [f"<h1>Batch: {html.escape(name)}</h1><p>{counts}</p>"]
    for title in ("To be looked at", "Without remarks", "Waiting", "Left out"):
        chosen = [record for record in records if _chapter(record) == title]
        if chosen:
            parts.append(f"<h2>{title} ({len(chosen)})</h2>")
            parts += [_section(folder, record) for record in chosen]
    return write_text(folder / "batch.html", page(name, parts, _STYLE))


def _chapter(record: Record) -> str:
    if record.state in (WAITING, LEFT_OUT):
        return record.state.capitalize()
    remarkable = record.state == FAILED or record.verdict == "anatomy" or record.warnings
    return "To be looked at" if remarkable else "Without remarks"


def _section(folder: Path, record: Record) -> str:
    def line(text: str, look: bool = False) -> str:
        return f"<p{' class=look' * look}>{html.escape(text)}</p>"

    parts = [f"<h3>{html.escape(_seen_from(folder, record.output))}</h3>", line(f"from {record.scan}")]
    done = record.state in (DONE, SKIPPED)
    if done:
        numbers = (record.sigma, record.snr_before, record.snr_after)
        sigma, before, after = ("–" if number is None else f"{number:.4g}" for number in numbers)
        gain = f" (+{record.snr_gain_db:.1f} dB)" if record.snr_gain_db is not None else ""
        parts.append(line(f"Noise σ {sigma}, SNR {before} → {after}{gain}, model {record.model}"))
        parts.append(line(_VERDICTS.get(record.verdict, ""), record.verdict == "anatomy"))
    if record.error:
        parts.append(line(record.error, record.state == FAILED))
    parts += [line(warning, True) for warning in record.warnings]
    if done and record.picture and os.path.exists(record.picture):  # else it is that of an earlier result
        parts.append(figure(quote(os.fsencode(Path(_seen_from(folder, record.picture)).as_posix())), _PICTURED))
    return f"<section>{''.join(parts)}</section>"


def _seen_from(folder: Path, path: str) -> str:
    """The way from a folder (without links) to a path, whatever links lead there; the path where there is none."""
    try:
        return os.path.relpath(os.path.realpath(path), folder)
    except ValueError:  # on another drive of Windows, as after the folder was copied
        return path
