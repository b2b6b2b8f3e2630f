"""What is written appears whole or leaves no trace, and not where it cannot be written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import SimpleITK as sitk
from grids import make_scan

from C2SCore import files
from C2SCore.errors import UserError
from C2SCore.writing import atomic, atomic_folder, check_writable, write_json


def _fill(place: Path, fail: bool, beside: Path | None = None) -> None:
    if place.is_dir():
        (place / "1.dcm").write_text("image")
    else:
        place.write_text("image")
    if beside is not None:
        beside.write_text("of somebody else")
    if fail:
        raise KeyboardInterrupt


@pytest.mark.parametrize("write", [atomic, atomic_folder])
def test_folders_that_were_made_go_with_what_failed(tmp_path: Path, write) -> None:
    target = tmp_path / "out" / "patient" / "scan"
    with pytest.raises(KeyboardInterrupt), write(target) as place:
        _fill(place, True)
    assert not list(tmp_path.iterdir())
    with write(target) as place:
        _fill(place, False)
    assert target.exists() and sorted(p.name for p in target.parent.iterdir()) == ["scan"]


@pytest.mark.parametrize("write", [atomic, atomic_folder])
def test_what_others_put_there_meanwhile_stays(tmp_path: Path, write) -> None:
    target = tmp_path / "out" / "scan"
    with pytest.raises(KeyboardInterrupt), write(target) as place:
        _fill(place, True, tmp_path / "out" / "note.txt")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["note.txt"]


@pytest.mark.parametrize("write", [atomic, atomic_folder])
def test_what_was_there_stays_where_writing_fails(tmp_path: Path, write) -> None:
    target = tmp_path / "scan"
    with write(target) as place:
        _fill(place, False)
    with pytest.raises(KeyboardInterrupt), write(target) as place:
        _fill(place, True)
    assert (target / "1.dcm" if target.is_dir() else target).read_text() == "image"
    assert [p.name for p in tmp_path.iterdir()] == ["scan"]


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = files.write(make_scan(), tmp_path / "a.nrrd")
    before = path.read_bytes()

    def fail(*args, **kwargs):
        Path(args[1]).write_bytes(b"half")
        raise RuntimeError("sitk::ERROR: disk full")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(UserError, match="disk full"):
        files.write(make_scan(seed=1), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nrrd"]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_image_cut_by_a_full_disk_is_noticed_and_leaves_the_old_file(kept, suffix, tmp_path, monkeypatch):
    path = files.write(make_scan(), tmp_path / f"a{suffix}")
    before = path.read_bytes()
    whole = sitk.WriteImage

    def cut(image, name, **options):
        whole(image, name, **options)
        Path(name).write_bytes(Path(name).read_bytes()[: int(kept * Path(name).stat().st_size)])

    monkeypatch.setattr(sitk, "WriteImage", cut)
    with pytest.raises(UserError, match=rf"a{suffix} could not be written.*Free some space"):
        files.write(make_scan(seed=1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_record_without_room_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_json(tmp_path / "a.json", {"a": 1})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"a\.json could not be written \(No space left"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_records_hold_names_that_are_not_utf8(tmp_path):
    path = write_json(tmp_path / "a.json", {"scan": os.fsdecode(b"m\xfcller"), "müller": 1})
    assert json.loads(path.read_text("utf-8")) == {"scan": os.fsdecode(b"m\xfcller"), "müller": 1}


def test_unwritable_places_are_found(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.nrrd").mkdir()
    for place in (tmp_path / "folder.nrrd", tmp_path / "file" / "below.nrrd", Path("/proc/c2s/scan.nrrd")):
        with pytest.raises(UserError, match=r"Add a name|Choose another place"):
            check_writable(place)
        with pytest.raises(UserError, match=r"Add a name|Choose another place"):
            files.write(make_scan(), place)
    check_writable(tmp_path / "new" / "deep" / "scan.nrrd")
    assert not (tmp_path / "new").exists()
