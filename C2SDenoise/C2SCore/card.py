"""The model card, and where models live: read without torch, so that a user interface can list models at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from C2SCore.errors import UserError

FORMAT_VERSION = 1
LEAST, MOST = 0.5, 1.2  # times the ends of the range of noise that a model has learnt: beyond, it is said
_HEADER_LIMIT = 100 * 2**20  # the safetensors format's own limit


@dataclass(frozen=True)
class Card:
    """What a model saw, what it expects and how good it is.

    `sigma_range` is in units of the signal (sigma / tissue median); `network` holds what rebuilds the network; `config`
    the recipe; `quality` the measured figures.
    """

    name: str
    description: str = ""
    contrasts: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()  # names of the contrasts that must be given beside the scan, in order
    neighbours: int = 0  # slices above and below that are read
    trained_on: tuple[str, ...] = ()
    slices: int = 0
    sigma_range: tuple[float, float] = (0.0, 0.0)
    intensity_range: tuple[float, float] = (0.0, 0.0)  # of the training scans, for the record: scale does not matter
    noise: str = ""
    loss: str = ""
    anatomy: str = ""
    licence: str = ""
    attribution: str = ""
    note: str = ""
    date: str = ""
    parameters: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def unlike(self, ratio: float) -> str:
        """Whether noise of `ratio`, sigma over the signal, is clearly "less" or "more" than the model has learnt; empty
        where it is not, or where the card does not say.
        """
        low, high = self.sigma_range
        return "" if high <= 0 else "less" if ratio < LEAST * low else "more" if ratio > MOST * high else ""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, path: object = "the model") -> Card:
        """Parse a card; fields of a later minor version are ignored, strange values made fitting, a later format is
        refused.
        """
        try:
            values = json.loads(text)
            version = int(values.get("format_version", 0))
            if version > FORMAT_VERSION:
                raise UserError(
                    f"{path} has model format {version}; this program reads up to {FORMAT_VERSION}. Update the program."
                )
            kinds = {f.name: str(f.type) for f in dataclasses.fields(cls)}
            return cls(**{k: _fitting(k, kinds[k], v) for k, v in values.items() if k in kinds})
        except UserError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} has no readable model card ({error}); it must be made by this program. Export the model again."
            ) from error


def _fitting(name: str, kind: str, value: Any) -> Any:
    """The value of a field as its kind: one odd card must not keep a list of models from being shown."""
    if kind == "str":
        return "" if value is None else str(value)
    if kind == "tuple[str, ...]":
        return tuple(map(str, value if isinstance(value, list) else [value]))
    try:
        if kind == "int":
            return int(value)
        if kind == "tuple[float, float]":
            low, high = map(float, value)
            return low, high
        return dict(value)
    except (TypeError, ValueError, OverflowError):
        return getattr(Card, name, {})  # as if it were not there


def weights_digest(payload: memoryview | bytes) -> str:
    """SHA-256 of the tensors' bytes: a file whose weights were edited or damaged is refused."""
    return hashlib.sha256(payload).hexdigest()


