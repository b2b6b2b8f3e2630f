"""A training carried out from its record: scans are read as maps, and the record tells how it ended."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from trainfiles import TINY, stopping_after, voxels, write

from C2SCore import config, events, inspecting, measuring, recorded, trainjobs
from C2SCore.card import read_card
from C2SCore.errors import Cancelled, UserError
from C2SCore.noise import frame_limit
from C2SCore.recorded import Cases, carry_out
from C2SCore.runfolder import MEASURED, run_folder
from C2SCore.trainrecord import Record
from C2SCore.worker import Context, Orders


def test_scans_are_converted_once_onto_one_grid_and_cleared_away(tmp_path: Path, monkeypatch) -> None:
    frames = [sitk.GetImageFromArray(voxels(n)) for n in range(2)]
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / "four.nii"))
    other = sitk.GetImageFromArray(voxels(9)[:, ::2, ::2])
    other.SetSpacing((2, 2, 1))
    sitk.WriteImage(other, str(tmp_path / "other.nrrd"))
    four, helper = str(tmp_path / "four.nii"), str(tmp_path / "other.nrrd")
    read: list[str] = []
    once = recorded.files.read
    monkeypatch.setattr(recorded.files, "read", lambda path: read.append(str(path)) or once(path))
    each = [{"target": four, "frame": n, "auxiliary": [helper], "name": f"frame {n}"} for n in range(2)]
    said: list[str] = []
    with Cases(tmp_path / "run", [*each, {"target": four}], said.append) as cases:
        assert all(isinstance(case.target, np.memmap) for case in cases)
        assert [case.name for case in cases] == ["frame 0", "frame 1", "four_1", "four_2"]
        assert np.allclose(cases[1].target, voxels(1), atol=1e-4) and np.allclose(cases[2].target, voxels(0), atol=1e-4)
        assert cases[0].auxiliary[0].shape == (4, 64, 56)
    assert read == [four, helper, helper]
    assert any("resampled" in m.text for m in said if isinstance(m, events.Log))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("named", [[{}], [{"frame": n} for n in range(3)]])
def test_a_constant_frame_is_left_out(named: list[dict[str, Any]], tmp_path: Path) -> None:
    """As where an acquisition broke off; C2S Train names each frame."""
    frames = [sitk.GetImageFromArray(v) for v in (0 * voxels(0), voxels(0), voxels(1))]
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / "four.nii"))
    said: list[Any] = []
    facts = [{"target": str(tmp_path / "four.nii")} | frame for frame in named]
    with Cases(tmp_path / "run", facts, said.append) as cases:
        assert [case.name for case in cases] == ["four_2", "four_3"]
    assert any(isinstance(m, events.Log) and "Left out: four_1" in m.text for m in said)
    assert inspecting.look(str(tmp_path / "four.nii")).frames == 3


def test_the_frames_beside_one_bound_its_noise(tmp_path: Path) -> None:
    """Structure that is the same in both is no noise: what differs between them is little."""
    first, second = (voxels() + voxels(seed) / 100 for seed in (1, 2))
    paths = [str(tmp_path / f"{n}.npy") for n in range(2)]
    for path, frame in zip(paths, (first, second), strict=True):
        np.save(path, frame)
    facts = [{"target": paths[0], "beside": paths[1:]}, {"target": paths[0]}]
    with Cases(tmp_path / "run", facts) as (bounded, alone):
        assert bounded.limit == frame_limit(first, [second]) < 10 and alone.limit == np.inf


def test_a_cancelled_conversion_leaves_nothing(tmp_path: Path) -> None:
    facts = [{"target": write(tmp_path / "in" / f"{n}.nrrd", voxels(n))} for n in range(3)]
    with pytest.raises(Cancelled), Cases(tmp_path / "run", facts, cancelled=stopping_after(2)):
        pass
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_read_is_named_all_at_once_or_left_out(tmp_path: Path) -> None:
    good = write(tmp_path / "good.nrrd", voxels())
    bad = [str(tmp_path / f"bad{n}.nii") for n in range(2)]
    for path in bad:
        Path(path).write_bytes(b"no")
    facts = [{"target": path} for path in (bad[0], good, bad[1])]
    with pytest.raises(UserError, match="bad0") as error, Cases(tmp_path / "run", facts):
        pass
    assert "bad1" in str(error.value)
    said: list[Any] = []
    with Cases(tmp_path / "run", [f | {"optional": True} for f in facts], said.append) as cases:
        assert [case.name for case in cases] == ["good"]
    assert sum(isinstance(m, events.Log) and m.text.startswith("Left out: ") for m in said) == 2
    with pytest.raises(UserError, match="None of the scans"), Cases(tmp_path / "run", [facts[0] | {"optional": True}]):
        pass
    with pytest.raises(UserError, match="has 1 frames"), Cases(tmp_path / "run", [{"target": good, "frame": 4}]):
        pass


def test_a_full_disk_is_told_while_scans_are_unpacked(tmp_path: Path, monkeypatch) -> None:
    def full(path: object, array: object) -> None:
        raise OSError("1024 requested and 12 written")  # as numpy says it

    monkeypatch.setattr(recorded.np, "save", full)
    facts = [{"target": write(tmp_path / "a.nrrd", voxels())}]
    with pytest.raises(UserError, match=r"the disk is full.*Free some space"), Cases(tmp_path / "run", facts):
        pass


def test_the_record_tells_all_and_how_it_ended(tmp_path: Path) -> None:
    target, out = write(tmp_path / "in" / "a.nrrd", voxels()), tmp_path / "m.safetensors"
    cases = [{"target": target, "group": "g", "name": "first"}]
    settings = config.TrainConfig(**TINY)
    carry_out(Record(out, cases, settings.to_dict(), {"anatomy": "brain"}, "cpu"))
    values = json.loads((run_folder(out) / "training.json").read_text())
    assert values["state"] == "done" and values["slices"] == 4
    assert config.TrainConfig.from_dict(values["config"]) == settings
    found = Record.load(out)
    assert (found.cases[0]["target"], found.cases[0]["group"]) == (target, "g") and not found.resumable
    assert read_card(out).anatomy == "brain" and read_card(out).trained_on == ("first",)


def test_what_a_killed_training_was_writing_goes(tmp_path: Path) -> None:
    target, out = write(tmp_path / "a.nrrd", voxels()), tmp_path / "m.safetensors"
    (run_folder(out) / "converted-1").mkdir(parents=True)
    for name in (".c2s-half.safetensors", "converted-1/0-target0.npy"):
        (run_folder(out) / name).write_bytes(b"half")
    carry_out(Record(out, [{"target": target}], TINY, device="cpu"), cancelled=stopping_after(12))
    kept = {path.name for path in run_folder(out).iterdir()}
    assert kept == {MEASURED, "preview.npy", "state.safetensors", "training.json"}


def test_a_second_ctrl_c_is_no_failure(tmp_path: Path) -> None:
    target, out = write(tmp_path / "a.nrrd", voxels()), tmp_path / "m.safetensors"

    def emit(message: events.Message) -> None:
        if isinstance(message, events.Curve) and message.step >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(Record(out, [{"target": target}], TINY, device="cpu"), emit=emit)
    assert Record.load(out).state == "stopped" and Record.load(out).resumable


def test_a_failure_is_written_down_and_one_without_a_state_leaves_what_was_measured(tmp_path: Path) -> None:
    good, flat = write(tmp_path / "a.nrrd", voxels()), write(tmp_path / "b.nrrd", voxels())
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 64, 56), np.float32)), flat)
    out = tmp_path / "out" / "m.safetensors"
    np.save(tmp_path / "flat.npy", np.ones((4, 64, 56), np.float32))
    record = Record(out, [{"target": good}, {"target": str(tmp_path / "flat.npy")}], TINY, device="cpu")
    with pytest.raises(UserError, match="flat shows no noise"):
        carry_out(record)
    assert [p.name for p in run_folder(out).iterdir()] == [MEASURED]
    del record.cases[1]
    carry_out(record)
    kept = [line for line in (run_folder(out) / MEASURED).read_text().splitlines() if line]
    assert out.exists() and len(kept) == 2  # by the filter and by the model, once each


def test_scans_are_measured_once_for_all_trainings_of_a_folder(tmp_path: Path, monkeypatch) -> None:
    """Resumed, moved, and the report: nothing is measured again."""
    home = tmp_path / "one"
    cases = [{"target": write(home / f"{n}.nrrd", voxels(n))} for n in range(2)]
    calls, once = [], measuring._measured
    monkeypatch.setattr(measuring, "_measured", lambda *given: calls.append(1) or once(*given))
    record = Record(home / "m.safetensors", cases, TINY, device="cpu")
    carry_out(record, cancelled=stopping_after(12))
    assert len(calls) == 2 and Record.load(record.folder).state == "stopped"
    there = shutil.move(home, tmp_path / "two") and tmp_path / "two"
    for path in there.glob("*.nrrd"):
        os.utime(path)  # copies of another day
    moved = Record.load(there / "m.training")
    assert moved.cases[0]["target"] == str(there / "0.nrrd")
    carry_out(moved, resume=True)
    job = events.ReportJob("r", str(moved.out), str(moved.folder / "report.html"), tuple(moved.cases), compare="")
    monkeypatch.setitem(sys.modules, "bm3d", None)
    trainjobs.report(job, Context(job, Orders(), lambda message: None))
    assert len(calls) == 2
