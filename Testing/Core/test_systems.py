"""What Windows and macOS do otherwise, as far as another system can be made to do it."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import locale
import ntpath
import os
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicomfiles import write_slice

from C2SCore import adapting, batch, batchrecord, commands, files, images, training, writing
from C2SCore.errors import UserError, out_of_memory
from C2SCore.jobfiles import folded
from C2SCore.scan import Scan
from C2SCore.scanjob import ScanJob
from C2SCore.writing import atomic, atomic_folder, check_writable


@pytest.fixture
def windows(monkeypatch):
    """Writing as on Windows. `os.replace` refuses as often as `refusals` says: somebody has a file open."""
    replace, refusals = os.replace, [0]

    def refuse(source, target):
        refusals[0] -= 1
        if refusals[0] >= 0:
            raise PermissionError(13, "Access is denied", str(source), 5, str(target))
        replace(source, target)

    monkeypatch.setattr(writing, "WINDOWS", True)
    monkeypatch.setattr(writing, "WAIT", 0)
    monkeypatch.setattr(os, "replace", refuse)
    return refusals


def test_names_with_umlauts_reach_simpleitk_on_windows(monkeypatch):
    """It gives them to the C library in UTF-8; SimpleITK issues 651, 795 and 1255."""
    told = []
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(locale, "setlocale", lambda *how: told.append(how))
    spec = importlib.util.spec_from_file_location("images_there", images.__file__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert told == [(locale.LC_CTYPE, ".UTF8")]


def test_json_in_a_pipe_of_windows_is_still_json(monkeypatch):
    """Its encoding is that of the country; whoever reads JSON takes it for UTF-8."""
    for encoding in ("cp1252", "utf-8"):
        pipe = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", pipe)
        commands._print_json({"scan": "Schädel.nii.gz"})
        pipe.flush()
        written = pipe.buffer.getvalue()
        assert json.loads(written.decode("utf-8")) == {"scan": "Schädel.nii.gz"}
        assert ("ä".encode() in written) == (encoding == "utf-8")


@pytest.mark.parametrize("write", [atomic, atomic_folder])
def test_a_scanner_of_viruses_is_waited_for(write, windows, tmp_path):
    """It opens what has just been written, or what is replaced, for a moment."""
    for content in ("old", "new"):
        windows[0] = 3
        with write(tmp_path / "scan") as place:
            (place / "1.dcm" if place.is_dir() else place).write_text(content)
    assert (tmp_path / "scan" / "1.dcm" if write is atomic_folder else tmp_path / "scan").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["scan"]


@pytest.mark.parametrize("write", [atomic, atomic_folder])
def test_what_another_program_has_open_is_told_and_stays(write, windows, tmp_path):
    with write(tmp_path / "scan") as place:
        (place / "1.dcm" if place.is_dir() else place).write_text("old")
    windows[0] = writing.ATTEMPTS
    with pytest.raises(UserError, match=r"scan cannot be replaced \(Access is denied\).*another program"):
        with write(tmp_path / "scan") as place:
            (place / "1.dcm" if place.is_dir() else place).write_text("new")
    assert (tmp_path / "scan" / "1.dcm" if write is atomic_folder else tmp_path / "scan").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["scan"]


def test_windows_is_asked_before_the_work(windows, tmp_path, monkeypatch):
    check_writable(tmp_path / "scan.nii.gz")
    with pytest.raises(UserError, match=r"has : \? in its name"):
        check_writable(tmp_path / "T1: ready?.nii.gz")
    (tmp_path / "scan.nii.gz").write_text("old")
    check_writable(tmp_path / "scan.nii.gz")

    def refuse(path, *how):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"cannot be replaced .*another program"):
        check_writable(tmp_path / "scan.nii.gz")


def test_a_pool_has_as_many_processes_as_windows_can_wait_for(monkeypatch):
    def pool(workers, threads):
        raise KeyboardInterrupt(workers)

    monkeypatch.setattr(batch, "_pool", pool)
    jobs = [ScanJob(f"{n}.nii.gz", f"out/{n}.nii.gz") for n in range(80)]
    for system, count in (("linux", 70), ("win32", 61)):
        monkeypatch.setattr(sys, "platform", system)
        with pytest.raises(KeyboardInterrupt) as asked:
            next(batch._in_processes(jobs, 70))
        assert asked.value.args == (count,)


def test_a_series_of_the_present_folder_is_on_no_drive(monkeypatch, tmp_path):
    """`.::1.2.3`, as `c2s batch .` finds it: Windows would look for the folder `:1.2.3` on the drive `.:`."""
    monkeypatch.setattr(files, "os", types.SimpleNamespace(path=ntpath))
    name = ntpath.abspath(".") + "::1.2.3"
    job = ScanJob(".::1.2.3", "out.nrrd")
    assert batch._absolute(job).scan == name
    batchrecord.write(tmp_path, [batchrecord.Record.of(job, batchrecord.DONE)])
    assert json.loads((tmp_path / "batch.json").read_text())[0]["scan"] == name


def test_every_system_says_in_its_own_way_that_memory_ran_out():
    paging = OSError(22, "The paging file is too small for this operation to complete")
    paging.winerror = 1455
    said = [
        RuntimeError("Invalid buffer size: 9.75 GB"),  # MPS
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),  # Windows
        paging,
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ]
    assert all(map(out_of_memory, said))
    assert not out_of_memory(OSError(errno.ENOSPC, "No space left on device"))


def test_files_that_windows_does_not_let_go_cost_no_adaptation(monkeypatch, tmp_path):
    rmdir = os.rmdir

    def refuse(path, **how):
        if "c2s-adapt-" in str(path):
            raise OSError(errno.ENOTEMPTY, "The directory is not empty")  # what was deleted there is open elsewhere
        rmdir(path, **how)

    monkeypatch.setattr(training, "train", lambda cases, recipe, out, **more: out)
    monkeypatch.setattr(adapting, "load", lambda path: "adapted")
    monkeypatch.setattr(os, "rmdir", refuse)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = types.SimpleNamespace(
        denoiser=types.SimpleNamespace(neighbours=0), card=types.SimpleNamespace(name="m", auxiliary=())
    )
    options = types.SimpleNamespace(isotropic=False, device="cpu")
    frames = [(Scan(np.zeros((1, 8, 8), np.float32)), 1.0, 1.0)]
    assert adapting.adapted(source, frames, 0, [], options, 1.0, lambda *stage: None, None) == "adapted"


def test_umlauts_of_finder_are_those_of_the_terminal(monkeypatch):
    typed, listed = "/Users/m/M\u00fcller", "/Users/m/Mu\u0308ller"
    assert folded(typed) != folded(listed)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert folded(typed) == folded(listed)


def test_a_sequence_of_slicer_is_known_to_an_older_simpleitk(monkeypatch, tmp_path):
    """Before 2.5.6 it does not tell what several numbers per voxel mean in a NRRD file."""
    known = sitk.ImageFileReader.HasMetaDataKey
    monkeypatch.setattr(
        sitk.ImageFileReader, "HasMetaDataKey", lambda reader, key: "kinds" not in key and known(reader, key)
    )
    frames = [Scan(np.full((2, 3, 4), n, np.float32)) for n in range(3)]
    assert [s.voxels.max() for s in files.read(files.write(frames, tmp_path / "a.seq.nrrd"))] == [0, 1, 2]


@pytest.mark.parametrize("compress", [False, True])
def test_dicom_that_is_cut_short_is_refused_with_an_older_simpleitk(compress, monkeypatch, tmp_path):
    """Before 2.5.4 it fills the missing part with zeros."""
    path = tmp_path / "a.dcm"
    write_slice(path, np.arange(48).reshape(6, 8), (0, 0, 0), 1, compress=compress)
    image = images.dicom_image(path)
    monkeypatch.setattr(sitk, "ReadImage", lambda *how, **more: image)
    assert images.dicom_image(path) is image
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="must be a complete DICOM image"):
        images.dicom_image(path)
