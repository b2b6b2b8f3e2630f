"""Batches: one process or several, resuming, and bad scans among good ones."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from batches import RECORD, template
from commandline import c2s
from dicomfiles import set_class, write_slice
from dying import die_on_second, prepare_nothing
from phantom import make_scan

from C2SCore import batch, batchplan, files, scanjob
from C2SCore.errors import UserError
from C2SCore.scan import to_image
from C2SCore.scanjob import ScanJob


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_scan_does_not_stop_the_others(workers, folder, tmp_path, model_file):
    out = tmp_path / "out"
    jobs = batchplan.plan([folder], out, template(model_file))
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
    jobs = batchplan.plan([folder], out, template(model_file))
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
    other = batchplan.plan([folder], out, ScanJob("", "", model=str(model_file), device="cpu", detail=0.5))
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
    assert [r.state for r in batch.run(batchplan.plan(["in"], "out", template(model_file)), "out")] == ["done"] * 2
    monkeypatch.chdir(folder)
    heard = []
    jobs = batchplan.plan(["."], "../out", template(model_file))
    records = batch.run(jobs, "../out", resume=True, listen=lambda r, done, total: heard.append((done, total)))
    assert [r.state for r in records] == ["skipped"] * 2
    assert heard == [(1, 2), (2, 2)]
    files.write(make_scan(3), folder / "d.nrrd")
    batch.run(batchplan.plan(["d.nrrd"], "../out", template(model_file)), "../out", resume=True)
    rows = json.loads((tmp_path / "out" / "batch.json").read_text())
    assert [Path(row["scan"]).name for row in rows] == ["a.nii.gz", "c.nrrd", "d.nrrd"]


def test_faults_of_the_program_are_recorded_too(folder, tmp_path, model_file, monkeypatch):
    def fail(job):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(scanjob, "run", fail)
    (record,) = batch.run(
        batchplan.plan([folder / "a.nii.gz"], tmp_path / "out", template(model_file)), tmp_path / "out"
    )
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
    batch.run(batchplan.plan([tmp_path / "a"], out, template(model_file)), out)
    before = (out / "t1.nii.gz").read_bytes()
    with pytest.raises(UserError, match="give the folder above both"):
        batch.run(batchplan.plan([tmp_path / "b"], out, template(model_file)), out)
    assert (out / "t1.nii.gz").read_bytes() == before
    (record,) = json.loads((out / "batch.json").read_text())
    assert record["scan"] == str(tmp_path / "a" / "t1.nii.gz") and record["version"] and record["name"]
    batch.run(batchplan.plan([tmp_path / "a"], out, template(model_file)), out)  # the same again may be


def test_what_else_is_written_stands_beside_each_result(folder, tmp_path, model_file):
    out = tmp_path / "out"
    beside = batchplan.Beside(residual=True, uncertainty=True, pictures=True)
    jobs = batchplan.plan([folder], out, template(model_file), beside=beside)
    records = batch.run(jobs, out)
    written = {p.name for p in out.rglob("*") if p.is_file()} - set(RECORD)
    endings = (".nii.gz", "_residual.nii.gz", "_uncertainty.nii.gz", ".nii.gz.png")
    assert written == {f"a{end}" for end in endings} | {f"c{end.replace('nii.gz', 'nrrd')}" for end in endings}
    source, result, residual = (files.read_one(p).voxels for p in (jobs[0].scan, jobs[0].output, records[0].residual))
    assert np.allclose(source - result, residual, atol=1e-3)
    files.write(make_scan(7), out / "new.nii.gz")
    assert [Path(j.scan).name for j in batchplan.plan([out], tmp_path / "again", ScanJob("", ""))] == ["new.nii.gz"]
    batch.run(batchplan.plan([folder / "a.nii.gz"], out, template(model_file)), out)  # now its residual is not recorded
    assert [Path(j.scan).name for j in batchplan.plan([out], tmp_path / "again", ScanJob("", ""))] == ["new.nii.gz"]
    batch.run(jobs, out)
    Path(records[0].residual).unlink()
    assert [r.state for r in batch.run(jobs, out, resume=True)] == ["done", "failed", "skipped"]


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


def test_wrong_use_is_refused_before_anything_is_written(folder, tmp_path, model_file, monkeypatch):
    out = tmp_path / "out"
    jobs = batchplan.plan([folder], out, template(model_file))
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
        jobs = batchplan.plan(["in"], "out", template(model_file))
        records = batch.run(jobs, "out", scheduler=cluster.scheduler_address)
    assert [r.state for r in records] == ["done", "failed", "done"]
    assert records[0].output == os.path.join("out", "a.nii.gz")
    assert np.isfinite(files.read("out/a.nii.gz")[0].voxels).all()
