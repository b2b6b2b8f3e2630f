"""A training from its record: read as maps, kept up to date, and resumed by whoever finds it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from test_dicom import write_slice

from C2SCore import (
    config,
    events,
    files,
    inspecting,
    measuring,
    model,
    recorded,
    runlock,
    state,
    traincommand,
    trainjobs,
)
from C2SCore.card import read_card
from C2SCore.cli import main
from C2SCore.errors import Cancelled, UserError
from C2SCore.recorded import Cases, carry_out
from C2SCore.runfolder import LOCK, MEASURED, run_folder
from C2SCore.trainrecord import Record, unfinished
from C2SCore.worker import Context, Orders

TINY = {"steps": 12, "batch": 4, "patch": 32, "validate_every": 4, "warm_up": 2, "precision": "float32"}
TINY |= {"checkpoint_every": 0.001, "neighbours": 0}


def voxels(seed: int = 0, count: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :56] / 64 - 0.5
    clean = (x**2 + y**2 < 0.16) * (1 + 0.3 * np.sin(20 * x + seed) * np.cos(15 * y))
    return (1000 * (clean + 0.1 * rng.standard_normal((count, 64, 56)))).astype(np.float32)


def write(path: Path, array: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return str(path)


def sessions(folder: Path) -> Path:
    """Two sessions of two contrasts."""
    for n in range(2):
        for c, contrast in enumerate(("T1W", "FLAIR")):
            write(folder / contrast / f"p{n}_{contrast}.nrrd", voxels(10 * n + c))
    return folder


def recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(TINY | changes))
    return path


def stopping_after(count: int):
    """For `cancelled`: true at the question number `count`."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > count

    return stop


def weights(path: Path) -> dict[str, torch.Tensor]:
    return model.load(path).denoiser.state_dict()


