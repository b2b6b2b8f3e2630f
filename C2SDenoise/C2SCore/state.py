"""The state of a training between two runs: tensors in safetensors with the rest as JSON metadata, one file, replaced
as a whole.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from C2SCore.errors import UserError
from C2SCore.writing import atomic

State = tuple[dict[str, dict[str, Tensor]], dict[str, Any]]  # groups of tensors, and facts


def save_state(path: Path, groups: dict[str, dict[str, Tensor]], facts: dict[str, Any]) -> None:
    """Write named groups of tensors and JSON-able facts; under a temporary name first, so that a full disk costs
    nothing but a `UserError`.
    """
    tensors = {
        f"{group}/{name}": t.detach().to("cpu").contiguous().clone()
        for group, members in groups.items()
        for name, t in members.items()
    }
    try:
        with atomic(path, path.suffix) as temporary:
            temporary.write_bytes(safetensors.torch.save(tensors, {"facts": json.dumps(facts)}))
    except OSError as error:
        way = "resume: the last good one is intact" if path.exists() else "start again: there is no earlier one"
        raise UserError(
            f"The checkpoint {path} cannot be written ({error.strerror}); the disk must have room for it. Free some "
            f"space and {way}."
        ) from error


def load_state(path: Path) -> State:
    """Inverse of `save_state`; raises `UserError` for a file that cannot be read."""
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
        groups: dict[str, dict[str, Tensor]] = {}
        # Not from `file`, whose tensors are the file itself: Windows would refuse to replace it at the next checkpoint.
        for key, value in safetensors.torch.load(path.read_bytes()).items():
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = value
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(
            f"The checkpoint {path} cannot be read ({error}). Remove its folder to start the training again."
        ) from error
    return groups, facts


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments and step counts as flat names."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}/{name}": torch.as_tensor(value) for index, members in state.items() for name, value in members.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`, for an optimizer over the same parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:  # a moment: in the parameter's order in memory, which a fused step relies on
            value = torch.empty_like(parameter, device="cpu", requires_grad=False).copy_(value)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