def read_header(path: str | Path) -> tuple[dict[str, Any], int]:
    """Header of a safetensors file and the offset of its tensors; raises `UserError` if it is none or cut short."""
    path = Path(path)
    advice = "It must be a complete .safetensors model of this program. Copy or export it again."
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
                raise UserError(f"{path} is a pickle or zip archive, which could run code when loaded. {advice}")
            if len(start) < 8:
                raise UserError(f"{path} has {size} bytes and is no model. {advice}")
            (length,) = struct.unpack("<Q", start)
            if not 2 <= length <= min(size - 8, _HEADER_LIMIT):
                raise UserError(f"{path} is not a safetensors file, or is cut short. {advice}")
            header = json.loads(file.read(length).decode("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}). {advice}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path} has a damaged header ({error}). {advice}") from error
    try:
        ends = [int(t["data_offsets"][1]) for k, t in header.items() if k != "__metadata__"]
        header["__metadata__"] = dict(header.get("__metadata__") or {})
    except (AttributeError, TypeError, KeyError, IndexError, ValueError) as error:
        raise UserError(f"{path} has a damaged header. {advice}") from error
    if size != 8 + length + max(ends, default=0):
        raise UserError(
            f"{path} has {size} bytes, but its header speaks of {8 + length + max(ends, default=0)}: "
            f"it is cut short or edited. {advice}"
        )
    return header, 8 + length


def read_card(path: str | Path) -> Card:
    """The card inside a model file, from its header alone."""
    header, _ = read_header(path)
    return card_of(header, path)


def card_of(header: dict[str, Any], path: str | Path) -> Card:
    """The card in the header of a model file."""
    metadata = header["__metadata__"]
    if "card" not in metadata:
        raise UserError(
            f"{path} has no model card, so it is not a model of this program. Choose a model made by `c2s train`."
        )
    return Card.from_json(metadata["card"], path)


def resources_folder() -> Path:
    """Folder with `Models/` and `Presets/`: in the source tree, beside the installed modules, or inside the wheel."""
    here = Path(__file__).resolve().parent
    override = os.environ.get("C2S_RESOURCES")
    candidates = [Path(override)] if override else []
    candidates += [here.parent.parent / "Resources", here.parent / "Resources", here / "resources"]
    for folder in candidates:
        if (folder / "Presets").is_dir():
            return folder
    raise UserError(
        f"The folder Resources/Presets is missing beside {here}; the installation is incomplete. "
        "Install the program again."
    )


def models_folder() -> Path:
    """Per-user folder of own models (environment variable C2S_MODELS_DIR overrides it); it may not exist yet."""
    override = os.environ.get("C2S_MODELS_DIR")
    if override:
        return Path(override)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "C2SDenoise" / "models"


@dataclass(frozen=True)
class ModelEntry:
    """One model that can be chosen."""

    name: str
    path: Path
    card: Card
    bundled: bool


def list_models() -> list[ModelEntry]:
    """Bundled and own models, `default` first; files that are no models are left out."""
    entries = []
    for folder, bundled in ((resources_folder() / "Models", True), (models_folder(), False)):
        for path in sorted(folder.glob("[!.]*.safetensors")) if folder.is_dir() else []:
            try:
                entries.append(ModelEntry(path.stem, path, read_card(path), bundled))
            except UserError:
                continue
    return sorted(entries, key=lambda e: (e.name != "default", not e.bundled, e.name.lower()))


def bundled_names() -> list[str]:
    """The names of the models that come with the program; no other model can have them."""
    return sorted(path.stem for path in (resources_folder() / "Models").glob("*.safetensors"))


def find_model(name: str | Path) -> Path:
    """Path of a model given its name or a file; raises `UserError` with the names that there are.

    The name of a bundled model is that model, whatever lies in the current folder.
    """
    path = Path(name)
    if path.suffix == ".safetensors" or (path.is_file() and str(name) not in bundled_names()):
        if not path.is_file():
            raise UserError(f"The model file {path} does not exist. Check the path.")
        return path
    entries = list_models()
    for entry in entries:
        if entry.name == str(name):
            return entry.path
    raise UserError(
        f"There is no model {str(name)!r}; known: {', '.join(e.name for e in entries) or 'none'}. "
        "Choose one, or give a file."
    )


def check_name(name: str) -> str:
    """A model name that is a valid file name on every system; raises `UserError` otherwise."""
    reserved = re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", name.split(".")[0].strip().lower())  # by Windows
    if not re.fullmatch(r"[\w][\w .+-]{0,79}", name) or name.endswith((".", " ")) or reserved:
        raise UserError(
            f"The model name is {name!r}; it may have letters, digits, space, '.', '+', '-', '_' and "
            "at most 80 of them, and be no device of Windows (such as NUL). Choose another."
        )
    return name