def same(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return all(torch.equal(one[name], other[name]) for name in one)


def c2s(*arguments: object) -> int:
    return main([str(a) for a in ("train", *arguments, "--device", "cpu", "--quiet")])


# ---- scans into maps


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


# ---- the record


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


# ---- either resumes the other


def worker_job(record: Record, resume: bool, cancelled=lambda: False) -> None:
    """What C2S Train has its worker do."""
    job = events.TrainJob(
        "t", str(record.out), tuple(record.cases), config=record.config, card=record.card, resume=resume, device="cpu"
    )
    context = Context(job, Orders(), lambda message: None)
    context.cancelled = cancelled  # type: ignore[method-assign]
    trainjobs.train(job, context)


def test_slicer_resumes_what_c2s_train_began_and_was_killed(tmp_path: Path, one_thread: None) -> None:
    """Two contrasts; a real kill; the model is that of a training that nobody disturbed."""
    data = sessions(tmp_path / "in")
    line = ["--data", data / "T1W", "--aux", data / "FLAIR", "--config", recipe(tmp_path, steps=40, validate_every=40)]
    whole, out = tmp_path / "whole.safetensors", tmp_path / "m.safetensors"
    assert c2s(*line, "--out", whole) == 0
    command = [sys.executable, "-m", "C2SCore", "train", *map(str, line), "--out", str(out), "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(Path(config.__file__).parents[1])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (run_folder(out) / "state.safetensors").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()
    (found,) = unfinished([tmp_path])
    assert found.state == "running" and found.slices == 8
    assert [Path(path).name for path in found.files()[1]] == ["p1_T1W.nrrd", "p1_FLAIR.nrrd"]
    assert 0 < state.load_state(found.folder / "state.safetensors")[1]["step"] < 40
    worker_job(found, resume=True)
    assert same(out, whole) and Record.load(out).state == "done"
    assert read_card(out).auxiliary == ("FLAIR",)


def test_the_card_names_contrasts_and_not_files(tmp_path: Path, capsys) -> None:
    data = sessions(tmp_path / "in")
    other = shutil.copy(data / "FLAIR" / "p1_FLAIR.nrrd", tmp_path / "Smith.nrrd")
    line = ["--data", data / "T1W" / "p1_T1W.nrrd", "--aux", data / "FLAIR" / "p1_FLAIR.nrrd", "--aux", other]
    line += ["--config", recipe(tmp_path, steps=4), "--out", tmp_path / "m.safetensors"]
    words = tmp_path / "card.yaml"
    words.write_text("auxiliary: [FLAIR]")
    assert c2s(*line, "--card", words) == 2
    assert "1 further contrasts (FLAIR), and 2 are given" in capsys.readouterr().err
    assert c2s(*line) == 0
    assert read_card(tmp_path / "m.safetensors").auxiliary == ("FLAIR", "contrast 2")


def test_a_resumed_training_takes_no_contrasts_without_scans(tmp_path: Path, capsys) -> None:
    target, out = write(tmp_path / "a.nrrd", voxels()), tmp_path / "m.safetensors"
    carry_out(Record(out, [{"target": target}], TINY, device="cpu"), cancelled=stopping_after(12))
    assert c2s("--resume", "--out", out, "--aux", target) == 2
    assert "Leave --aux off" in capsys.readouterr().err and "auxiliary" not in Record.load(out).card


def test_a_folder_is_searched_also_where_it_holds_dicom_files_itself(tmp_path: Path) -> None:
    def dicom(folder: Path, series: int) -> None:
        for k, plane in enumerate(voxels(series, 3)):
            write_slice(folder / f"{series}{k}.dcm", plane, (0, 0, k), k + 1, series=series)

    dicom(tmp_path / "one", 1)
    (one,) = traincommand.find_cases([str(tmp_path / "one")], [])
    assert one["target"] == str(tmp_path / "one") and not one["optional"]
    dicom(tmp_path / "many", 1)
    dicom(tmp_path / "many", 2)
    write(tmp_path / "many" / "sub" / "b.nrrd", voxels())
    many = traincommand.find_cases([str(tmp_path / "many")], [])
    assert len(many) == 3 and all(case["optional"] for case in many)
    assert [case["target"] for case in many] == [str(path) for path in files.find_scans(tmp_path / "many")]


def test_repetitions_and_contrasts_of_one_case_are_one_group(tmp_path: Path) -> None:
    """Else slices are held back of which another repetition is trained on."""
    names = ("p1_T101", "p1_T102", "p1_FLAIR01", "p2_T101", "deep/p1_T101")
    for name in names:
        write(tmp_path / f"{name}.nrrd", voxels())
    cases = traincommand.find_cases([str(tmp_path)], [])
    groups = {Path(case["target"]).relative_to(tmp_path).as_posix()[:-5]: case["group"] for case in cases}
    assert groups == {name: "deep_p1" if "deep" in name else name[:2] for name in names}
    (alone,) = traincommand.find_cases([str(tmp_path / "p1_T101.nrrd")], [])
    assert alone["group"] == "p1"


def test_contrasts_of_a_folder_are_put_together_by_name(tmp_path: Path, capsys) -> None:
    """Nothing is read, so that empty files do."""

    def empty(folder: str, *names: str) -> str:
        for name in names:
            path = tmp_path / folder / f"{name}.nrrd"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        return str(tmp_path / folder)

    said: list[str] = []

    def pairs(data: list[str], aux: list[str]) -> list[tuple[str, str]]:
        found = traincommand.find_cases(data, [aux], said.append)
        return [(Path(case["target"]).stem, Path(case["auxiliary"][0]).stem) for case in found]

    t1 = empty("t1", "a2_T1w", "b1_T1w")
    assert pairs([t1], [empty("flair", "FLAIR_a2", "FLAIR_b1")]) == [("a2_T1w", "FLAIR_a2"), ("b1_T1w", "FLAIR_b1")]
    folders = [[empty(f"{case}/{kind}", "x") for case in ("s2", "s1")] for kind in ("T1w", "FLAIR")]
    cases = traincommand.find_cases(folders[0], [folders[1][::-1]], said.append)
    own = [[Path(path).parts[-3] for path in (case["target"], *case["auxiliary"])] for case in cases]
    assert own == [["s2", "s2"], ["s1", "s1"]] and said == []
    other = empty("other", "b1_FLAIR", "c_FLAIR")
    with pytest.raises(UserError, match="a2_T1w would be put together with b1_FLAIR"):
        pairs([t1], [other])
    named = [str(path) for path in sorted(Path(other).iterdir())]
    assert pairs([f"{t1}/a2_T1w.nrrd", f"{t1}/b1_T1w.nrrd"], named)[0] == ("a2_T1w", "b1_FLAIR") and said == []
    assert pairs([t1], [empty("plain", *"1234567"[:2])])[0] == ("a2_T1w", "1")
    assert said == ["The names do not say which scans belong together; their order does: a2_T1w with 1, b1_T1w with 2."]
    many = empty("many", *"abcdefg"), empty("more", *"1234567")
    line = ["--data", many[0], "--aux", many[1], "--out", tmp_path / "m.safetensors"]
    assert c2s(*line) == 2
    assert "note: The names do not say" in (told := capsys.readouterr().err) and "e with 5 and 2 more." in told


def test_masks_and_maps_of_probabilities_in_a_folder_are_left_out(tmp_path: Path, capsys) -> None:
    y, x = np.mgrid[:64, :56]
    away = (x - 30.0) ** 2 + (y - 30.0) ** 2
    lesion, soft = np.zeros((4, 64, 56), np.float32), np.zeros((4, 64, 56), np.float32)
    lesion[1:3], soft[1:3] = away < 16, np.where(away < 80, np.exp(-away / 30), 0)
    organ = np.where(away < 600, 1 / (1 + np.exp((away - 400) / 40)), 0)
    data = tmp_path / "in"
    write(data / "scan.nrrd", voxels())
    maps = {"lesion": lesion, "soft": soft, "organ": np.stack([organ] * 4), "nothing": 0 * lesion}
    for name, values in maps.items():
        write(data / f"{name}.nrrd", values.astype(np.float32))
    out = tmp_path / "m.safetensors"
    assert c2s("--data", data, "--config", recipe(tmp_path, steps=4), "--out", out) == 0
    told = capsys.readouterr().err
    assert all(any("Left out" in line and name in line for line in told.splitlines()) for name in maps), told
    assert read_card(out).trained_on == ("scan",)


def test_c2s_train_resumes_what_slicer_began(tmp_path: Path, capsys) -> None:
    """By its name alone; with scans that were moved; not with other scans or another recipe."""
    data = sessions(tmp_path / "in")
    cases = [
        {"name": f"p{n}", "group": f"p{n}", "target": str(data / "T1W" / f"p{n}_T1W.nrrd"), "auxiliary": []}
        for n in range(2)
    ]
    whole, out = tmp_path / "whole.safetensors", tmp_path / "m.safetensors"
    worker_job(Record(whole, cases, TINY, {"note": "by hand"}), False)
    worker_job(Record(out, cases, TINY, {"note": "by hand"}), False, stopping_after(12))
    assert Record.load(out).state == "stopped"
    assert c2s("--out", out) == 2
    assert "Name scans or folders" in capsys.readouterr().err
    assert c2s("--out", out, "--resume", "--preset", "standard") == 2
    assert "recipe differs" in capsys.readouterr().err
    assert c2s("--out", out, "--resume", "--data", data / "FLAIR") == 2
    assert "p0_T1W.nrrd, and not p0_FLAIR.nrrd" in capsys.readouterr().err
    shutil.move(data, tmp_path / "elsewhere")
    assert c2s("--out", out, "--resume") == 2
    told = capsys.readouterr().err
    assert "p0_T1W.nrrd and 1 more scan are gone" in told and f'--resume --out "{out}" --data NEW' in told
    assert c2s("--out", out, "--resume", "--data", tmp_path / "elsewhere" / "T1W") == 0
    assert same(out, whole) and read_card(out).note == "by hand" and read_card(out).trained_on == ("p0", "p1")
    assert c2s("--out", tmp_path / "never.safetensors", "--resume") == 2
    assert "no training 'never' to resume" in capsys.readouterr().err


def test_a_scan_that_was_left_out_is_not_needed_to_go_on(tmp_path: Path, capsys) -> None:
    folder, out = tmp_path / "in", tmp_path / "out" / "m.safetensors"
    for n in range(2):
        write(folder / f"{n}.nrrd", voxels(n))
    write(folder / "mask.nrrd", (voxels() > 500).astype(np.uint8))
    (folder / "broken.nii.gz").write_bytes(b"no")
    line = ["--data", folder, "--config", recipe(tmp_path), "--out", out]
    assert c2s(*line) == 0
    record = Record.load(out)
    assert [Path(paths[0]).name for paths in record.files()] == ["0.nrrd", "1.nrrd"] and record.slices == 8
    for name in ("mask.nrrd", "broken.nii.gz"):
        (folder / name).unlink()
    assert c2s("--resume", "--out", out, "--config", recipe(tmp_path, steps=14)) == 0
    (folder / "1.nrrd").rename(tmp_path / "away.nrrd")
    capsys.readouterr()
    assert c2s("--resume", "--out", out) == 2
    told = capsys.readouterr().err
    assert f"{folder / '1.nrrd'} is gone; the training m goes on only with every scan" in told
    assert f'--resume --out "{out}" --data NEW' in told and f'--initial "{out}"' in told
    write(folder / "1.nrrd", voxels(7))
    assert c2s("--resume", "--out", out) == 2
    assert "these scans changed, or cannot be used any more: 1." in capsys.readouterr().err
    (folder / "1.nrrd").write_bytes(b"no")
    assert c2s("--resume", "--out", out) == 2
    assert "cannot be used any more: 1." in capsys.readouterr().err
    (tmp_path / "away.nrrd").replace(folder / "1.nrrd")
    assert c2s("--resume", "--out", out) == 0


def test_scans_that_are_not_its_own_leave_the_record_of_a_training_as_it_was(tmp_path: Path, capsys) -> None:
    """Of the same name, but other voxels or no image: where the right ones lie is not forgotten."""
    out = tmp_path / "m.safetensors"
    carry_out(Record(out, [{"target": write(tmp_path / "a" / "p.nrrd", voxels())}], TINY), cancelled=stopping_after(12))
    before = (run_folder(out) / "training.json").read_bytes()
    other = Path(write(tmp_path / "b" / "p.nrrd", voxels(7)))
    for says in ("these scans changed", "p.nrrd"):
        assert c2s("--resume", "--out", out, "--data", other, "--minutes", 9) == 2
        assert says in capsys.readouterr().err and (run_folder(out) / "training.json").read_bytes() == before
        other.write_bytes(b"no")
    assert c2s("--resume", "--out", out) == 0
    assert Record.load(out).state == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_a_scan_whose_name_is_not_in_utf8_is_left_out(tmp_path: Path, capsys) -> None:
    data, out = tmp_path / "in", tmp_path / "m.safetensors"
    write(data / "good.nrrd", voxels())
    odd = shutil.copy(write(data / "odd.nrrd", voxels(1)), os.fsdecode(os.fsencode(data) + b"/\xff.nrrd"))
    (data / "odd.nrrd").unlink()
    line = ["--config", recipe(tmp_path, steps=4), "--out", out, "--data"]
    assert c2s(*line, odd) == 2
    assert "is not a name in UTF-8" in capsys.readouterr().err and not run_folder(out).exists()
    odd = tmp_path / os.fsdecode(b"\xff.safetensors")  # of the model: found before the training, not after it
    assert c2s(*line[:2], "--data", data, "--out", odd) == 2
    assert "is not a name in UTF-8" in capsys.readouterr().err and not run_folder(odd).exists()
    assert c2s(*line, data) == 0
    assert "Left out" in capsys.readouterr().err and read_card(out).trained_on == ("good",)


def test_a_stop_before_a_training_went_on_does_not_deny_its_model(tmp_path: Path, capsys, monkeypatch) -> None:
    target, out = write(tmp_path / "a.nrrd", voxels()), tmp_path / "m.safetensors"
    carry_out(Record(out, [{"target": target}], TINY, device="cpu"), cancelled=stopping_after(12))
    made = out.read_bytes()

    def stopped(*given: Any) -> None:
        raise Cancelled

    monkeypatch.setattr(recorded, "carry_out", stopped)
    assert c2s("--resume", "--out", out) == 1
    told = capsys.readouterr().err
    assert "the model stays as it was. c2s train --resume" in told and "no model yet" not in told
    assert out.read_bytes() == made


def test_curves_on_the_terminal_have_no_values_that_are_not_known(tmp_path: Path, capsys) -> None:
    """A fine-tuning is validated before its first step, when there is no loss yet."""
    line = ["--data", write(tmp_path / "a.nrrd", voxels()), "--config", recipe(tmp_path, steps=4, initial="default")]
    assert main([str(a) for a in ("train", *line, "--out", tmp_path / "m.safetensors", "--device", "cpu")]) == 0
    told = capsys.readouterr().err
    assert "step 0: validation" in told and "step 4: loss" in told and "nan" not in told


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


@pytest.mark.parametrize("scans", [True, False])
def test_an_imported_model_is_not_resumed(scans: bool, tmp_path: Path, model_file: Path, capsys) -> None:
    target, out = write(tmp_path / "a.nrrd", voxels()), Path(shutil.copy(model_file, tmp_path / "m.safetensors"))
    line = ["--data", target, "--config", recipe(tmp_path, steps=4)] if scans else []
    assert c2s("--resume", "--out", out, *line) == 2
    assert "is a model without a training to resume" in capsys.readouterr().err
    assert out.read_bytes() == model_file.read_bytes() and not run_folder(out).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cluster_whose_time_is_up_and_ctrl_c_end_it_well(number: signal.Signals, capsys) -> None:
    before = signal.getsignal(number)
    with traincommand.stop_by_interrupt() as stopped:
        signal.raise_signal(number)
        assert stopped.is_set() and "is kept" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_folder_with_a_broken_scan_and_a_mask_is_trained_on(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "in"
    write(folder / "good.nrrd", voxels())
    write(folder / "mask.nrrd", (voxels() > 500).astype(np.uint8))
    (folder / "broken.nii.gz").write_bytes(b"no")
    out = tmp_path / "m.safetensors"
    assert c2s("--data", folder, "--config", recipe(tmp_path), "--out", out) == 0
    told = capsys.readouterr().err
    assert "Left out:" in told and "broken.nii.gz" in told and "1 scan ->" in told
    assert "mask has only 2 different values" in told and read_card(out).trained_on == ("good",)
    assert c2s("--data", folder / "broken.nii.gz", "--config", recipe(tmp_path), "--out", tmp_path / "n") == 2
    assert "broken.nii.gz" in capsys.readouterr().err and not (tmp_path / "n.training").exists()
