"""Recipes: those that come with the program are valid, bad ones are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from C2SCore import config
from C2SCore.config import TrainConfig
from C2SCore.errors import UserError


def test_recipes_that_come_with_the_program_are_valid_and_survive_yaml(tmp_path: Path) -> None:
    import yaml

    for name in config.presets():
        recipe = config.preset(name)
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe.to_dict()))
        assert config.load(path) == recipe


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"stepz": 3}, "unknown setting 'stepz'"),
        ({"steps": "many"}, "whole number"),
        ({"loss": {"form": "magic"}}, "'plain' or 'normalised'"),
        ({"levels": {"tau_min": 2.0, "tau_max": 1.0}}, "below levels.tau_max"),
        ({"patch": 63}, "multiple of 8"),
        ({"learning_rate": -1.0}, "above 0"),
        ({"ghosts": 2.0}, "between 0 and 1"),
        ({"seed": -1}, "0 or more"),
        ({"noise": 3}, "group of settings"),
        ({True: 3, "abc": 4}, "unknown setting True"),
        ({"seed": 99999999999999999999999}, "at most 9223372036854775807"),
        ({"batch": 10**6}, "from 1 to 4096"),
        ({"learning_rate": 1e300}, "above 0 and at most 1"),
        ({"learning_rate": 10**400}, "a number"),
        ({"weight_decay": 1e300}, "between 0 and 100"),
        ({"levels": {"tau_max": 1e300}}, "at most 100"),
        ({"loss": {"alpha": 1e300}}, "between -10 and 10"),
        ({"noise": {"known": {"*": 7.0}}}, "between 0 and 1"),
        ({"noise": {"rician": 0.5}}, r"noise\.rician is 0\.5; it must be 0 unless levels\.density is 'range'"),
    ],
)
def test_bad_recipes_name_value_and_rule(values: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        TrainConfig.from_dict(values)
