"""What processes of a batch do in its tests; a module of its own, since each of them imports it."""

from __future__ import annotations

import os
import time

from C2SCore.batchrecord import DONE, Record
from C2SCore.scanjob import ScanJob


def die_on_second(job: ScanJob) -> Record:
    """Stands in for a scan that takes more memory than there is."""
    if job.scan == "second":
        os._exit(9)
    time.sleep(0.3)
    return Record.of(job, DONE)


def prepare_nothing(threads: int) -> None:
    """Stands in for what takes seconds in every process."""
