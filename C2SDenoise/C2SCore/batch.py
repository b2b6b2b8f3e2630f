"""Many scans: on one machine in several processes, or on a cluster; what fails is recorded and does not stop the rest.

The record (`batchrecord`) and its `overview` are rewritten after every scan (of thousands of scans less often), so that
an interrupted batch can be resumed: what is recorded as done with the same version and settings, from unchanged files,
and whose outputs are still there, is passed over. Other records, of earlier batches and of those that run elsewhere
into the same folder, stay as long as their results are there, or the scans that failed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path

import torch

from C2SCore import __version__, batchrecord, files, modelcache, overview, scanjob, stopping
from C2SCore.batchrecord import DONE, FAILED, LEFT_OUT, SKIPPED, WAITING, Record
from C2SCore.errors import NoScan, UserError
from C2SCore.jobfiles import files_of, resolved, resolved_scan
from C2SCore.scanjob import ScanJob
from C2SCore.terminal import told
from C2SCore.threads import cores
from C2SCore.writing import check_writable

MOST_ON_WINDOWS = 61  # processes of a pool: it waits for all of them at once, and no more can be waited for there
_DIED = "Its process died, as a rule for lack of memory. Use fewer workers, or a machine with more memory."


def run(
    jobs: Sequence[ScanJob],
    folder: str | Path,
    *,
    workers: int = 1,
    scheduler: str = "",
    resume: bool = False,
    listen: Callable[[Record, int, int], None] = lambda record, done, total: None,
) -> list[Record]:
    """Does all jobs and returns their records in the order of `jobs`; `listen(record, done, total)` hears of each.

    `workers` processes on this machine, or the workers of a Dask scheduler at the address `scheduler`, which must see
    the same files. Raises `UserError` only for what concerns all of them (output folder, model, scheduler).
    """
    if workers < 1:
        raise UserError(f"The number of workers is {workers}; it must be at least 1.")
    folder = Path(folder)
    check_writable(folder / "batch.json")
    modelcache.load_kept(jobs[0].model)  # fails here once, and not for every scan
    before = batchrecord.read(folder)
    _keep_results(jobs, before)
    records: dict[str, Record] = {}
    for job in jobs if resume else ():
        old = before.get(resolved(job.output))
        there = all(Path(path).exists() for path in job.outputs())
        if old and old.state in (DONE, SKIPPED) and there and old.fingerprint == fingerprint(job):
            records[job.output] = dataclasses.replace(old, scan=job.scan, output=job.output, state=SKIPPED)
    for n, record in enumerate(list(records.values()), 1):
        listen(record, n, len(jobs))
    waiting = [job for job in jobs if job.output not in records]
    again = {resolved(job.output) for job in jobs}
    pause, unwritten = 0.0, not waiting  # no writing before `pause`: of thousands of scans it takes a second

    def write() -> None:
        nonlocal pause, unwritten
        start = time.monotonic()
        ours = [records.get(job.output) or Record.of(job, WAITING) for job in jobs]
        with batchrecord.alone(folder):
            # Read anew: another machine may be at work on other scans.
            known = batchrecord.read(folder).items()
            others = [old for name, old in known if name not in again and _holds(old)]
            batchrecord.write(folder, [*others, *ours])
            overview.write(folder, [*others, *ours])
        pause, unwritten = time.monotonic() + 9 * (time.monotonic() - start), False

    try:
        with closing(_results(waiting, workers, scheduler)) as results:  # when stopped, its processes end at once
            for record in results:
                records[record.output], unwritten = record, True
                if time.monotonic() >= pause:
                    write()
                listen(record, len(records), len(jobs))
    finally:
        if unwritten:
            write()
    return [records[job.output] for job in jobs]


def _holds(record: Record) -> bool:
    """Whether the result is still there, or the scan that failed."""
    return Path(record.output).exists() or (record.state == FAILED and files.split_part(record.scan)[0].exists())


def _keep_results(jobs: Sequence[ScanJob], before: dict[str, Record]) -> None:
    """Raises `UserError` where what a job writes would replace what was written of another scan."""
    owners = {resolved(path): old for old in before.values() for path in old.outputs()}
    for path, by in ((path, job) for job in jobs for path in job.outputs()):
        old = owners.get(resolved(path))
        if old and Path(path).exists() and resolved_scan(old.scan) != resolved_scan(by.scan):
            raise UserError(
                f"{path} was made of {old.scan}, and {by.scan} would be written there, too; names must differ. "
                "Choose another output folder, or give the folder above both at once; if the scan was only moved, "
                "delete that result."
            )


def _results(jobs: Sequence[ScanJob], workers: int, scheduler: str) -> Generator[Record, None, None]:
    if scheduler:
        yield from _on_cluster(jobs, scheduler)
    elif workers > 1:
        yield from _in_processes(jobs, workers)
    else:
        yield from map(run_one, jobs)


def run_one(job: ScanJob) -> Record:
    """One job; whatever goes wrong becomes part of the record."""
    try:
        mark = fingerprint(job)
        report = scanjob.run(job)
    except Exception as error:  # one scan must not stop the others
        details = "" if isinstance(error, UserError) else traceback.format_exc()
        return Record.of(job, LEFT_OUT if isinstance(error, NoScan) else FAILED, told(error), details)
    kept = {f.name: report[f.name] for f in dataclasses.fields(Record) if f.name in report}
    return Record(**(kept | {"state": DONE, "fingerprint": mark, "warnings": tuple(report["warnings"])}))


def fingerprint(job: ScanJob) -> str:
    """Changes with the settings, and with the size or time of any file that is read; empty if one is not there."""
    try:
        facts = [(path.name, path.stat()) for scan in job.inputs() for path in files_of(scan)]
    except OSError:
        return ""
    read = [(name, fact.st_size, fact.st_mtime_ns) for name, fact in facts]
    text = json.dumps([__version__, dataclasses.asdict(_absolute(job)), read])
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _in_processes(jobs: Sequence[ScanJob], workers: int) -> Generator[Record, None, None]:
    """Jobs in a pool of fresh processes. One that dies (out of memory) breaks the pool: those that may have been at
    work then run one by one, which shows which of them it was, and the rest in a new pool.
    """
    waiting, suspects = list(jobs), 0
    while waiting:
        alone = suspects > 0
        now = waiting[:1] if alone else waiting
        count = min(workers, len(now), MOST_ON_WINDOWS if sys.platform == "win32" else workers)
        finished = set()
        with _pool(count, max(1, cores() // count)) as pool:
            futures = {pool.submit(_run_in_pool, job): job for job in now}
            for future in _as_they_end(futures):
                job = futures[future]
                try:
                    record = future.result()
                except BrokenProcessPool:
                    if not alone:
                        suspects = 2 * workers + 1  # at work, or handed out already
                        continue
                    record = Record.of(job, FAILED, _DIED)
                finished.add(job.output)
                yield record
        waiting = [job for job in waiting if job.output not in finished]
        suspects -= alone


def _as_they_end(futures: Iterable[Future[Record]]) -> Iterator[Future[Record]]:
    waiting = set(futures)
    while waiting:
        # Ctrl-C on Windows is not heard during a wait, only between two.
        done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        yield from done


@contextmanager
def _pool(workers: int, threads: int) -> Iterator[ProcessPoolExecutor]:
    """Left by an error, Ctrl-C or SIGTERM, it ends its processes; the executor itself would first do all jobs."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare, (threads,))
    try:
        yield pool
    except BaseException:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        stopping.end_all(processes)
        raise
    pool.shutdown()


