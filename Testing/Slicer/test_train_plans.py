"""What names say, how cases are made, what is warned of, and the recipe as text: no process, no window."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "C2SDenoiseTrain"))

from C2SCore import config, contrasts, guidance
from C2SCore.errors import UserError
from C2SCore.trainrecord import Record, unfinished
from C2STrainSlicer import matching, recipe, scans
from C2STrainSlicer.scans import Row


@pytest.mark.parametrize(
    ("text", "contrast", "case"),
    [
        ("p01s1_T1W", "T1W", "p01s1"),
        ("2022061003_T201", "T2", "2022061003"),
        ("2022061003_FLAIR01", "FLAIR", "2022061003"),
        ("session 3/t2 flair", "FLAIR", "session_3"),
        ("hku02/kspace_GRE", "GRE", "hku02_kspace"),
        ("Axial_T2_FLAIR_2", "FLAIR", "Axial_2"),
        ("T1", "T1", "scan"),
        ("PD/sub1_T1w", "T1W", "PD_sub1"),
        ("T1w/sub1_T1", "T1", "sub1"),
        ("patient7", "", "patient7"),
        ("part1_at2x", "", "part1_at2x"),
    ],
)
def test_names(text, contrast, case):
    assert contrasts.guess(text) == contrast
    assert scans.case_of(text) == case


def test_matching_text_is_below_the_folder_and_without_extension():
    assert scans.matching_text("/data/a b/T1.nii.gz", "/data") == "a b/T1"
    assert scans.matching_text("/data/hku.h5::kspace_GRE", "/data") == "hku/kspace_GRE"
    assert scans.matching_text("/elsewhere/T1.nrrd", "/data") == "T1"


def test_notes_do_not_repeat_the_name_of_the_row():
    row = Row("sub/a", "/data/sub/a.nii", problem="/data/sub/a.nii is empty (0 bytes); it must hold an image.")
    assert row.notes == "Is empty (0 bytes); it must hold an image."
    assert Row("flat", "/x/flat.nrrd", problem="flat is constant.").notes == "Is constant."
    assert Row("a", "/x/a.nrrd", problem="It shows no noise.").notes == "It shows no noise."
    assert Row("a", "/x/a.nrrd", flags=("clean",)).notes == "hardly any noise"


def rows(*texts: str) -> list[Row]:
    return [Row(t, f"/{t}.nrrd", shape=(9, 8, 8), snr=10.0, contrast=contrasts.guess(t)) for t in texts]


def test_contrasts_of_one_session_are_put_together():
    found = rows("p1_T1W", "p1_FLAIR", "p1_T2W", "p2_T1W", "p2_T2W")
    cases, missing = matching.match(found, "T1W", ("FLAIR", "T2W"))
    assert [(c.name, [h.text for h in c.helpers]) for c in cases] == [("p1_T1W", ["p1_FLAIR", "p1_T2W"])]
    assert missing == ["p2 lacks FLAIR."]
    assert "p1_T1W with p1_FLAIR, p1_T2W" in matching.summary(cases, missing, ("FLAIR", "T2W"))


def test_repetitions_are_helped_by_their_own():
    found = rows("x_T101", "x_T102", "x_T201", "x_T202")
    cases, _ = matching.match(found, "T1", ("T2",))
    assert [(c.name, c.helpers[0].text) for c in cases] == [("x_T101", "x_T201"), ("x_T102", "x_T202")]


def test_a_pattern_of_the_user_decides():
    found = rows("sub1/anat run7 T1W", "sub1/anat run9 FLAIR")
    assert matching.match(found, "T1W", ("FLAIR",))[0] == []
    cases, _ = matching.match(found, "T1W", ("FLAIR",), "{case}/anat * {contrast}")
    assert [h.text for h in cases[0].helpers] == ["sub1/anat run9 FLAIR"]
    cases, missing = matching.match(found, "T1W", ("FLAIR",), "{case}_{contrast}")
    assert cases == [] and "does not follow" in missing[0]
    with pytest.raises(UserError, match=r"needs \{case\} once"):
        matching.match(found, "T1W", ("FLAIR",), "{contrast}")


def test_scans_of_no_chosen_contrast_are_counted():
    found = rows("p1_T1W", "p2_T1W", "p1_T2W", "p2_T2W", "p1_SWI", "odd", "p1_FLAIR")
    cases, missing = matching.match(found, "T1W")
    assert missing == ["5 scans of no chosen contrast are left out (2 T2W, 1 FLAIR, 1 SWI, 1 without a contrast)."]
    assert matching.summary(cases, missing, ()).startswith("2 scans to train on. 5 scans of no chosen")
    cases, missing = matching.match(found[:3] + found[6:], "T1W", ("FLAIR",))
    assert missing == ["1 scan of no chosen contrast is left out (1 T2W).", "p2 lacks FLAIR."]
    assert matching.match(found)[1] == []


@pytest.mark.parametrize(
    ("text", "pattern", "contrast"),
    [
        ("sub0_ax", "{case}_{contrast}", "AX"),
        ("site_2/sub_01_AX", "{case}_{contrast}", "AX"),
        ("sub_T201", "{case}_{contrast}", "T2"),
        ("p1_t1w", "{case}_{contrast}", "T1W"),
        ("AX/sub 1", "{contrast}/{case}", "AX"),
        ("sub1_AX_v2_x", "{case}_{contrast}_*", "AX"),
        ("sub1 T1w", "{case}_{contrast}", "T1W"),  # it does not fit: as guessed
        ("sub1_T1w", "{case}_*", "T1W"),
        ("sub1_AX", "", ""),
    ],
)
def test_a_pattern_names_contrasts(text, pattern, contrast):
    found = rows(text)
    matching.name_contrasts(found, pattern)
    assert found[0].contrast == contrast
    matching.name_contrasts(found, "")
    assert found[0].contrast == contrasts.guess(text)


def test_a_case_has_separators_of_its_own():
    found = rows("s_1_AX", "s_1_BX", "s_2_AX", "s_2_BX")
    matching.name_contrasts(found, "{case}_{contrast}")
    cases, missing = matching.match(found, "AX", ("BX",), "{case}_{contrast}")
    assert [(c.name, c.helpers[0].text) for c in cases] == [("s_1_AX", "s_1_BX"), ("s_2_AX", "s_2_BX")]
    assert missing == []


def warned(found: list[Row], **settings) -> str:
    return " ".join(guidance.warnings([row.seen for row in found], config.TrainConfig(**settings).to_dict()))


def test_warnings_name_the_fix():
    good = rows("a_T1", "b_T1")
    assert warned(good) == ""
    assert "start from a model" in warned(good[:1])
    few = rows("a_T1")
    few[0].shape = (3, 8, 8)
    assert "none is held back" in warned(few) and "none is held back" not in warned(good[:1])
    assert "start from a model" not in warned(few, initial="default")
    few[0].shape = (1, 8, 8)
    assert "Only 1 slice: too few" in warned(few)
    noisy = rows("a_T1", "b_T1")
    noisy[1].snr = 2.0
    assert "5.0-fold" in warned(noisy) and "Leave out" in warned(noisy)
    for flag, words in (("interpolated", "Coloured noise"), ("clean", "Leave them out"), ("saturated", "16 bits")):
        flagged = rows("a_T1", "b_T1")
        flagged[0].flags = (flag,)
        assert words in warned(flagged) and "a_T1" in warned(flagged)
    assert "Mixed contrasts (T1, T2)" in warned(rows("a_T1", "b_T2"))
    assert "Hold back" in warned(good, validation=0.0)


def test_a_recipe_survives_yaml_and_the_table(tmp_path):
    before = config.TrainConfig(learning_rate=1e-7, minutes=5.0, noise=config.Noise(known={"*T1*": 1e-2}))
    path = tmp_path / "r.yaml"
    path.write_text(recipe.yaml_text(before), encoding="utf-8")
    assert config.load(path) == before
    flat = recipe.flat(before.to_dict())
    assert set(flat) == set(recipe.TOOLTIPS)
    assert config.TrainConfig.from_dict(recipe.nested(flat)) == before


def test_a_recipe_is_put_together():
    settings = {"initial": "", "loss.alpha": -0.5}
    assert recipe.resolve("quick", "", settings, minutes=3).minutes == 3
    assert recipe.resolve("quick", "", settings, minutes=3).steps >= 1_000_000
    assert recipe.resolve("quick", "", settings | {"steps": 7}, minutes=3).steps == 7
    assert recipe.resolve("quick", "", settings, held_back=20).validation == 0.2
    assert recipe.resolve("quick", "", settings).loss.alpha == -0.5
    with pytest.raises(UserError, match="steps"):
        recipe.resolve("quick", "", settings | {"steps": 0})


def test_the_command_line_is_one_for_the_terminals_of_windows(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    paths = ["C:\\scans\\Schädel.nrrd", "C:\\my scans\\a & b.nrrd"]
    line = recipe.command(paths, [], Path("D:/m.safetensors"), "quick", False, "auto")
    assert line.startswith(f'c2s train --data {paths[0]} "{paths[1]}" --out D:/m.safetensors --preset quick')


def test_the_command_line_is_what_c2s_train_reads(tmp_path):
    from C2SCore.cli import build_parser

    line = recipe.command(
        ["a b.nrrd", "c.nrrd"], [["f.nrrd", "g.nrrd"]], tmp_path / "m.safetensors", "r.yaml", True, "cpu"
    )
    options = build_parser().parse_args(shlex.split(line)[1:])
    assert options.data == ["a b.nrrd", "c.nrrd"] and options.aux == [["f.nrrd", "g.nrrd"]]
    assert options.config == "r.yaml" and options.device == "cpu"
    with pytest.raises(UserError, match="Save the volumes"):
        recipe.command(["", "c.nrrd"], [], tmp_path / "m.safetensors", "quick", False, "auto")


def test_a_record_finds_its_scans_after_a_move(tmp_path):
    home = tmp_path / "one"
    outside, inside = home / "scan.npy", home / "m.training" / "scans" / "0.npy"
    inside.parent.mkdir(parents=True)
    for path in (outside, inside):
        path.write_bytes(b"")
    record = Record(home / "m.safetensors", [{"target": str(inside), "auxiliary": [str(outside)]}], state="failed")
    record.save()
    assert Record.load(home / "m.training").cases == record.cases
    assert unfinished([home]) == []  # there is no checkpoint yet
    (home / "m.training" / "state.safetensors").write_bytes(b"")
    moved = home.rename(tmp_path / "two")
    found = unfinished([moved, tmp_path / "gone", ""])[0]
    assert found.out == moved / "m.safetensors"
    found.check_scans()
    assert found.cases[0]["target"] == str(moved / "m.training" / "scans" / "0.npy")
    (moved / "scan.npy").unlink()
    with pytest.raises(UserError, match=r"scan\.npy is gone"):
        found.check_scans()
    with pytest.raises(UserError, match="not the folder of a training"):
        Record.load(tmp_path)
