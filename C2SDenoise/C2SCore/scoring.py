"""How much noise a method leaves in scans of which no clean version is known.

Monte-Carlo SURE (`gdsm.sure`) with noise of each scan's own spectrum, on patches of slices that were held back, where
there is tissue: in air every method does well. The patches are the same for every method. What is left is given as a
share of the noise variance: 1 is the noisy scan, 0 is perfect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from C2SCore.corruption import coloured, product
from C2SCore.denoiser import Denoiser
from C2SCore.gdsm import sure
from C2SCore.patches import Batch, Case, PatchSampler
from C2SCore.tensors import to_array, to_tensor
from C2SCore.tissue import box_mean

PATCHES, PATCH, DRAWS = 32, 96, 2  # patches of at most so many pixels; draws: probes of the divergence for each
SEED = 0
FEWEST = 4  # patches that a slow method is tried on, whatever the time
TISSUE = 0.3  # of the tissue's median, smoothed over SMOOTH pixels, from where on a pixel counts
SMOOTH = 5
LEAST = 0.05  # of a patch that must be tissue, else all of it counts
STEP = 0.1  # of sigma, for methods with thresholds, which have no derivative in the small


def noise_left(
    denoiser: Denoiser, cases: Sequence[Case], held: Sequence[tuple[int, int]], device: torch.device
) -> np.ndarray:
    """|h(x_d) - x_0|^2 over the noise variance on each of the PATCHES, (PATCHES,).

    `cases` are prepared; `held` are (case, slice) pairs, all slices if empty.
    """
    batch = _drawn(cases, held, denoiser.neighbours)
    x, sigma, sigma_data = to_tensor(batch.x), to_tensor(batch.sigma_d), to_tensor(batch.sigma_data)
    near = x[:, 1:] * to_tensor(batch.near.astype(np.float32)).reshape(-1, 1, 1, 1)
    aux = torch.cat([near, to_tensor(batch.contrasts)], dim=1) if denoiser.contrasts else near
    given = aux.to(device) if aux.shape[1] else None
    level, spread = sigma.to(device), sigma_data.to(device)

    def h(values: Tensor) -> Tensor:
        with torch.no_grad():
            return denoiser(values.to(device), level, given, spread).float().cpu()

    generator, tissue = torch.Generator().manual_seed(SEED), _tissue(batch)
    probes = coloured(product(to_tensor(batch.profiles)), generator, DRAWS)
    left = [sure(h, x[:, :1], sigma, probe, weight=tissue) for probe in probes]
    return to_array(torch.stack(left).mean(dim=0) / sigma.square())


def noise_left_by(
    method: Callable[[np.ndarray, float], np.ndarray],
    cases: Sequence[Case],
    held: Sequence[tuple[int, int]],
    seconds: float,
    check: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """The same for a method that makes an image (J, I) from an image and its sigma, on the first of the same patches.

    (n,): as many as `seconds` allow, at least FEWEST, at most PATCHES. `check` is called before each and may raise.
    """
    batch = _drawn(cases, held, 0)
    generator, tissue = torch.Generator().manual_seed(SEED), _tissue(batch)
    (probes,) = coloured(product(to_tensor(batch.profiles)), generator)
    began, left = time.monotonic(), list[float]()
    for n, sigma in enumerate(batch.sigma_d):
        if n >= FEWEST and time.monotonic() - began > seconds:
            break
        check()
        one = slice(n, n + 1)
        left.append(_left(method, to_tensor(batch.x[one, :1]), float(sigma), probes[one], tissue[one]))
    return np.array(left)


def _left(
    method: Callable[[np.ndarray, float], np.ndarray], x: Tensor, sigma: float, probe: Tensor, weight: Tensor
) -> float:
    def h(values: Tensor) -> Tensor:
        return to_tensor(method(to_array(values[0, 0]), sigma))[None, None]

    return float(sure(h, x, torch.tensor([sigma]), probe, STEP, weight)) / sigma**2


def _tissue(batch: Batch) -> Tensor:
    """Weight of every pixel, (N, 1, P, P): the same for all tissue, 0 elsewhere, a mean of 1 in each patch."""
    inside = (box_mean(np.abs(batch.x[:, 0]), SMOOTH) > TISSUE).astype(np.float32)
    share = inside.mean(axis=(1, 2), keepdims=True)
    return to_tensor(np.where(share < LEAST, 1, inside / np.maximum(share, LEAST)).astype(np.float32))[:, None]


def _drawn(cases: Sequence[Case], held: Sequence[tuple[int, int]], neighbours: int) -> Batch:
    """The patches; which they are does not depend on `neighbours`."""
    smallest = min(min(case.target.shape[1:]) for case in cases)
    side = min(PATCH, max(smallest // 8 * 8, 16))
    sampler = PatchSampler(cases, side, neighbours, held, bool(held), background=0.0)
    return sampler.draw(PATCHES, np.random.default_rng(SEED))
