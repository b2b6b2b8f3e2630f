"""The product's own training, as the studies use it: a recipe from the command line, noisy scans in, a model out."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from C2SCore import config, model
from C2SCore.patches import Case
from C2SCore.training import train


def add_arguments(made: argparse.ArgumentParser, steps: int) -> None:
    """--preset, --steps, --patch, --batch, --seeds: a training that ends soon, unless more is asked for."""
    made.add_argument("--preset", default="quick", help="recipe (default: %(default)s)")
    made.add_argument("--steps", type=int, default=steps, help="of each training (default: %(default)s)")
    made.add_argument("--patch", type=int, default=48, help="pixels (default: %(default)s; the recipe has 64)")
    made.add_argument("--batch", type=int, default=8, help="patches (default: %(default)s; the recipe has 12)")
    made.add_argument("--seeds", type=int, default=1, help="trainings of each kind (default: %(default)s)")


def recipe(options: argparse.Namespace, seed: int = 0, **changes: Any) -> config.TrainConfig:
    """The preset with these steps, from nothing; `seed` counts from --seed. A short training warms up for less."""
    preset = config.preset(options.preset)
    made = preset.replace(
        steps=options.steps,
        warm_up=min(preset.warm_up, options.steps // 20),
        patch=options.patch,
        batch=options.batch,
        seed=options.seed + seed,
        minutes=0,
        initial="",
    )
    return made.replace(**changes)


def facts(options: argparse.Namespace) -> dict[str, Any]:
    """What the results say of the training."""
    return {name: getattr(options, name) for name in ("preset", "steps", "patch", "batch", "seeds")}


def in_words(values: dict[str, Any]) -> str:
    """The facts in a sentence."""
    seeds = f"{values['seeds']} seeds" if values["seeds"] > 1 else "one seed"
    return (
        f"Preset `{values['preset']}` from nothing, {values['steps']} steps of {values['batch']} patches of "
        f"{values['patch']} pixels, {seeds}."
    )


def trained(cases: Sequence[Case], made: config.TrainConfig) -> model.Model:
    """The model that this recipe gives, kept in memory."""
    with tempfile.TemporaryDirectory() as folder:
        return model.load(train(cases, made, Path(folder) / "study.safetensors"))
