"""The plan of a batch: which scans are taken, and names of outputs that meet nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from batches import template
from dicomfiles import write_slice
from phantom import make_scan

from C2SCore import batch, batchplan, batchrecord, files
from C2SCore.batchrecord import DONE, Record
from C2SCore.errors import UserError
from C2SCore.scanjob import ScanJob


def test_plan_mirrors_the_folders(folder, tmp_path):
    jobs = batchplan.plan([folder], tmp_path / "out", ScanJob("", ""))
    assert [os.path.relpath(j.output, tmp_path / "out") for j in jobs] == ["a.nii.gz", "b.nii.gz", "deep/c.nrrd"]
    assert [j.scan for j in jobs] == [str(p) for p in files.find_scans(folder)]


def test_plan_refuses_what_would_collide(folder, tmp_path):
    with pytest.raises(UserError, match="both be written"):
        batchplan.plan([folder / "a.nii.gz", files.write(make_scan(1), tmp_path / "a.nii.gz")], "out", ScanJob("", ""))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="No scan was found"):
        batchplan.plan([tmp_path / "empty"], tmp_path, ScanJob("", ""))


def test_plan_leaves_out_its_own_output(folder):
    out = folder / "out"
    files.write(make_scan(2), out / "a.nii.gz")
    batchrecord.write(out, [Record("a", str(out / "a.nii.gz"), DONE)])
    assert len(batchplan.plan([folder], out, ScanJob("", ""))) == 3


def test_scans_in_the_output_folder_are_scans(folder, tmp_path):
    assert len(batchplan.plan([folder], tmp_path, ScanJob("", ""))) == 3
    with pytest.raises(UserError, match="is an input"):
        batchplan.plan([folder], folder, ScanJob("", ""))


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
    assert batchplan.output_name(path) == name


def test_a_scan_given_twice_is_done_once_and_formats_tell_scans_apart(tmp_path):
    for name in ("s.mhd", "s.nrrd", "t.mhd"):
        files.write(make_scan(), (tmp_path / name).with_suffix(".mha")).rename(tmp_path / name)
    again = tmp_path / ".." / tmp_path.name / "s.mhd"
    jobs = batchplan.plan([tmp_path, again], tmp_path / "out", ScanJob("", ""))
    assert [Path(j.output).name for j in jobs] == ["s_mhd.nrrd", "s.nrrd", "t.nrrd"]


def test_everything_in_a_folder_with_dicom_files_is_found(tmp_path, monkeypatch):
    for series in (1, 2):
        write_slice(tmp_path / "two" / f"{series}.dcm", np.ones((6, 8)), (0, 0, 0), 1, series=series)
    assert len(batchplan.plan([tmp_path / "two"], tmp_path / "out", ScanJob("", ""))) == 2
    mixed = tmp_path / "mixed"
    write_slice(mixed / "1.dcm", np.ones((6, 8)), (0, 0, 0), 1)
    files.write(make_scan(), mixed / "sub" / "extra.nii.gz")
    monkeypatch.chdir(mixed)
    jobs = batchplan.plan(["."], "../out", ScanJob("", ""))
    assert [Path(j.output).as_posix() for j in jobs] == ["../out/mixed.nrrd", "../out/sub/extra.nii.gz"]


def test_one_contrast_is_not_taken_for_all_scans(folder, tmp_path):
    template = ScanJob("", "", auxiliary=("t2.nrrd",))
    with pytest.raises(UserError, match="one by one"):
        batchplan.plan([folder], tmp_path / "out", template)
    assert len(batchplan.plan([folder / "a.nii.gz"], tmp_path / "out", template)) == 1


def test_what_any_batch_wrote_is_no_scan(folder, tmp_path, model_file):
    for out in ("den", "deep/den"):
        batch.run(batchplan.plan([folder / "a.nii.gz"], folder / out, template(model_file)), folder / out)
    jobs = batchplan.plan([folder], folder / "other", template(model_file))
    assert [os.path.relpath(j.scan, folder) for j in jobs] == ["a.nii.gz", "b.nii.gz", "deep/c.nrrd"]


def test_names_that_would_meet_are_refused(tmp_path):
    for name in ("a.nii.gz", "a_residual.nii.gz"):
        files.write(make_scan(0), tmp_path / "in" / name)
    with pytest.raises(UserError, match="two outputs"):
        batchplan.plan([tmp_path / "in"], tmp_path / "out", ScanJob("", ""), beside=batchplan.Beside(residual=True))


def test_pictures_of_scans_that_differ_by_format_alone_have_names_of_their_own(tmp_path):
    for name in ("a.nii.gz", "a.nrrd"):
        files.write(make_scan(0), tmp_path / "in" / name)
    jobs = batchplan.plan([tmp_path / "in"], tmp_path / "out", ScanJob("", ""), beside=batchplan.Beside(pictures=True))
    assert [Path(job.picture).name for job in jobs] == ["a.nii.gz.png", "a.nrrd.png"]


def test_no_result_replaces_the_residual_of_another_scan(tmp_path, model_file):
    out, first = tmp_path / "out", tmp_path / "first"
    files.write(make_scan(0), first / "a.nii.gz")
    files.write(make_scan(1), tmp_path / "second" / "a_residual.nii.gz")
    batch.run(batchplan.plan([first], out, template(model_file), beside=batchplan.Beside(residual=True)), out)
    with pytest.raises(UserError, match="was made of"):
        batch.run(batchplan.plan([tmp_path / "second"], out, template(model_file)), out)


def test_a_series_and_a_file_of_one_name_have_results_of_their_own(tmp_path):
    write_slice(tmp_path / "in" / "t1" / "1.dcm", np.ones((6, 8)), (0, 0, 0), 1)
    files.write(make_scan(0), tmp_path / "in" / "t1.nrrd")
    jobs = batchplan.plan([tmp_path / "in"], tmp_path / "out", ScanJob("", ""))
    assert sorted(Path(j.output).name for j in jobs) == ["t1.nrrd", "t1_dicom.nrrd"]


def test_no_dicom_folder_is_written_around_another(tmp_path):
    for series, place in enumerate(("p1", "p1/extra", "p1/extra/more", "p2")):
        write_slice(tmp_path / "in" / place / "1.dcm", np.ones((6, 8)), (0, 0, 0), 1, series=series)
    jobs = batchplan.plan([tmp_path / "in"], tmp_path / "out", ScanJob("", "", dicom=True))
    outputs = [os.path.relpath(j.output, tmp_path / "out") for j in jobs]
    assert outputs == ["p1/p1", "p1/extra/extra", "p1/extra/more", "p2"]


def test_no_output_replaces_the_original_that_a_link_leads_to(folder, tmp_path):
    link = tmp_path / "link"
    try:
        link.symlink_to(folder, target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    with pytest.raises(UserError, match="is an input"):
        batchplan.plan([link], folder, ScanJob("", ""))
    with pytest.raises(UserError, match="is an input"):
        batchplan.plan([folder], folder / "deep" / "..", ScanJob("", ""))
