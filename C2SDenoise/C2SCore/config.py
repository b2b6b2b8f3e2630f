"""The settings of a training run: frozen dataclasses, read from and written to YAML."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from C2SCore.card import resources_folder
from C2SCore.errors import UserError

NETWORKS = ("small", "base", "large")
LARGEST = 2**63 - 1  # of whole numbers: what generators of random numbers take
BATCH = 4096


def _check(ok: bool, name: str, value: object, rule: str) -> None:
    if not ok:
        raise UserError(f"{name} is {value!r}; it must be {rule}. Change it in the recipe (YAML) and start again.")


@dataclass(frozen=True)
class Loss:
    """Which member of the GDSM family is minimised (see gdsm.py)."""

    form: str = "normalised"  # "plain" (the paper's) or "normalised" (divided by gamma)
    antithetic: bool = True  # every draw z is used as +z and -z
    sigma_target: float = 0.0  # in units of sigma_d; > 0 is the paper's detail refinement
    alpha: float = -1.0  # weight (sigma_tau^2 + sigma_d^2)^alpha

    def __post_init__(self) -> None:
        _check(self.form in ("plain", "normalised"), "loss.form", self.form, "'plain' or 'normalised'")
        _check(
            0 <= self.sigma_target <= 1, "loss.sigma_target", self.sigma_target, "between 0 and 1 (units of sigma_d)"
        )
        _check(-10 <= self.alpha <= 10, "loss.alpha", self.alpha, "between -10 and 10")


@dataclass(frozen=True)
class Levels:
    """How the level of the added corruption is drawn."""

    # "uniform": tau ~ U(tau_min, tau_max] sigma_d; "range": sigma_t log-uniform in sigma_range
    density: str = "uniform"
    tau_min: float = 0.5  # in units of sigma_d
    tau_max: float = 1.5  # T of the paper, in units of sigma_d
    sigma_range: tuple[float, float] = (0.01, 0.25)  # of "range", in units of the tissue signal

    def __post_init__(self) -> None:
        _check(self.density in ("uniform", "range"), "levels.density", self.density, "'uniform' or 'range'")
        _check(self.tau_max <= 100, "levels.tau_max", self.tau_max, "at most 100 (units of sigma_d)")
        _check(0 < self.tau_min < self.tau_max, "levels.tau_min", self.tau_min, "above 0 and below levels.tau_max")
        low, high = self.sigma_range
        _check(0 < low < high <= 1, "levels.sigma_range", self.sigma_range, "two rising numbers between 0 and 1")


@dataclass(frozen=True)
class Noise:
    """What is assumed of the noise, and how it is varied in training."""

    spectrum: str = "auto"  # "auto": estimated from each scan; "white"
    band_limited: float = 0.0  # fraction of patches that are band-limited (image and noise) at random
    rician: float = 0.0  # of density "range": fraction of patches corrupted as magnitude images, then stabilised
    rician_weight: float = 1.0  # largest weight of their dark pixels, whose errors the inverse transform magnifies
    known: dict[str, float] = field(default_factory=dict)  # path pattern -> sigma_d in units of the tissue signal

    def __post_init__(self) -> None:
        _check(self.spectrum in ("auto", "white"), "noise.spectrum", self.spectrum, "'auto' or 'white'")
        _check(0 <= self.band_limited <= 1, "noise.band_limited", self.band_limited, "a fraction between 0 and 1")
        _check(0 <= self.rician <= 1, "noise.rician", self.rician, "a fraction between 0 and 1")
        _check(1 <= self.rician_weight <= 10, "noise.rician_weight", self.rician_weight, "between 1 and 10")
        _check(isinstance(self.known, dict), "noise.known", self.known, "a group of 'pattern: sigma' lines")
        for pattern, value in self.known.items():
            # A pattern that looks like a number is one in YAML, and cannot be matched with a path.
            _check(isinstance(pattern, str), "noise.known: a pattern", pattern, "text, in quotation marks")
            number = _number(f"noise.known[{pattern!r}]", value, "between 0 and 1")
            _check(0 < number < 1, f"noise.known[{pattern!r}]", value, "between 0 and 1")
        object.__setattr__(self, "known", {pattern: float(value) for pattern, value in self.known.items()})


@dataclass(frozen=True)
class TrainConfig:
    """A recipe. Everything that a training run needs beside its data."""

    network: str = "small"
    initial: str = ""  # name or file of a model to start from (its network is taken); "" = from scratch
    fine_tune: float = 0.15  # factor on the learning rate when starting from a model
    loss: Loss = field(default_factory=Loss)
    levels: Levels = field(default_factory=Levels)
    noise: Noise = field(default_factory=Noise)
    neighbours: int = 1  # slices above and below that help (0 or 1)
    neighbour_dropout: float = 0.1  # fraction of patches trained without them
    contrast_jitter: float = 0.0  # fraction of patches whose intensities are warped, so that a model carries further
    lesions: float = 0.0  # fraction of patches into which small lesions are laid, so that the model keeps such
    ghosts: float = 0.0  # fraction of patches with a faint copy of their anatomy, so that the model keeps ghosts
    background: float = 0.1  # chance that a patch without tissue is taken when it is drawn
    patch: int = 64  # pixels
    batch: int = 12
    steps: int = 4000
    minutes: float = 0.0  # time budget; 0 = steps only
    learning_rate: float = 1e-3
    warm_up: int = 100  # steps
    weight_decay: float = 0.0
    ema: float = 0.999
    gradient_clip: float = 1.0
    validation: float = 0.1  # fraction of slices held back
    validate_every: int = 250  # steps
    checkpoint_every: float = 60.0  # seconds
    precision: str = "auto"  # "auto": bfloat16 where the device is fast at it; "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self.network in NETWORKS, "network", self.network, f"one of {', '.join(NETWORKS)}")
        _check(self.neighbours in (0, 1), "neighbours", self.neighbours, "0 or 1")
        _check(16 <= self.patch <= 512 and self.patch % 8 == 0, "patch", self.patch, "a multiple of 8 from 16 to 512")
        _check(1 <= self.batch <= BATCH, "batch", self.batch, f"from 1 to {BATCH}")
        for name in ("steps", "validate_every"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _check(0 < self.learning_rate <= 1, "learning_rate", self.learning_rate, "above 0 and at most 1")
        _check(0 < self.fine_tune <= 100, "fine_tune", self.fine_tune, "above 0 and at most 100")
        for name in ("gradient_clip", "checkpoint_every"):
            _check(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("minutes", "warm_up", "seed"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _check(0 <= self.weight_decay <= 100, "weight_decay", self.weight_decay, "between 0 and 100")
        for name in ("neighbour_dropout", "contrast_jitter", "lesions", "ghosts", "background", "ema"):
            _check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")
        # Only levels far above the scan's own are corrupted so: beside those of "uniform" it would change nothing.
        far = self.noise.rician == 0 or self.levels.density == "range"
        _check(far, "noise.rician", self.noise.rician, "0 unless levels.density is 'range'")
        _check(0 <= self.validation < 1, "validation", self.validation, "a fraction from 0 to below 1")
        _check(self.precision in ("auto", "float32"), "precision", self.precision, "'auto' or 'float32'")

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for YAML or JSON."""
        values = dataclasses.asdict(self)
        values["levels"]["sigma_range"] = list(self.levels.sigma_range)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """Inverse of `to_dict`; a missing key takes its default, an unknown one raises `UserError`."""
        parts = {"loss": Loss, "levels": Levels, "noise": Noise}
        flat = {name: _build(parts[name], value, name) if name in parts else value for name, value in values.items()}
        return _build(cls, flat, "the recipe")

    def replace(self, **changes: Any) -> TrainConfig:
        """A copy with some values changed, checked again."""
        return dataclasses.replace(self, **changes)


