"""Models on disk: weights and card in one safetensors file. Nothing pickled is ever read."""

from __future__ import annotations

import dataclasses
import datetime
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from C2SCore import __version__
from C2SCore.card import (
    Card,
    ModelEntry,
    card_of,
    check_name,
    find_model,
    list_models,
    models_folder,
    read_header,
    weights_digest,
)
from C2SCore.denoiser import Denoiser, on_device
from C2SCore.errors import UserError
from C2SCore.network import SIZES
from C2SCore.runfolder import SUFFIX, run_folder
from C2SCore.trainrecord import Record
from C2SCore.writing import atomic, copy

__all__ = ["Model", "export_model", "import_model", "list_models", "load", "remove_model", "save"]


@dataclass(frozen=True)
class Model:
    """A denoiser ready for use, with its card."""

    denoiser: Denoiser
    card: Card


def network_facts(denoiser: Denoiser) -> dict[str, object]:
    """What rebuilds the network of a denoiser."""
    return {"size": denoiser.size, "neighbours": denoiser.neighbours, "contrasts": denoiser.contrasts}


def complete_card(card: Card, denoiser: Denoiser) -> Card:
    """The card with what the weights say of themselves: network, parameters, versions, date."""
    return dataclasses.replace(
        card,
        network=network_facts(denoiser),
        neighbours=denoiser.neighbours,
        parameters=sum(p.numel() for p in denoiser.parameters()),
        versions={"C2SDenoise": __version__, "torch": torch.__version__, "python": platform.python_version()},
        date=card.date or datetime.date.today().isoformat(),
    )


def save(
    path: str | Path,
    denoiser: Denoiser,
    card: Card,
    weights: Mapping[str, Tensor] | None = None,
    advice: str = "Free some space, or choose another place.",
) -> Path:
    """Write a model file under a temporary name, then rename it. `weights` (an EMA) replace the denoiser's own.

    Raises `UserError` with the `advice` where there is no room for it.
    """
    path = Path(path)
    tensors = {
        name: t.detach().to("cpu", torch.float32).contiguous() for name, t in (weights or denoiser.state_dict()).items()
    }
    card = complete_card(card, denoiser)
    payload = safetensors.torch.save(tensors)
    length = int.from_bytes(payload[:8], "little")
    metadata = {"card": card.to_json(), "sha256": weights_digest(memoryview(payload)[8 + length :])}
    try:
        with atomic(path, path.suffix) as temporary:
            temporary.write_bytes(safetensors.torch.save(tensors, metadata))
    except OSError as error:
        raise UserError(
            f"The model {path} cannot be written ({error.strerror or error}); the disk must have room for it. {advice}"
        ) from error
    return path


def load(name: str | Path = "default", device: str | torch.device = "cpu") -> Model:
    """Load a model by name or file; raises `UserError` for a file that is cut short, edited, pickled or of a newer
    format.
    """
    path = find_model(name)
    header, offset = read_header(path)
    card = card_of(header, path)
    data = path.read_bytes()
    if weights_digest(memoryview(data)[offset:]) != header["__metadata__"].get("sha256"):
        raise UserError(
            f"The weights in {path} are not those that were saved: the file was edited or damaged. "
            "Copy or export it again."
        )
    facts = card.network
    if facts.get("size") not in SIZES:
        raise UserError(
            f"{path} has a network of size {facts.get('size')!r}; this program knows {', '.join(SIZES)}. "
            "Update the program."
        )
    denoiser = Denoiser(str(facts["size"]), int(facts.get("neighbours", 0)), int(facts.get("contrasts", 0)))
    try:
        denoiser.load_state_dict(safetensors.torch.load(data))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise UserError(
            f"The weights in {path} do not fit the network on its card "
            f"({str(error).splitlines()[0]}). Export the model again."
        ) from error
    return Model(on_device(denoiser, device).eval().requires_grad_(False), card)


def import_model(path: str | Path, name: str | None = None) -> ModelEntry:
    """Copy a model, a file or one by name, into the per-user folder, after loading it as a check; an existing name is
    refused.
    """
    path = find_model(path)
    model = load(path)
    name = check_name((name or path.stem).removesuffix(".safetensors"))
    target = models_folder() / f"{name}.safetensors"
    if any(entry.name.casefold() == name.casefold() for entry in list_models()):  # one file on many systems
        raise UserError(
            f"There is a model {name!r} already; names are unique. Give another name, or remove that model first."
        )
    if run_folder(target).exists():  # resumed, it would overwrite the import
        raise UserError(
            f"There is a training {name!r} already; names are unique. Give another name, or remove that training with "
            f"`c2s models remove {name}`."
        )
    copy(path, target)
    return ModelEntry(name, target, model.card, bundled=False)


def export_model(name: str | Path, path: str | Path) -> Path:
    """Copy a model to one file that can be shared; a folder keeps the model's file name."""
    source, target = find_model(name), Path(path)
    load(source)
    if target.is_dir():
        target = target / source.name
    if target.suffix != ".safetensors":
        target = target.with_name(target.name + ".safetensors")
    copy(source, target)
    return target


def remove_model(name: str) -> Path:
    """Delete an own model and what its training has kept, or a training that made none; bundled ones cannot be removed.

    Raises `UserError` while the training goes on.
    """
    own = {entry.name: entry.path for entry in list_models() if not entry.bundled}
    trainings = {path.stem: path for path in sorted(models_folder().glob(f"*{SUFFIX}")) if path.is_dir()}
    if name not in own and name not in trainings:
        raise UserError(
            f"{name!r} is none of your own models ({', '.join(own | trainings) or 'there are none'}); bundled ones "
            "stay. Choose one of these."
        )
    removed = own.get(name) or trainings[name]
    Record(models_folder() / f"{name}.safetensors").discard()  # first: it refuses while the training goes on
    if name in own:
        removed.unlink()
    return removed
