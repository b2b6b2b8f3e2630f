"""The recipe as the panel shows it, as a YAML file, and as a command line."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from C2SCore import config as configs
from C2SCore.card import find_model, read_card
from C2SCore.config import TrainConfig
from C2SCore.errors import UserError

SCRATCH = "none"  # for `initial`: start from nothing, as in `c2s train`
TOOLTIPS = {
    "network": "Size of the network: small, base or large. Larger ones learn more and take longer.",
    "initial": "Model to start from; empty: from scratch. Chosen above.",
    "fine_tune": "Factor on the learning rate when starting from a model.",
    "loss.form": "normalised, or plain as in the paper.",
    "loss.antithetic": "Use every draw of noise with both signs: less variance for twice the work.",
    "loss.sigma_target": "Share of the noise level that the model shall keep (the paper's detail refinement), 0 to 1.",
    "loss.alpha": "Weight of the levels, (sigma_tau^2 + sigma_d^2)^alpha.",
    "levels.density": "uniform: levels near the scan's own noise. range: all levels of sigma_range.",
    "levels.tau_min": "Weakest noise that is added, in units of the scan's own.",
    "levels.tau_max": "Strongest noise that is added, in units of the scan's own.",
    "levels.sigma_range": "Levels of density range, as shares of the tissue signal.",
    "noise.spectrum": "auto: noise of each scan's own spectrum, right for interpolated scans. white: none of that.",
    "noise.band_limited": "Share of patches that are filtered at random, so that the model knows interpolated scans.",
    "noise.rician": "Share of patches of density range that are corrupted as magnitude images.",
    "noise.rician_weight": "Largest weight of dark pixels in such patches.",
    "noise.known": "Noise that is known: pattern of the file name and sigma as a share of the signal, as JSON.",
    "neighbours": "Slices above and below that help: 0 or 1.",
    "neighbour_dropout": "Share of patches that are trained without them.",
    "contrast_jitter": "Share of patches with warped intensities, so that a model carries further.",
    "lesions": "Share of patches with small bright or dark spots laid in, so that the model keeps lesions.",
    "ghosts": "Share of patches with a faint copy of the anatomy laid in, so that the model keeps ghosts visible.",
    "background": "Chance that a patch without tissue is taken.",
    "patch": "Side of the patches in pixels, a multiple of 8.",
    "batch": "Patches per step.",
    "steps": "Steps of the whole training.",
    "minutes": "Time budget in minutes; 0: the steps alone decide.",
    "learning_rate": "How far each step goes. Lower it if the loss becomes infinite.",
    "warm_up": "Steps over which the learning rate rises.",
    "weight_decay": "Pull of the weights towards zero.",
    "ema": "Memory of the averaged weights, which make the model: 0 to 1.",
    "gradient_clip": "Longest step that is allowed.",
    "validation": "Share of slices that are held back to tell the best model.",
    "validate_every": "Steps between two looks at the slices held back.",
    "checkpoint_every": "Seconds between two savings: what a crash loses at most.",
    "precision": "auto: faster numbers where the device has them. float32: always exact.",
    "seed": "Start of the random numbers: the same seed gives the same training.",
}


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """`TrainConfig.to_dict` with dotted names for what is inside a group."""
    groups = ("loss", "levels", "noise")
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= {f"{name}.{inner}": v for inner, v in value.items()} if name in groups else {name: value}
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `flat`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        group, dot, inner = name.partition(".")
        if dot:
            found.setdefault(group, {})[inner] = value
        else:
            found[name] = value
    return found


def parse(text: str, like: Any) -> Any:
    """What a user typed for a setting whose value was `like`: words stay words, all else is JSON."""
    text = text.strip()
    if isinstance(like, str):
        return text
    try:
        value = json.loads(text.lower() if isinstance(like, bool) else text)
    except ValueError:
        return text  # the recipe says what it should be
    return float(value) if isinstance(like, float) and isinstance(value, int) and not isinstance(value, bool) else value


def resolve(
    preset: str,
    file: str = "",
    overrides: Mapping[str, Any] | None = None,
    initial: str = "",
    minutes: float = 0,
    held_back: int | None = None,
) -> TrainConfig:
    """The recipe that is meant: preset or YAML file, then overrides by dotted name, then what the panel asks for.

    `minutes` 0 leaves the recipe's budget; with a budget, the time alone decides, unless the
    overrides have steps. `held_back` is in percent. `initial`: model to
    start from, "none", or empty for what the recipe says; it fixes the network. Raises `UserError` for values that
    cannot work.
    """
    base = configs.load(file) if file else configs.preset(preset)
    values = {**flat(base.to_dict()), **(overrides or {})}
    if minutes:
        values["minutes"] = float(minutes)
        if "steps" not in (overrides or {}):
            values["steps"] = max(int(values["steps"]), 1_000_000)
    if held_back is not None and "validation" not in (overrides or {}):
        values["validation"] = held_back / 100
    if initial:
        values["initial"] = "" if initial == SCRATCH else initial
    if values["initial"]:
        card = read_card(find_model(values["initial"]))
        values |= {"neighbours": card.neighbours, "network": card.network.get("size", values["network"])}
    return TrainConfig.from_dict(nested(values))


def elsewhere(values: Mapping[str, Any], overrides: Mapping[str, Any], minutes: float) -> dict[str, str]:
    """Settings that a control above the table decides, and how to change them there; `values` and `minutes` as in
    `resolve`, `overrides` what the user changed in the table.
    """
    found = {
        "initial": "Choose it under Start from, above.",
        "validation": "Set Hold back, above.",
        "minutes": "Set the time, above.",
    }
    if values["initial"]:
        found |= dict.fromkeys(
            ("network", "neighbours"), "The model to start from decides this. Start from nothing, above, to choose it."
        )
    if minutes and "steps" not in overrides:
        found["steps"] = "As many as the time allows. Put the time back to the recipe's, above, to choose the steps."
    if "minutes" in overrides and not minutes:
        del found["minutes"]
    if "validation" in overrides:
        del found["validation"]
    return found


def yaml_text(config: TrainConfig) -> str:
    """The recipe as YAML, one setting a line; `c2s train --config` and the panel read it."""
    lines = []
    for name, value in config.to_dict().items():
        if isinstance(value, dict):
            lines += [f"{name}:"] + [f"  {inner}: {_scalar(v)}" for inner, v in value.items()]
        else:
            lines.append(f"{name}: {_scalar(value)}")
    return "\n".join(lines) + "\n"


def card_yaml(words: Mapping[str, Any]) -> str:
    """What goes on a model's card as YAML, one field a line; `c2s train --card` reads it. Empty fields are left out."""
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in words.items() if value)


