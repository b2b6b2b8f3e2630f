"""The messages between the worker and whoever started it: one JSON object per line, typed on both sides.

Towards the worker go jobs (`DenoiseJob`, `TrainJob`, `NoiseJob`, ...) and orders about a job (`CancelJob`,
`PauseJob`); back come `Started`, `Progress`, `Preview`, `Curve`, `Inspected` and, exactly once per job, one of
`Done`, `Failed`, `Cancelled`. Each message names its job, so that late messages of a finished job can be told apart.

The format is made to outlive its versions: every line carries ``"v"``, unknown fields are ignored, missing fields
take their defaults, and whatever cannot be read is a `Log`, never an error. Numbers that JSON does not have (NaN,
infinity) travel as null. Only the standard library is imported here: Slicer and the command line read this file at
start-up.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

PROTOCOL = 1
"""Version of the message format: raised when a field changes its meaning (new fields do not count)."""


# ---- jobs, towards the worker --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DenoiseJob:
    """Denoise one volume: arrays travel as `.npy` files of shape (K, J, I), in the scan's own unit.

    `sigma` is ``"auto"``, a number in the scan's unit, or the path of a `.npy` noise map (K, J, I). `output` receives
    the estimate with all noise removed; other levels of detail are a straight line between it and the source, and cost
    nothing: `detail` is that of the numbers. `levels`, if given, receives the noise map where one was measured.
    `slices` is the axis of the arrays along which slices lie, here and in the jobs below; `isotropic` says that voxels
    are as thick as wide.

    Of the frames of a time `series`, a constant one comes back as it is; those before and after, `beside` the source,
    bound its level.
    """

    job: str
    source: str
    output: str
    model: str = "default"
    auxiliary: tuple[str, ...] = ()
    sigma: float | str = "auto"
    noise: str = "auto"
    device: str = "auto"
    uncertainty: str = ""
    slices: int = 0
    isotropic: bool = False
    detail: float = 0.0
    levels: str = ""
    series: bool = False
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainJob:
    """Train a model, or continue one (`initial`: name or path of a model; `resume`: the training that `out` began).

    Each case is a mapping with `target` (path of a `.npy` file or of a scan), and optionally `name`, `auxiliary`
    (paths), `sigma` (number), `group`, and, of `.npy` files, `slices`, `isotropic` and `beside` (paths: the frames
    before and after it in a series, which bound its noise). The recipe is the preset of that name (empty: the program's
    defaults) with the values of `config` over it, as `TrainConfig.from_dict` reads them.
    """

    job: str
    out: str
    cases: tuple[dict[str, Any], ...]
    preset: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    initial: str = ""
    resume: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class NoiseJob:
    """Measure the noise of one volume (`.npy`): `Done.numbers` has `sigma`, `snr` and `signal` in the scan's unit, and
    whether the level was `refined` with the bundled model.
    """

    job: str
    source: str
    slices: int = 0


@dataclass(frozen=True)
class EvidenceJob:
    """What a result is worth.

    `denoised` has the detail `detail`; `sigma` is the level of the noise, or the path of a map (`.npy`). `Done.numbers`
    has the residual checks and, with a reference volume, PSNR and SSIM before and after.
    """

    job: str
    source: str
    denoised: str
    sigma: float | str = 0.0
    reference: str = ""
    slices: int = 0
    detail: float = 0.0


@dataclass(frozen=True)
class InspectJob:
    """Look at scans before a training: one `Inspected` for each, thumbnails as PNG files in the folder `thumbnails`.

    A path is a scan, a `.npy` file, or a folder that is searched for scans. `measured`: file that keeps what was
    measured (see `measuring`); a training that has it beside its state does not measure again.
    """

    job: str
    paths: tuple[str, ...]
    thumbnails: str = ""
    measured: str = ""


@dataclass(frozen=True)
class EstimateJob:
    """How long a training takes here: some of its steps are done and timed, and nothing is kept.

    `config` as `TrainConfig.from_dict` reads it, `contrasts` the number of helping ones; `Done.numbers` has
    `seconds_per_step` and `seconds`.
    """

    job: str
    config: dict[str, Any] = field(default_factory=dict)
    contrasts: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class ReportJob:
    """What a training has come to, as one HTML file `out`.

    `cases` as in `TrainJob`; `history` is the training's list of points with `step`, `loss` and `validation`; `compare`
    names another model to try on the same slices (empty: none).
    """

    job: str
    model: str
    out: str
    cases: tuple[dict[str, Any], ...]
    history: tuple[dict[str, Any], ...] = ()
    compare: str = "default"
    device: str = "auto"


@dataclass(frozen=True)
class CheckJob:
    """Report the device and the versions that a job would use; loads PyTorch, so that the next job starts at once."""

    job: str
    device: str = "auto"


@dataclass(frozen=True)
class CancelJob:
    """Give up a job, running or waiting. A training keeps what it has saved."""

    job: str


@dataclass(frozen=True)
class PauseJob:
    """Hold a training between two steps (`paused` true), or let it go on (false)."""

    job: str
    paused: bool = True


# ---- answers of the worker -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Started:
    """First line of a worker: its own process id, which may differ from that of the launcher that was started."""

    pid: int
    protocol: int = PROTOCOL
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    `done` of `total` units of the present `stage`, and the seconds this stage still needs, if known; `memory`: bytes
    that the process holds at most, 0 where that is not known. `fraction`: of a training's budget that is used, 0 to 1,
    where its steps alone do not tell.
    """

    job: str
    stage: str
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    device: str = ""
    memory: int = 0
    fraction: float | None = None


