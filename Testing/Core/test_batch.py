"""Batches: several processes, resuming, and bad scans among good ones."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dying import die_on_second, prepare_nothing
from phantom import make_scan
from test_cli import c2s
from test_dicom import set_class, write_slice

from C2SCore import batch, batchrecord, files, overview, scanjob
from C2SCore.batchrecord import DONE, FAILED, SKIPPED, WAITING, Record
from C2SCore.errors import UserError
from C2SCore.scan import to_image
from C2SCore.scanjob import ScanJob

RECORD = ("batch.csv", "batch.html", "batch.json")


@pytest.fixture
def folder(tmp_path):
    """Three scans, one of them broken, in two folders."""
    place = tmp_path / "in"
    files.write(make_scan(0), place / "a.nii.gz")
    files.write(make_scan(1), place / "deep" / "c.nrrd")
    (place / "b.nii.gz").write_bytes((place / "a.nii.gz").read_bytes()[:500])
    return place


def template(model_file) -> ScanJob:
    return ScanJob("", "", model=str(model_file), device="cpu")


def test_plan_mirrors_the_folders(folder, tmp_path):
    jobs = batch.plan([folder], tmp_path / "out", ScanJob("", ""))
    assert [os.path.relpath(j.output, tmp_path / "out") for j in jobs] == ["a.nii.gz", "b.nii.gz", "deep/c.nrrd"]
    assert [j.scan for j in jobs] == [str(p) for p in files.find_scans(folder)]


def test_plan_refuses_what_would_collide(folder, tmp_path):
    with pytest.raises(UserError, match="both be written"):
        batch.plan([folder / "a.nii.gz", files.write(make_scan(1), tmp_path / "a.nii.gz")], "out", ScanJob("", ""))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="No scan was found"):
        batch.plan([tmp_path / "empty"], tmp_path, ScanJob("", ""))


def test_plan_leaves_out_its_own_output(folder):
    out = folder / "out"
    files.write(make_scan(2), out / "a.nii.gz")
    batchrecord.write(out, [Record("a", str(out / "a.nii.gz"), DONE)])
    assert len(batch.plan([folder], out, ScanJob("", ""))) == 3


def test_scans_in_the_output_folder_are_scans(folder, tmp_path):
    assert len(batch.plan([folder], tmp_path, ScanJob("", ""))) == 3
    with pytest.raises(UserError, match="is an input"):
        batch.plan([folder], folder, ScanJob("", ""))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/a.nii.gz", "a.nii.gz"),
        ("a.mha", "a.mha"),
        ("a.h5::kspace_GRE", "a_kspace_GRE.nrrd"),
        ("x/2022_T101.h5", "2022_T101.nrrd"),
        ("study", "study.nrrd"),
        ("study/1.2.3::4.5.6", "1.2.3_4.5.6.nrrd"),
        ("IM.0001", "IM.0001.nrrd"),
        (".", "place.nrrd"),
        ("below/..", "place.nrrd"),
    ],
)
def test_names_of_outputs(path, name, tmp_path, monkeypatch):
    (tmp_path / "place" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "place")
    assert batch.output_name(path) == name


def test_a_scan_given_twice_is_done_once_and_formats_tell_scans_apart(tmp_path):
    for name in ("s.mhd", "s.nrrd", "t.mhd"):
        files.write(make_scan(), (tmp_path / name).with_suffix(".mha")).rename(tmp_path / name)
    again = tmp_path / ".." / tmp_path.name / "s.mhd"
    jobs = batch.plan([tmp_path, again], tmp_path / "out", ScanJob("", ""))
    assert [Path(j.output).name for j in jobs] == ["s_mhd.nrrd", "s.nrrd", "t.nrrd"]


def test_everything_in_a_folder_with_dicom_files_is_found(tmp_path, monkeypatch):
    for series in (1, 2):
        write_slice(tmp_path / "two" / f"{series}.dcm", np.ones((6, 8)), (0, 0, 0), 1, series=series)
    assert len(batch.plan([tmp_path / "two"], tmp_path / "out", ScanJob("", ""))) == 2
    mixed = tmp_path / "mixed"
    write_slice(mixed / "1.dcm", np.ones((6, 8)), (0, 0, 0), 1)
    files.write(make_scan(), mixed / "sub" / "extra.nii.gz")
    monkeypatch.chdir(mixed)
    jobs = batch.plan(["."], "../out", ScanJob("", ""))
    assert [Path(j.output).as_posix() for j in jobs] == ["../out/mixed.nrrd", "../out/sub/extra.nii.gz"]


def test_one_contrast_is_not_taken_for_all_scans(folder, tmp_path):
    template = ScanJob("", "", auxiliary=("t2.nrrd",))
    with pytest.raises(UserError, match="one by one"):
        batch.plan([folder], tmp_path / "out", template)
    assert len(batch.plan([folder / "a.nii.gz"], tmp_path / "out", template)) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_scan_does_not_stop_the_others(workers, folder, tmp_path, model_file):
    out = tmp_path / "out"
    jobs = batch.plan([folder], out, template(model_file))
    heard = []
    records = batch.run(jobs, out, workers=workers, listen=lambda r, done, total: heard.append((done, total)))
    assert [r.state for r in records] == ["done", "failed", "done"]
    assert "b.nii.gz is damaged" in records[1].error
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert sorted(p.name for p in out.rglob("*") if p.is_file()) == ["a.nii.gz", *RECORD, "c.nrrd"]
    written = json.loads((out / "batch.json").read_text())
    assert [row["state"] for row in written] == ["done", "failed", "done"]
    with open(out / "batch.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["error"] == records[1].error
    assert float(rows[0]["sigma"]) > 0


def test_resume_does_only_what_is_left(folder, tmp_path, model_file):
    out = tmp_path / "out"
    jobs = batch.plan([folder], out, template(model_file))
    first = batch.run(jobs, out)
    times = {r.output: os.stat(r.output).st_mtime_ns for r in first if r.state == "done"}
    files.write(make_scan(5), folder / "b.nii.gz")  # the bad one is repaired
    again = batch.run(jobs, out, resume=True)
    assert [r.state for r in again] == ["skipped", "done", "skipped"]
    assert all(os.stat(p).st_mtime_ns == t for p, t in times.items())
    assert again[0].sigma == first[0].sigma

    files.write(make_scan(6), folder / "a.nii.gz")  # another source
    (out / "deep" / "c.nrrd").unlink()  # a lost output
    assert [r.state for r in batch.run(jobs, out, resume=True)] == ["done", "skipped", "done"]
    other = batch.plan([folder], out, ScanJob("", "", model=str(model_file), device="cpu", detail=0.5))
    assert [r.state for r in batch.run(other, out, resume=True)] == ["done"] * 3


@pytest.mark.parametrize("changed", ["model", "map", "aux", "raw", "slice"])
def test_any_file_that_was_read_makes_a_result_out_of_date(changed, tmp_path, model_file):
    header = tmp_path / "scan.mhd"
    sitk.WriteImage(to_image(make_scan()), str(header))
    series = tmp_path / "series"
    series.mkdir()
    read = {name: tmp_path / name for name in ("map", "aux")} | {"raw": tmp_path / "scan.raw"}
    read |= {"model": tmp_path / "own.safetensors", "slice": series / "1"}
    for name in ("map", "aux", "model"):
        read[name].write_bytes(b"0")
    for name in "12":
        (series / name).write_bytes(bytes(128) + b"DICM")
    scan = series if changed == "slice" else header
    job = ScanJob(str(scan), "o.nrrd", model=str(read["model"]), sigma=str(read["map"]), auxiliary=(str(read["aux"]),))
    before = batch.fingerprint(job)
    assert before == batch.fingerprint(job) != ""
    facts = read[changed].stat()
    os.utime(read[changed], ns=(facts.st_atime_ns, facts.st_mtime_ns + 10**9))
    assert batch.fingerprint(job) != before


def test_resume_from_another_folder_and_with_other_scans(folder, tmp_path, model_file, monkeypatch):
    (folder / "b.nii.gz").unlink()
    monkeypatch.chdir(tmp_path)
    assert [r.state for r in batch.run(batch.plan(["in"], "out", template(model_file)), "out")] == ["done"] * 2
    monkeypatch.chdir(folder)
    heard = []
    jobs = batch.plan(["."], "../out", template(model_file))
    records = batch.run(jobs, "../out", resume=True, listen=lambda r, done, total: heard.append((done, total)))
    assert [r.state for r in records] == ["skipped"] * 2
    assert heard == [(1, 2), (2, 2)]
    files.write(make_scan(3), folder / "d.nrrd")
    batch.run(batch.plan(["d.nrrd"], "../out", template(model_file)), "../out", resume=True)
    rows = json.loads((tmp_path / "out" / "batch.json").read_text())
    assert [Path(row["scan"]).name for row in rows] == ["a.nii.gz", "c.nrrd", "d.nrrd"]


def test_damaged_record_is_no_obstacle(folder, tmp_path, model_file):
    out = tmp_path / "out"
    out.mkdir()
    (out / "batch.json").write_text("[{")
    records = batch.run(batch.plan([folder / "a.nii.gz"], out, template(model_file)), out, resume=True)
    assert [r.state for r in records] == ["done"]


def test_faults_of_the_program_are_recorded_too(folder, tmp_path, model_file, monkeypatch):
    def fail(job):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(scanjob, "run", fail)
    (record,) = batch.run(batch.plan([folder / "a.nii.gz"], tmp_path / "out", template(model_file)), tmp_path / "out")
    assert record.state == "failed"
    assert record.error == "RuntimeError: out of luck"
    assert "Traceback" in record.details


def test_a_process_that_dies_takes_only_its_own_scan_along(monkeypatch):
    """Those that were at work beside it run alone, the rest side by side as before."""
    sizes = []
    pool = batch._pool
    monkeypatch.setattr(batch, "_pool", lambda count, threads: sizes.append(count) or pool(count, threads))
    monkeypatch.setattr(batch, "_prepare", prepare_nothing)
    monkeypatch.setattr(batch, "_run_in_pool", die_on_second)
    jobs = [ScanJob(name, f"{name}.nrrd") for name in ("first", "second", *map(str, range(8)))]
    records = {r.scan: r for r in batch._in_processes(jobs, 2)}
    assert sorted(records) == sorted(j.scan for j in jobs)
    assert [r.scan for r in records.values() if r.state == "failed"] == ["second"] and "died" in records["second"].error
    assert sizes[0] == sizes[-1] == 2 and 1 <= sizes.count(1) <= 5


def test_a_batch_does_not_replace_the_results_of_another(tmp_path, model_file):
    """As patient after patient into one folder, where scans have the same names."""
    out = tmp_path / "out"
    for patient in "ab":
        files.write(make_scan(ord(patient)), tmp_path / patient / "t1.nii.gz")
    batch.run(batch.plan([tmp_path / "a"], out, template(model_file)), out)
    before = (out / "t1.nii.gz").read_bytes()
    with pytest.raises(UserError, match="give the folder above both"):
        batch.run(batch.plan([tmp_path / "b"], out, template(model_file)), out)
    assert (out / "t1.nii.gz").read_bytes() == before
    (record,) = json.loads((out / "batch.json").read_text())
    assert record["scan"] == str(tmp_path / "a" / "t1.nii.gz") and record["version"] and record["name"]
    batch.run(batch.plan([tmp_path / "a"], out, template(model_file)), out)  # the same again may be


def test_what_any_batch_wrote_is_no_scan(folder, tmp_path, model_file):
    for out in ("den", "deep/den"):
        batch.run(batch.plan([folder / "a.nii.gz"], folder / out, template(model_file)), folder / out)
    jobs = batch.plan([folder], folder / "other", template(model_file))
    assert [os.path.relpath(j.scan, folder) for j in jobs] == ["a.nii.gz", "b.nii.gz", "deep/c.nrrd"]


def test_what_else_is_written_stands_beside_each_result(folder, tmp_path, model_file):
    out = tmp_path / "out"
    beside = batch.Beside(residual=True, uncertainty=True, pictures=True)
    jobs = batch.plan([folder], out, template(model_file), beside=beside)
    records = batch.run(jobs, out)
    written = {p.name for p in out.rglob("*") if p.is_file()} - set(RECORD)
    endings = (".nii.gz", "_residual.nii.gz", "_uncertainty.nii.gz", ".nii.gz.png")
    assert written == {f"a{end}" for end in endings} | {f"c{end.replace('nii.gz', 'nrrd')}" for end in endings}
    source, result, residual = (files.read_one(p).voxels for p in (jobs[0].scan, jobs[0].output, records[0].residual))
    assert np.allclose(source - result, residual, atol=1e-3)
    files.write(make_scan(7), out / "new.nii.gz")
    assert [Path(j.scan).name for j in batch.plan([out], tmp_path / "again", ScanJob("", ""))] == ["new.nii.gz"]
    batch.run(batch.plan([folder / "a.nii.gz"], out, template(model_file)), out)  # now its residual is not recorded
    assert [Path(j.scan).name for j in batch.plan([out], tmp_path / "again", ScanJob("", ""))] == ["new.nii.gz"]
    batch.run(jobs, out)
    Path(records[0].residual).unlink()
    assert [r.state for r in batch.run(jobs, out, resume=True)] == ["done", "failed", "skipped"]


def test_names_that_would_meet_are_refused(tmp_path):
    for name in ("a.nii.gz", "a_residual.nii.gz"):
        files.write(make_scan(0), tmp_path / "in" / name)
    with pytest.raises(UserError, match="two outputs"):
        batch.plan([tmp_path / "in"], tmp_path / "out", ScanJob("", ""), beside=batch.Beside(residual=True))


def test_pictures_of_scans_that_differ_by_format_alone_have_names_of_their_own(tmp_path):
    for name in ("a.nii.gz", "a.nrrd"):
        files.write(make_scan(0), tmp_path / "in" / name)
    jobs = batch.plan([tmp_path / "in"], tmp_path / "out", ScanJob("", ""), beside=batch.Beside(pictures=True))
    assert [Path(job.picture).name for job in jobs] == ["a.nii.gz.png", "a.nrrd.png"]


def test_no_result_replaces_the_residual_of_another_scan(tmp_path, model_file):
    out, first = tmp_path / "out", tmp_path / "first"
    files.write(make_scan(0), first / "a.nii.gz")
    files.write(make_scan(1), tmp_path / "second" / "a_residual.nii.gz")
    batch.run(batch.plan([first], out, template(model_file), beside=batch.Beside(residual=True)), out)
    with pytest.raises(UserError, match="was made of"):
        batch.run(batch.plan([tmp_path / "second"], out, template(model_file)), out)


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
            batch.run(batch.plan([other], out, template(model_file)), out)

    batch.run(batch.plan([folder], out, template(model_file)), out, listen=elsewhere)
    rows = json.loads((out / "batch.json").read_text())
    assert sorted(Path(row["scan"]).name for row in rows) == ["a.nii.gz", "b.nii.gz", "c.nrrd", "other.nii.gz"]
    assert [row["state"] for row in rows if row["scan"] == str(other)] == ["done"]


def test_a_failure_stays_in_the_record_of_later_batches_as_long_as_its_scan_is_there(folder, tmp_path, model_file):
    out = tmp_path / "out"
    for name in ("b.nii.gz", "a.nii.gz"):
        batch.run(batch.plan([folder / name], out, template(model_file)), out)
    assert [record.state for record in batchrecord.read(out).values()] == [FAILED, DONE]
    assert "b.nii.gz" in (out / "batch.html").read_text(encoding="utf-8")
    (folder / "b.nii.gz").unlink()
    batch.run(batch.plan([folder / "deep"], out, template(model_file)), out)
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
            jobs = batch.plan([folder / "a.nii.gz"], out, template(model_file))
            others.append(threading.Thread(target=batch.run, args=(jobs, out)))
            others[0].start()
            others[0].join(0.5)  # it must wait for this one
        write(where, records)

    monkeypatch.setattr(batch, "run_one", done)
    monkeypatch.setattr(batchrecord, "write", written)
    batch.run(batch.plan([folder / "deep"], out, template(model_file)), out)
    others[0].join()
    assert sorted(Path(name).name for name in batchrecord.read(out)) == ["a.nii.gz", "c.nrrd"]
    assert {path.name for path in out.iterdir()} == {*RECORD, "a.nii.gz", "c.nrrd"}


def test_masks_and_labels_are_left_out_and_are_no_failure(tmp_path, model_file, capsys):
    scan = make_scan(0)
    place, out = tmp_path / "in", tmp_path / "out"
    files.write(scan, place / "t1.nii.gz")
    files.write(scan.with_voxels((scan.voxels > 500).astype(np.float32)), place / "t1_mask.nii.gz", np.uint8)
    files.write(scan.with_voxels(np.clip(scan.voxels // 300, 0, 4)), place / "t1_dseg.nii.gz", np.uint8)
    assert c2s("batch", place, "-o", out, "--model", model_file, "--device", "cpu") == 0
    said = capsys.readouterr()
    assert "1 of 1 scans denoised, 2 left out" in said.out and "mask or a label map" in said.err
    assert sorted(p.name for p in out.iterdir()) == [*RECORD, "t1.nii.gz"]
    assert c2s("denoise", place / "t1_mask.nii.gz", "-o", out / "x.nii.gz", "--model", model_file) == 1
    assert "mask or a label map" in capsys.readouterr().err and not (out / "x.nii.gz").exists()


def test_dicom_that_is_no_mr_image_is_left_out_and_said(tmp_path, model_file, capsys):
    files.write(make_scan(0), tmp_path / "in" / "t1.nii.gz")
    write_slice(tmp_path / "in" / "dose" / "1.dcm", np.ones((6, 8)), (0, 0, 0), 1)
    set_class(tmp_path / "in" / "dose" / "1.dcm", "1.2.840.10008.5.1.4.1.1.481.2")
    out = tmp_path / "out"
    assert c2s("batch", tmp_path / "in", "-o", out, "--model", model_file, "--device", "cpu") == 0
    said = capsys.readouterr()
    assert "1 of 1 scans denoised, 1 left out" in said.out and f"left out: {tmp_path / 'in' / 'dose'}" in said.err
    assert c2s("batch", tmp_path / "in" / "dose", "-o", out, "--model", model_file) == 2
    assert "no MR image" in capsys.readouterr().err


def test_a_series_and_a_file_of_one_name_have_results_of_their_own(tmp_path):
    write_slice(tmp_path / "in" / "t1" / "1.dcm", np.ones((6, 8)), (0, 0, 0), 1)
    files.write(make_scan(0), tmp_path / "in" / "t1.nrrd")
    jobs = batch.plan([tmp_path / "in"], tmp_path / "out", ScanJob("", ""))
    assert sorted(Path(j.output).name for j in jobs) == ["t1.nrrd", "t1_dicom.nrrd"]


def test_no_dicom_folder_is_written_around_another(tmp_path):
    for series, place in enumerate(("p1", "p1/extra", "p1/extra/more", "p2")):
        write_slice(tmp_path / "in" / place / "1.dcm", np.ones((6, 8)), (0, 0, 0), 1, series=series)
    jobs = batch.plan([tmp_path / "in"], tmp_path / "out", ScanJob("", "", dicom=True))
    outputs = [os.path.relpath(j.output, tmp_path / "out") for j in jobs]
    assert outputs == ["p1/p1", "p1/extra/extra", "p1/extra/more", "p2"]


def test_wrong_use_is_refused_before_anything_is_written(folder, tmp_path, model_file, monkeypatch):
    out = tmp_path / "out"
    jobs = batch.plan([folder], out, template(model_file))
    with pytest.raises(UserError, match="at least 1"):
        batch.run(jobs, out, workers=0)
    with pytest.raises(UserError, match="no model 'nobody'"):
        batch.run([ScanJob("a", "b.nrrd", model="nobody")], out)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "distributed", None)
        with pytest.raises(UserError, match="pip install dask distributed"):
            batch.run(jobs, out, scheduler="tcp://localhost:1")
    assert not out.exists()


def test_dask_cluster(folder, tmp_path, model_file, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        jobs = batch.plan(["in"], "out", template(model_file))
        records = batch.run(jobs, "out", scheduler=cluster.scheduler_address)
    assert [r.state for r in records] == ["done", "failed", "done"]
    assert records[0].output == os.path.join("out", "a.nii.gz")
    assert np.isfinite(files.read("out/a.nii.gz")[0].voxels).all()


def test_no_output_replaces_the_original_that_a_link_leads_to(folder, tmp_path):
    link = tmp_path / "link"
    try:
        link.symlink_to(folder, target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    with pytest.raises(UserError, match="is an input"):
        batch.plan([link], folder, ScanJob("", ""))
    with pytest.raises(UserError, match="is an input"):
        batch.plan([folder], folder / "deep" / "..", ScanJob("", ""))


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
    jobs = batch.plan([tmp_path / "in"], tmp_path / "out", template(model_file))
    assert [r.state for r in batch.run(jobs, tmp_path / "out")] == ["failed"]
    assert "udcff" in (tmp_path / "out" / "batch.csv").read_text(encoding="utf-8")


def test_a_table_that_is_open_elsewhere_does_not_stop_the_batch(folder, tmp_path, model_file, monkeypatch):
    replace = os.replace

    def refuse(source, target):
        if str(target).endswith(".csv"):
            raise PermissionError(13, "in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    records = batch.run(batch.plan([folder], tmp_path / "out", template(model_file)), tmp_path / "out")
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
