"""How much noise a model leaves in scans of which no clean version is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from C2SCore.corruption import coloured
from C2SCore.denoiser import Denoiser
from C2SCore.gdsm import sure
from C2SCore.patches import Case, PatchSampler
from C2SCore.tensors import to_tensor

PATCHES, PATCH, DRAWS = 32, 96, 2  # patches of at most so many pixels; draws: probes of the divergence for each


def noise_left(
    denoiser: Denoiser, cases: Sequence[Case], held: Sequence[tuple[int, int]], device: torch.device, seed: int = 0
) -> float:
    """Mean |h(x_d) - x_0|^2 over the noise variance, on slices held back: 1 is the noisy scan, 0 is perfect.

    `cases` are prepared; `held` are (case, slice) pairs, all slices if empty. Estimated by Monte-Carlo SURE
    (`gdsm.sure`) with noise of each scan's own spectrum, on patches that are the same for every model of one seed.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    smallest = min(min(case.target.shape[1:]) for case in cases)
    sampler = PatchSampler(
        cases, min(PATCH, max(smallest // 8 * 8, 16)), denoiser.neighbours, held, bool(held), background=0.0
    )
    batch = sampler.draw(PATCHES, rng)
    x, sigma, sigma_data = to_tensor(batch.x), to_tensor(batch.sigma_d), to_tensor(batch.sigma_data)
    near = x[:, 1:] * to_tensor(batch.near.astype(np.float32)).reshape(-1, 1, 1, 1)
    aux = torch.cat([near, to_tensor(batch.contrasts)], dim=1) if denoiser.contrasts else near
    given = aux.to(device) if aux.shape[1] else None
    level, spread = sigma.to(device), sigma_data.to(device)

    def h(values: Tensor) -> Tensor:
        with torch.no_grad():
            return denoiser(values.to(device), level, given, spread).float().cpu()

    left = [sure(h, x[:, :1], sigma, coloured(to_tensor(batch.power), generator)) for _ in range(DRAWS)]
    return float((torch.stack(left).mean(dim=0) / sigma.square()).mean())