def _scalar(value: Any) -> str:
    """JSON is YAML, but for numbers such as 1e-06, which YAML takes for words without a point."""
    if isinstance(value, list):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    text = json.dumps(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text


def command(
    targets: Sequence[str],
    helpers: Sequence[Sequence[str]],
    out: Path,
    recipe: str,
    is_file: bool,
    device: str,
    resume: bool = False,
    card: str = "",
) -> str:
    """The command line of a training; `helpers` has one list of paths for each helping contrast."""
    if any(not path for path in [*targets, *(p for group in helpers for p in group)]):
        raise UserError(
            "A volume of the scene has no file; the command line reads files. Save the volumes first, as NRRD."
        )
    parts = ["c2s", "train", "--data", *targets, "--out", str(out)]
    for group in helpers:
        parts += ["--aux", *group]
    parts += ["--config" if is_file else "--preset", recipe]
    parts += ["--card", card] if card else []
    parts += ["--device", device] if device != "auto" else []
    parts += ["--resume"] if resume else []
    return _joined(parts)


def _joined(parts: Sequence[str]) -> str:
    """The words as one line for a terminal; those of Windows know double quotes alone, and no name there has one."""
    if sys.platform != "win32":
        return shlex.join(parts)
    return " ".join(part if re.fullmatch(r"[\w.:/\\+-]+", part) else f'"{part}"' for part in parts)
