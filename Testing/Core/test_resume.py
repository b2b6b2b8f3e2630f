"""Whoever finds a training resumes it: c2s train what Slicer began, and the other way round."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainfiles import TINY, c2s, recipe, same, sessions, stopping_after, voxels, write

from C2SCore import config, events, recorded, state, trainjobs
from C2SCore.card import read_card
from C2SCore.errors import Cancelled
from C2SCore.recorded import carry_out
from C2SCore.runfolder import run_folder
from C2SCore.trainrecord import Record, unfinished
from C2SCore.worker import Context, Orders


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


def test_a_resumed_training_takes_no_contrasts_without_scans(tmp_path: Path, capsys) -> None:
    target, out = write(tmp_path / "a.nrrd", voxels()), tmp_path / "m.safetensors"
    carry_out(Record(out, [{"target": target}], TINY, device="cpu"), cancelled=stopping_after(12))
    assert c2s("--resume", "--out", out, "--aux", target) == 2
    assert "Leave --aux off" in capsys.readouterr().err and "auxiliary" not in Record.load(out).card


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


@pytest.mark.parametrize("scans", [True, False])
def test_an_imported_model_is_not_resumed(scans: bool, tmp_path: Path, model_file: Path, capsys) -> None:
    target, out = write(tmp_path / "a.nrrd", voxels()), Path(shutil.copy(model_file, tmp_path / "m.safetensors"))
    line = ["--data", target, "--config", recipe(tmp_path, steps=4)] if scans else []
    assert c2s("--resume", "--out", out, *line) == 2
    assert "is a model without a training to resume" in capsys.readouterr().err
    assert out.read_bytes() == model_file.read_bytes() and not run_folder(out).exists()
