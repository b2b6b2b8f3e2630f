"""The transform of `rician` on tensors of any device, for training: linear between the entries of its even tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from C2SCore import rician
from C2SCore.tensors import to_tensor


def stabilise(m: Tensor) -> Tensor:
    """f(m): m >= 0 in units of sigma."""
    table = _table(rician.stabilise, m.device)
    return _between(m, table, table[-1] + m - rician.GRID_END)


def expected(nu: Tensor) -> Tensor:
    """E[f(m) | nu], nu >= 0 in units of sigma."""
    table = _table(rician.expected, nu.device)
    return _between(nu, table, table[-1] + nu - rician.GRID_END)


def inverse_slope(nu: Tensor) -> Tensor:
    """The slope of the inverse transform where the signal is nu >= 0, in units of sigma."""
    return _between(nu, _table(_slope, nu.device), torch.ones_like(nu))


def _slope(nu: np.ndarray) -> np.ndarray:
    return rician.invert_slope(rician.expected(nu))


@lru_cache(maxsize=8)
def _table(function: Callable[[np.ndarray], np.ndarray], device: torch.device) -> Tensor:
    return to_tensor(function(rician.grid())).to(device)


def _between(values: Tensor, table: Tensor, beyond: Tensor) -> Tensor:
    """`table`, given on `rician.grid()`, at `values`; `beyond` where the grid has ended."""
    place = (values / rician.STEP).clamp(max=len(table) - 1)
    below = place.floor().clamp(max=len(table) - 2)
    index = below.long()
    return torch.where(values < rician.GRID_END, torch.lerp(table[index], table[index + 1], place - below), beyond)
