"""What is written appears whole or leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from C2SCore.writing import atomic, atomic_folder


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
