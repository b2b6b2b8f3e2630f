"""c2s train: which scans of a folder belong together, what is left out of it, and what is said."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from dicomfiles import write_slice
from trainfiles import c2s, recipe, sessions, voxels, write

from C2SCore import files, traincommand
from C2SCore.card import read_card
from C2SCore.cli import main
from C2SCore.errors import UserError
from C2SCore.runfolder import run_folder


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


def test_curves_on_the_terminal_have_no_values_that_are_not_known(tmp_path: Path, capsys) -> None:
    """A fine-tuning is validated before its first step, when there is no loss yet."""
    line = ["--data", write(tmp_path / "a.nrrd", voxels()), "--config", recipe(tmp_path, steps=4, initial="default")]
    assert main([str(a) for a in ("train", *line, "--out", tmp_path / "m.safetensors", "--device", "cpu")]) == 0
    told = capsys.readouterr().err
    assert "step 0: validation" in told and "step 4: loss" in told and "nan" not in told


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
