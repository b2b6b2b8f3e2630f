"""The record of a training: which are offered to be resumed, and what becomes of scans that were moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from C2SCore import runlock
from C2SCore.errors import UserError
from C2SCore.runfolder import LOCK
from C2SCore.trainrecord import Record, unfinished


def test_only_trainings_that_nobody_carries_out_are_offered(tmp_path: Path) -> None:
    record = Record(tmp_path / "m.safetensors", [])
    record.save()
    assert unfinished([tmp_path]) == []  # no checkpoint yet
    (record.folder / "state.safetensors").write_bytes(b"")
    assert [r.out.stem for r in unfinished([tmp_path, tmp_path / "gone", ""])] == ["m"]
    handle = runlock.claim(record.folder / LOCK)
    assert handle is not None and unfinished([tmp_path]) == []
    with pytest.raises(UserError, match="Stop it first"):
        record.discard()
    runlock.release(record.folder / LOCK, handle)
    record.discard()
    assert not record.folder.exists()


def test_frames_of_one_file_are_one_scan_that_is_gone(tmp_path: Path) -> None:
    cases = [{"target": str(tmp_path / "four.nii"), "frame": n} for n in range(3)]
    with pytest.raises(UserError, match=r"four\.nii is gone; "):
        Record(tmp_path / "m.safetensors", cases).check_scans()


def test_moved_scans_are_found_by_name(tmp_path: Path) -> None:
    """Nothing is read, so that empty files do."""

    def empty(*names: str) -> list[tuple[str, bool]]:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        return [(str(tmp_path / name), True) for name in names]

    def record(*cases: tuple[str, ...]) -> Record:
        full = [[str(tmp_path / name) for name in case] for case in cases]
        made = [{"target": one, "auxiliary": more, "group": one} for one, *more in full]
        return Record(tmp_path / "m.safetensors", made)

    def told(found: Record) -> list[list[str]]:
        return [[Path(path).relative_to(tmp_path).as_posix() for path in paths] for paths in found.files()]

    frames = record(("a/4d.nii",), ("a/4d.nii",), ("a/p.nrrd",))
    assert frames.relocate([empty("b/4d.nii", "b/mask.nii", "b/p.nrrd")]) == [str(tmp_path / "b/mask.nii")]
    assert told(frames) == [["b/4d.nii"], ["b/4d.nii"], ["b/p.nrrd"]]
    assert frames.cases[0]["group"] == str(tmp_path / "a/4d.nii")  # it decides which slices are held back
    one = record(("a/p.nrrd",), ("here/q.nrrd",))
    empty("here/q.nrrd")
    one.relocate([[(path, False) for path, _ in empty("c/p.nrrd")]])
    assert told(one) == [["c/p.nrrd"], ["here/q.nrrd"]]
    alike = record(("x/p1/T1.nii", "x/p1/T2.nii"), ("x/p2/T1.nii", "x/p2/T2.nii"))
    moved = empty("y/p2/T1.nii", "y/p2/T2.nii", "y/p1/T1.nii", "y/p1/T2.nii")
    assert alike.relocate([moved]) == []
    assert told(alike) == [["y/p1/T1.nii", "y/p1/T2.nii"], ["y/p2/T1.nii", "y/p2/T2.nii"]]
    apart = record(("t1/p.nii", "t2/p.nii"))
    apart.relocate([empty("n/p.nii"), empty("m/p.nii")])
    assert told(apart) == [["n/p.nii", "m/p.nii"]]
    with pytest.raises(UserError, match=r"has 1 further contrast, and 2 were given"):
        apart.relocate([moved, moved, moved])
    with pytest.raises(UserError, match=r"it has q\.nrrd, and not new\.nrrd"):
        one.relocate([[(str(tmp_path / "c/p.nrrd"), False), (str(tmp_path / "new.nrrd"), False)]])
