"""One slice during training: source, current result, what is removed."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch

from C2SCore.denoiser import Denoiser
from C2SCore.device import autocast
from C2SCore.errors import UserError
from C2SCore.patches import Case
from C2SCore.tensors import to_array, to_tensor
from C2SCore.writing import atomic


def slice_inputs(volume: np.ndarray, k: int, neighbours: int, use_neighbours: bool) -> list[np.ndarray]:
    """The slice and its neighbours (zeros where there is none, or where they may not be used), each (J, I)."""
    planes = [np.asarray(volume[k], dtype=np.float32)]
    for d in (-1, 1) if neighbours else ():
        inside = use_neighbours and 0 <= k + d < len(volume)
        planes.append(np.asarray(volume[k + d], dtype=np.float32) if inside else np.zeros_like(planes[0]))
    return planes


def write_preview(path: Path, denoiser: Denoiser, case: Case, k: int, device: torch.device) -> Path:
    """Write (3, J, I) float32 in the scan's unit, under a temporary name first; returns `path`."""
    planes = slice_inputs(case.target, k, denoiser.neighbours, case.independent_slices)
    contrasts = [np.asarray(a[k], dtype=np.float32) / scale for a, scale in zip(case.auxiliary, case.scales)]
    stack = to_tensor(np.stack(planes + contrasts))[None].to(device)
    sigma = torch.tensor([float(case.sigmas[k])], device=device)
    with torch.no_grad(), autocast(device):
        estimate = denoiser(stack[:, :1], sigma, stack[:, 1:] if stack.shape[1] > 1 else None)
    result = to_array(estimate[0, 0])
    # Windows does not replace a file that is being read just now, and a disk may be full: the next preview comes soon.
    with contextlib.suppress(OSError, UserError), atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack([planes[0], result, planes[0] - result]))
    return path
