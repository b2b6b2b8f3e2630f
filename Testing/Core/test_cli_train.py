"""`c2s train` as a user meets it: models, recipes, cards, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commandline import c2s
from phantom import make_scan

from C2SCore import config, files, traincommand
from C2SCore.card import find_model, models_folder


def test_train_then_use(scan_file, tmp_path, quick, capsys, monkeypatch):
    assert c2s("train", "--data", scan_file, "--out", "mine", "--device", "cpu", "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["trained_on"] == ["scan0"]
    assert c2s("models", "list") == 0
    assert "mine" in capsys.readouterr().out
    assert c2s("denoise", scan_file, "-o", tmp_path / "o.nrrd", "--model", "mine", "--quiet") == 0
    assert c2s("train", "--data", scan_file, "--out", "mine") == 2  # not overwritten
    assert "Resume it" in capsys.readouterr().err
    longer = config.preset("quick").replace(steps=6)
    monkeypatch.setattr(config, "preset", lambda name: longer)
    assert c2s("train", "--data", scan_file, "--out", "mine", "--resume", "--preset", "quick", "--json") == 0
    assert json.loads(capsys.readouterr().out)["quality"]["steps"] == 6


def test_train_with_a_contrast_and_an_own_recipe(scan_file, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{steps: 2, patch: 16, batch: 2, validate_every: 2, neighbours: 0}")
    other = files.write(make_scan(1), tmp_path / "t2.nrrd")
    out = tmp_path / "deep" / "two.safetensors"
    run = ("train", "--data", scan_file, "--out", out, "--config", recipe, "--quiet")
    assert c2s(*run, "--aux", other, other) == 2
    assert "one for each" in capsys.readouterr().err
    assert not out.parent.exists()
    assert c2s(*run, "--aux", other) == 0
    assert c2s("denoise", scan_file, "--aux", other, "--model", out, "-o", tmp_path / "o.nrrd", "--quiet") == 0


@pytest.mark.parametrize("name", [".", "/", "models/", "./models"])
def test_train_refuses_a_folder_for_a_model(scan_file, tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert c2s("train", "--data", scan_file, "--out", name) == 2
    assert f"The model is {name!r}" in capsys.readouterr().err
    assert traincommand.model_path("models").parent == models_folder()  # a bare name is none in this folder


def test_the_name_of_a_bundled_model_is_that_model_alone(scan_file, tmp_path, capsys, monkeypatch):
    assert c2s("train", "--data", scan_file, "--out", "default") == 2
    assert "bundled model 'default'" in capsys.readouterr().err
    before = find_model("default")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").write_bytes(b"no")
    (tmp_path / "other").write_bytes(b"no")
    assert find_model("default") == before and find_model("other") == Path("other")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("description: 2024", "description is 2024; it must be text"),
        ("auxiliary: [1]", "auxiliary is [1]; it must be a list of words"),
        ("sigma_range: 0.1", "'sigma_range' cannot be edited"),
        ("format_version: 2", "'format_version' cannot be edited"),
        ("descripton: brain", "'descripton' cannot be edited"),
    ],
)
def test_train_refuses_a_card_before_it_starts(scan_file, tmp_path, capsys, words, says):
    (tmp_path / "card.yaml").write_text(words)
    assert c2s("train", "--data", scan_file, "--out", tmp_path / "m", "--card", tmp_path / "card.yaml") == 2
    assert says in capsys.readouterr().err and not (tmp_path / "m.training").exists()


def test_train_writes_the_words_of_a_card(scan_file, tmp_path, quick, capsys):
    (tmp_path / "card.yaml").write_text("{date: 2024-05-01, name: Knee, contrasts: T1W, description: of the knee}")
    assert c2s("train", "--data", scan_file, "--out", tmp_path / "m", "--card", tmp_path / "card.yaml", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert [made[k] for k in ("date", "name", "contrasts")] == ["2024-05-01", "Knee", ["T1W"]]


def test_train_refuses_bad_recipes(scan_file, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("speed: 3")
    assert c2s("train", "--data", scan_file, "--out", tmp_path / "m", "--config", recipe) == 2
    assert "speed" in capsys.readouterr().err
    for words, says in (
        ("levels: {sigma_range: [a, b]}", "sigma_range is 'a'; it must be 2 numbers"),
        ("noise: {known: {1: 0.1}}", "noise.known: a pattern is 1; it must be text"),
        ("noise: {known: {a: [1]}}", "noise.known['a'] is [1]; it must be between 0 and 1"),
        ("learning_rate: fast", "learning_rate is 'fast'; it must be a number"),
        ("learning_rate: .inf", "learning_rate is inf; it must be a number"),
        ("weight_decay: yes", "weight_decay is True; it must be a number"),
        ("{on: 3, abc: 4}", "unknown setting True"),
        ("seed: 99999999999999999999999", "seed is 99999999999999999999999; it must be a whole number of at most"),
        ("learning_rate: 1e300", "learning_rate is 1e+300; it must be above 0 and at most 1"),
        ("date: 2024-13-41", "recipe.yaml cannot be read (month must be in 1..12)"),
    ):
        recipe.write_text(words)
        assert c2s("train", "--data", scan_file, "--out", tmp_path / "m", "--config", recipe) == 2
        assert says in capsys.readouterr().err
    assert c2s("train", "--data", scan_file, "--out", tmp_path / "m", "--minutes", 0) == 2


def test_a_recipe_may_have_numbers_that_yaml_takes_for_text(tmp_path):
    (tmp_path / "recipe.yaml").write_text("{learning_rate: 1e-3, levels: {sigma_range: [1e-2, 2e-1]}}")
    found = config.load(tmp_path / "recipe.yaml")
    assert (found.learning_rate, found.levels.sigma_range) == (0.001, (0.01, 0.2))