def _build(cls: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise UserError(f"{where} is {values!r}; it must be a group of settings. Write it as 'name: value' lines.")
    known = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(known), key=str)  # YAML makes true of on
    if unknown:
        raise UserError(
            f"{where} has the unknown setting {unknown[0]!r}; known are {', '.join(known)}. Correct its name."
        )
    kept = dict(values)
    for name, value in values.items():
        default = getattr(cls, name, None)
        if isinstance(default, bool):
            _check(isinstance(value, bool), name, value, "true or false")
        elif isinstance(default, int):
            _check(isinstance(value, int) and not isinstance(value, bool), name, value, "a whole number")
            _check(abs(value) <= LARGEST, name, value, f"a whole number of at most {LARGEST}")
        elif isinstance(default, float):
            kept[name] = _number(name, value, "a number")
        elif isinstance(default, str):
            _check(isinstance(value, str), name, value, "a word")
        elif isinstance(default, tuple):
            _check(
                isinstance(value, (list, tuple)) and len(value) == len(default), name, value, f"{len(default)} numbers"
            )
            kept[name] = tuple(_number(name, v, f"{len(default)} numbers") for v in value)
    return cls(**kept)


def _number(name: str, value: Any, rule: str) -> float:
    """The value as a number; YAML takes 1e-3, without a point, for text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    _check(math.isfinite(number), name, value, rule)
    return number


def presets_folder() -> Path:
    """Where the recipes lie that come with the program."""
    return resources_folder() / "Presets"


def presets() -> list[str]:
    """Names of the recipes that come with the program."""
    return sorted(path.stem for path in presets_folder().glob("*.yaml"))


def preset(name: str) -> TrainConfig:
    """A recipe that comes with the program, by name."""
    path = presets_folder() / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"There is no preset {name!r}; known: {', '.join(presets())}. Choose one of these.")
    return _bundled(path)


@functools.cache
def _bundled(path: Path) -> TrainConfig:
    """Read once: the panel asks at every change, and YAML takes 10 ms."""
    return load(path)


def load(path: str | Path) -> TrainConfig:
    """Read a recipe from a YAML file; raises `UserError` for anything that is not one."""
    return TrainConfig.from_dict(read_yaml(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, as plain values; raises `UserError` for a file that has none."""
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: of what is no text, or no date
        raise UserError(f"{path} cannot be read ({error}); it must be a YAML text file. Check the path.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds {values!r}; it must hold 'name: value' lines. Check the file.")
    return values
