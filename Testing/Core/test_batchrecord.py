"""The record of a batch: kept whole beside other batches, and shown as a page and a table."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from batches import RECORD, template
from phantom import make_scan

from C2SCore import batch, batchplan, batchrecord, files, overview
from C2SCore.batchrecord import DONE, FAILED, SKIPPED, WAITING, Record
from C2SCore.scanjob import ScanJob


def test_damaged_record_is_no_obstacle(folder, tmp_path, model_file):
    out = tmp_path / "out"
    out.mkdir()
    (out / "batch.json").write_text("[{")
    records = batch.run(batchplan.plan([folder / "a.nii.gz"], out, template(model_file)), out, resume=True)
    assert [r.state for r in records] == ["done"]


def test_the_page_shows_first_what_needs_a_person(tmp_path):
    done = {"state": DONE, "sigma": 2.0, "snr_before": 5.0, "snr_after": 10.0, "snr_gain_db": 6.0, "model": "m"}
    picture = tmp_path / "o #1.png"
    picture.write_bytes(b"")
    records = [
        Record("w", str(tmp_path / "w.nrrd"), WAITING),
        Record("<i>", str(tmp_path / "good.nrrd"), verdict="noise", picture=str(picture), **done),
        Record("s", str(tmp_path / "edges.nrrd"), verdict="anatomy", **(done | {"state": SKIPPED})),
        Record("f", str(tmp_path / "bad.nrrd"), FAILED, error="It is damaged.", picture=str(picture)),
    ]
    text = overview.write(tmp_path, records).read_text(encoding="utf-8")
    places = [text.index(name) for name in ("edges.nrrd", "bad.nrrd", "It is damaged.", "good.nrrd", "w.nrrd")]
    assert places == sorted(places) and "2 done, 1 failed, 1 waiting" in text
    assert 'src="o%20%231.png"' in text and text.count("<img") == 1 and "&lt;i&gt;" in text


def test_the_page_names_results_by_their_place_in_its_folder(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    records = [Record("s", str(tmp_path / "link" / "a.nrrd"), WAITING)]
    assert "<h3>a.nrrd</h3>" in overview.write(tmp_path / "real", records).read_text(encoding="utf-8")

    def other_drive(path: str, start: str) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'E:'")

    monkeypatch.setattr(os.path, "relpath", other_drive)
    text = overview.write(tmp_path / "real", records).read_text(encoding="utf-8")
    assert f"<h3>{tmp_path / 'link' / 'a.nrrd'}</h3>" in text


def test_batches_at_work_side_by_side_keep_the_records_of_each_other(folder, tmp_path, model_file):
    out, other = tmp_path / "out", files.write(make_scan(3), tmp_path / "other.nii.gz")

    def elsewhere(record: Record, done: int, total: int) -> None:
        if done == 1:
            batch.run(batchplan.plan([other], out, template(model_file)), out)

    batch.run(batchplan.plan([folder], out, template(model_file)), out, listen=elsewhere)
    rows = json.loads((out / "batch.json").read_text())
    assert sorted(Path(row["scan"]).name for row in rows) == ["a.nii.gz", "b.nii.gz", "c.nrrd", "other.nii.gz"]
    assert [row["state"] for row in rows if row["scan"] == str(other)] == ["done"]


def test_a_failure_stays_in_the_record_of_later_batches_as_long_as_its_scan_is_there(folder, tmp_path, model_file):
    out = tmp_path / "out"
    for name in ("b.nii.gz", "a.nii.gz"):
        batch.run(batchplan.plan([folder / name], out, template(model_file)), out)
    assert [record.state for record in batchrecord.read(out).values()] == [FAILED, DONE]
    assert "b.nii.gz" in (out / "batch.html").read_text(encoding="utf-8")
    (folder / "b.nii.gz").unlink()
    batch.run(batchplan.plan([folder / "deep"], out, template(model_file)), out)
    assert [record.state for record in batchrecord.read(out).values()] == [DONE, DONE]


def test_no_record_is_lost_between_the_reading_and_the_writing_of_another_batch(
    folder, tmp_path, model_file, monkeypatch
):
    out, others, write = tmp_path / "out", [], batchrecord.write

    def done(job: ScanJob) -> Record:
        out.mkdir(exist_ok=True)
        Path(job.output).touch()
        return Record.of(job, DONE)

    def written(where: Path, records: list[Record]) -> None:
        if not others:
            jobs = batchplan.plan([folder / "a.nii.gz"], out, template(model_file))
            others.append(threading.Thread(target=batch.run, args=(jobs, out)))
            others[0].start()
            others[0].join(0.5)  # it must wait for this one
        write(where, records)

    monkeypatch.setattr(batch, "run_one", done)
    monkeypatch.setattr(batchrecord, "write", written)
    batch.run(batchplan.plan([folder / "deep"], out, template(model_file)), out)
    others[0].join()
    assert sorted(Path(name).name for name in batchrecord.read(out)) == ["a.nii.gz", "c.nrrd"]
    assert {path.name for path in out.iterdir()} == {*RECORD, "a.nii.gz", "c.nrrd"}


def test_a_record_that_takes_long_is_written_less_often_but_whole(tmp_path, monkeypatch):
    jobs = [ScanJob(f"{n}.nrrd", str(tmp_path / f"{n}.nrrd")) for n in range(20)]

    def results(*_):
        yield from (Record.of(job, FAILED, "no") for job in jobs[:12])
        raise KeyboardInterrupt

    kept = batchrecord.write
    times = []
    monkeypatch.setattr(batchrecord, "write", lambda *a: times.append(time.sleep(0.1)) or kept(*a))
    monkeypatch.setattr(batch.modelcache, "load_kept", lambda name: None)
    monkeypatch.setattr(batch, "_results", results)
    with pytest.raises(KeyboardInterrupt):
        batch.run(jobs, tmp_path)
    assert len(times) == 2  # after the first, and at the end
    states = [record.state for record in batchrecord.read(tmp_path).values()]
    assert (states.count(FAILED), states.count(WAITING)) == (12, 8)


def test_names_that_are_no_utf8_are_recorded(tmp_path, model_file):
    (tmp_path / "in").mkdir()
    try:
        (tmp_path / "in" / os.fsdecode(b"\xff.nii.gz")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes no such names")
    jobs = batchplan.plan([tmp_path / "in"], tmp_path / "out", template(model_file))
    assert [r.state for r in batch.run(jobs, tmp_path / "out")] == ["failed"]
    assert "udcff" in (tmp_path / "out" / "batch.csv").read_text(encoding="utf-8")


def test_a_table_that_is_open_elsewhere_does_not_stop_the_batch(folder, tmp_path, model_file, monkeypatch):
    replace = os.replace

    def refuse(source, target):
        if str(target).endswith(".csv"):
            raise PermissionError(13, "in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    records = batch.run(batchplan.plan([folder], tmp_path / "out", template(model_file)), tmp_path / "out")
    assert {r.state for r in records} <= {"done", "failed"} and (tmp_path / "out" / "batch.json").is_file()


@pytest.mark.skipif(os.name == "nt", reason="there it is deleted by its holder, and waited for")
def test_a_lock_that_another_user_has_left_is_not_waited_for(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "not yours")

    monkeypatch.setattr(batchrecord.runlock, "claim", refuse)
    start = time.monotonic()
    with batchrecord.alone(tmp_path):
        pass
    assert time.monotonic() - start < batchrecord.PATIENCE / 10