@dataclass(frozen=True)
class Preview:
    """A picture of the work so far.

    `path` is a `.npy` file (3, J, I) with source, current result and removed noise of one slice.
    """

    path: str
    step: int = 0
    name: str = ""
    job: str = ""


@dataclass(frozen=True)
class Curve:
    """One point of the training curves, such as ``{"loss": 0.01, "validation": 31.2}`` at a step."""

    step: int
    values: dict[str, float | None] = field(default_factory=dict)
    job: str = ""


@dataclass(frozen=True)
class Inspected:
    """What was found in one scan.

    `sigma` is in the scan's unit; `problem` says why a scan cannot be used (empty: it can); `flags` are those of
    `inspecting.Facts`.
    """

    job: str
    path: str
    name: str = ""
    shape: tuple[int, ...] = ()
    frames: int = 1
    sigma: float | None = None
    snr: float | None = None
    thumbnail: str = ""
    problem: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """A job ended well.

    The files written, by role (such as ``{"output": ...}``), and the numbers measured on the way.
    """

    job: str
    paths: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """A job ended badly: what happened, what to do about it, and where in the program."""

    job: str
    message: str
    advice: str = ""
    traceback: str = ""


@dataclass(frozen=True)
class Cancelled:
    """A job was given up, as ordered."""

    job: str


@dataclass(frozen=True)
class Log:
    """Anything else that was said: a line for the log."""

    text: str
    job: str = ""


Job: TypeAlias = DenoiseJob | TrainJob | NoiseJob | EvidenceJob | InspectJob | EstimateJob | ReportJob | CheckJob
Message: TypeAlias = (
    Job | CancelJob | PauseJob | Started | Progress | Preview | Curve | Inspected | Done | Failed | Cancelled | Log
)

JOBS = (DenoiseJob, TrainJob, NoiseJob, EvidenceJob, InspectJob, EstimateJob, ReportJob, CheckJob)
ENDINGS = (Done, Failed, Cancelled)
"""The messages that end a job."""

_TYPES: dict[str, type] = {
    t.__name__: t
    for t in (*JOBS, CancelJob, PauseJob, Started, Progress, Preview, Curve, Inspected, Done, Failed, Cancelled, Log)
}
# Annotations are text here (postponed evaluation); this says which JSON values each of them admits. Numbers are no
# booleans.
_NUMBER = (int, float)
_ADMITTED: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": _NUMBER,
    "float | None": (*_NUMBER, type(None)),
    "float | str": (*_NUMBER, str),
    "tuple[str, ...]": (list,),
    "tuple[int, ...]": (list,),
    "tuple[dict[str, Any], ...]": (list,),
    "dict[str, Any]": (dict,),
    "dict[str, str]": (dict,),
    "dict[str, float | None]": (dict,),
}


def encode(message: Message) -> str:
    """One line of JSON without its line end; text other than ASCII is escaped, so any pipe carries it."""
    content = {f.name: getattr(message, f.name) for f in fields(message)}
    return json.dumps({"v": PROTOCOL, "type": type(message).__name__, **_plain(content)}, allow_nan=False)


def decode(line: str | bytes) -> Message:
    """The message in a line.

    A `Log` of the line itself if it is none (a library's print, a torn line, a type of the future).
    """
    text = line.decode("utf-8", errors="replace") if isinstance(line, bytes) else line
    text = text.rstrip("\r\n")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # the latter for brackets within brackets
        return Log(text)
    if not isinstance(content, dict) or not isinstance(content.get("type"), str) or content["type"] not in _TYPES:
        return Log(text)
    kind = _TYPES[content["type"]]
    values = {}
    for f in fields(kind):
        if f.name not in content:
            continue
        value, admitted = content[f.name], _ADMITTED[str(f.type)]
        if not isinstance(value, admitted) or (isinstance(value, bool) and bool not in admitted):
            return Log(text)
        values[f.name] = tuple(value) if isinstance(value, list) else value
    try:
        message: Message = kind(**values)
    except TypeError:  # a field without default is missing
        return Log(text)
    return message


def _plain(value: Any) -> Any:
    """`value` in JSON's own types: numpy scalars as numbers, tuples as lists, numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if not isinstance(value, float) and hasattr(value, "tolist"):  # numpy and torch scalars and small arrays
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value)