def _run_in_pool(job: ScanJob) -> Record:
    try:
        return run_one(job)
    except SystemExit as end:  # the executor would take it for the job's result, and begin the next
        os._exit(int(end.code or 0))


def _prepare(threads: int) -> None:
    stopping.follow_parent()
    torch.set_num_threads(threads)


def _on_cluster(jobs: Sequence[ScanJob], address: str) -> Iterator[Record]:
    try:
        from distributed import Client
        from distributed import as_completed as as_they_come
    except ImportError as error:
        raise UserError("A scheduler needs Dask, which is missing: pip install dask distributed") from error
    try:
        client = Client(address, timeout="30s")
    except (OSError, ValueError) as error:
        raise UserError(f"No Dask scheduler answers at {address} ({error}). Check the address.") from error
    with client:
        # The paths must mean the same on every machine.
        here = [_absolute(job) for job in jobs]
        futures = client.map(run_one, here, pure=False, retries=0)
        names = {future.key: job for future, job in zip(futures, jobs, strict=True)}
        if not client.scheduler_info()["workers"]:
            print(f"c2s: {address} has no workers yet: waiting for the first.", file=sys.stderr, flush=True)
        for future in as_they_come(futures):
            job = names[future.key]
            if future.status in ("cancelled", "lost"):
                raise UserError(
                    f"The Dask scheduler at {address} is gone; it must run until the end. Start it again, and go on "
                    "with --resume."
                )
            if future.status == "finished":
                record = future.result()
                yield dataclasses.replace(record, scan=job.scan, output=job.output, fingerprint=fingerprint(job))
            else:
                yield Record.of(job, FAILED, f"Its worker gave up: {future.exception()}")


def _absolute(job: ScanJob) -> ScanJob:
    def full(path: str) -> str:
        return files.absolute(path) if path else path

    model = full(job.model) if Path(job.model).is_file() else job.model
    sigma = full(job.sigma) if isinstance(job.sigma, str) and job.sigma != "auto" else job.sigma
    return dataclasses.replace(
        job,
        scan=full(job.scan),
        output=full(job.output),
        residual=full(job.residual),
        uncertainty=full(job.uncertainty),
        report=full(job.report),
        picture=full(job.picture),
        auxiliary=tuple(map(full, job.auxiliary)),
        model=model,
        sigma=sigma,
    )
