"""What a training minimises, and what it is validated by: the recipe's loss on patches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from C2SCore.config import TrainConfig
from C2SCore.corruption import Example, make_example, patch_size
from C2SCore.denoiser import Denoiser
from C2SCore.device import autocast
from C2SCore.gdsm import loss_floor, residual_loss
from C2SCore.patches import Case, PatchSampler

VALIDATION_PATCHES = 48


def recipe_loss(denoiser: Denoiser, example: Example, config: TrainConfig, device: torch.device) -> Tensor:
    """The recipe's loss per image (N,), less what no network can remove; both signs in one pass through the network."""
    signs = len(example.x_t)
    x_t = torch.cat(example.x_t).to(device)
    sigma_t, sigma_data = example.sigma_t.to(device).repeat(signs), example.sigma_data.to(device).repeat(signs)
    aux = None if example.aux is None else example.aux.to(device).repeat(signs, 1, 1, 1)
    with autocast(device, config.precision):
        estimates = denoiser(x_t, sigma_t, aux, sigma_data)
    x_d, sigma_d, sigma_tau = example.x_d.to(device), example.sigma_d.to(device), example.sigma_tau.to(device)
    parts = [
        residual_loss(
            estimate.float(),
            corrupted,
            x_d,
            sigma_d,
            sigma_tau,
            sigma_target=config.loss.sigma_target * sigma_d,
            alpha=config.loss.alpha,
            normalised=config.loss.form == "normalised",
            weight=None if example.weight is None else example.weight.to(device),
        )
        for estimate, corrupted in zip(estimates.chunk(signs), x_t.chunk(signs))
    ]
    loss = torch.stack(parts).mean(dim=0)
    if config.loss.form != "normalised" or signs == 1:
        return loss
    # Its gradient is 0, but it changes from draw to draw by more than a training gains: curves would not show that.
    target = config.loss.sigma_target * example.sigma_d
    return loss - loss_floor(example.sigma_d, example.sigma_tau, example.z, target, config.loss.alpha).to(loss.device)


def validation_set(cases: Sequence[Case], config: TrainConfig, held: Sequence[tuple[int, int]]) -> list[Example]:
    """Fixed examples from the slices held back; with too few slices to hold any back, from all, with noise never
    trained on.
    """
    rng = np.random.default_rng(config.seed + 1)
    generator = torch.Generator().manual_seed(config.seed + 1)
    sampler = PatchSampler(cases, config.patch, config.neighbours, held, bool(held), config.background)
    draws = math.ceil(VALIDATION_PATCHES / config.batch)
    return [
        make_example(sampler.draw(config.batch, rng, patch_size(config)), config, rng, generator) for _ in range(draws)
    ]
