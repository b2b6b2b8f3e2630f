"""Which device computes, and in which precision."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from functools import cache

import torch

from C2SCore.errors import UserError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes the first of cuda, mps, cpu that works. Raises `UserError` for one that is
    not there.
    """
    device = _found() if name == "auto" else _named(name)
    if device.type == "cuda":
        # What is to be float32 must be: of a bright pixel, TF32 would round away a tenth of sigma.
        torch.backends.cudnn.allow_tf32 = False
    return device


def _found() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _named(name: str) -> torch.device:
    if name.split(":")[0] not in DEVICES:
        raise UserError(
            f"The device is {name!r}; it must be one of {', '.join(DEVICES)}. Choose 'auto' to take "
            "the best that is there."
        )
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"The device is {name!r}, but PyTorch {torch.__version__} sees no CUDA GPU here. Choose 'auto' or 'cpu'."
        )
    if name.startswith("mps") and not torch.backends.mps.is_available():
        raise UserError(
            "The device is 'mps', but this is no Mac with a GPU that PyTorch can use. Choose 'auto' or 'cpu'."
        )
    return torch.device(name)


@cache
def fast_bfloat16(kind: str) -> bool:
    """Whether a kind of device computes convolutions faster in bfloat16 than in float32."""
    if kind == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8  # older ones emulate it, slowly
    if kind == "cpu":
        # Only processors with bfloat16 instructions gain; the queries are younger than the oldest torch supported.
        queries = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
        return any(query() for query in queries if query is not None)
    return False


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager[object]:
    """Context in which a network runs: bfloat16 where that is faster, unless `precision` is "float32"."""
    if precision == "float32" or not fast_bfloat16(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
