"""Progress for people, on standard error: a bar on a terminal (where tqdm is installed), plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from C2SCore.errors import UserError

LOG_SECONDS = 10.0  # between two lines of one stage in a log


class Reporter:
    """Call it with (stage, done, total); `close` it at the end. `quiet` says nothing."""

    def __init__(self, quiet: bool = False, title: str = "") -> None:
        self.quiet, self.title = quiet, title
        self._stage, self._said = "", 0.0
        self._bar: Any = None
        self._tqdm: Any = None if quiet else _terminal_tqdm()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self.quiet:
            return
        if self._tqdm is not None:
            self._draw(stage, done, total)
        else:
            if stage != self._stage:
                self._said = time.monotonic()  # a stage is worth a line when it ends, or when it lasts
            if done >= total or time.monotonic() - self._said > LOG_SECONDS:
                print(f"{self.title}{stage} {done}/{total}", file=sys.stderr, flush=True)
                self._said = time.monotonic()
        self._stage = stage

    def _draw(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage or self._bar is None:
            self.close()
            self._bar = self._tqdm(total=total, desc=self.title + stage, leave=False, file=sys.stderr)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _terminal_tqdm() -> Any:
    """The class `tqdm.tqdm` if standard error is a terminal and tqdm is there, else None."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm


def told(error: BaseException) -> str:
    """An error in one line; one that is no `UserError` with its kind."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def about(scan: str, message: str) -> str:
    """What is said of a scan, with its name in front unless the message begins with it."""
    return message if message.startswith(scan) else f"{scan}: {message}"


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows in columns that line up, two spaces apart; the last column is not padded."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    return "\n".join("  ".join([*(c.ljust(w) for c, w in zip(r, widths, strict=False)), r[-1]]).rstrip() for r in rows)
