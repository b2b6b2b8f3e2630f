"""From a batch of noisy patches to one training example: levels drawn, noise of the right spectrum added, magnitude
taken if asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from C2SCore import rician
from C2SCore.augmentation import augment
from C2SCore.config import TrainConfig
from C2SCore.gdsm import draw_tau, sigma_total
from C2SCore.patches import Batch
from C2SCore.tensors import to_array, to_device, to_tensor

MARGIN = 8  # pixels cut from each side of a band-limited patch, where the filter rings
FAR = 3.0  # times sigma_d: added noise from which the spectrum of the data's own hardly matters
WHITENED = 0.5  # of the patches with so much see white noise, whatever the scan has
MAGNITUDE_FROM = 2.0  # times sigma_d: added noise from which a patch may become a magnitude
SPREAD = 1.5  # times the lowest level that a patch can have: "range" reaches at least so far above it
RANGE_TAU_MIN = 0.5  # of sigma_d: density "range" stays this far from the data, where the plain loss has no weight left


@dataclass
class Example:
    """What the loss needs. x_d (N, 1, P, P); x_t: one tensor per sign of z; aux (N, A, P, P) or None; the levels (N,),
    all in one unit and on one device.
    """

    x_d: Tensor
    x_t: list[Tensor]
    aux: Tensor | None
    sigma_d: Tensor
    sigma_tau: Tensor
    sigma_data: Tensor
    z: Tensor
    weight: Tensor | None = None  # of every pixel's residual, (N, 1, P, P)

    @property
    def sigma_t(self) -> Tensor:
        return sigma_total(self.sigma_tau, self.sigma_d)


def patch_size(config: TrainConfig) -> int:
    """Pixels to draw, so that `config.patch` are left."""
    return config.patch + (2 * MARGIN if config.noise.band_limited > 0 else 0)


def coloured(power: Tensor, generator: torch.Generator, count: int = 1) -> list[Tensor]:
    """`count` draws of Gaussian noise (N, 1, P, P) of unit variance with the spectrum `power` (N, P, P), mean 1, on the
    FFT grid; on the device of `power` and `generator`.

    White noise in k-space, complex, shaped there: real and imaginary part of its transform are two draws.
    """
    drawn: list[Tensor] = []
    amplitude = power.sqrt()
    for _ in range((count + 1) // 2):
        white = torch.randn((*power.shape, 2), generator=generator, device=power.device)
        both = torch.fft.ifft2(torch.view_as_complex(white) * amplitude, norm="ortho")
        drawn += [both.real[:, None], both.imag[:, None]]
    return drawn[:count]


def product(factors: Tensor) -> Tensor:
    """Of factors along rows and columns, (N, 2, P): (N, P, P)."""
    return factors[:, 0, :, None] * factors[:, 1, None, :]


def make_example(batch: Batch, config: TrainConfig, rng: np.random.Generator, generator: torch.Generator) -> Example:
    """Vary and corrupt one batch as the recipe says."""
    return corrupted(augment(batch, config, rng), config, rng, generator)


def corrupted(batch: Batch, config: TrainConfig, rng: np.random.Generator, generator: torch.Generator) -> Example:
    """Corrupt one varied batch, on the device of `generator`. Its unit: the tissue signal; for stabilised magnitudes,
    sigma_t.
    """
    device = generator.device
    x, contrasts, profiles = (to_device(v, device) for v in (batch.x, batch.contrasts, batch.profiles))
    power = product(profiles)
    # Whatever is one number for each patch stays on the processor, where rows are chosen, until the end.
    sigma_d, sigma_data = to_tensor(batch.sigma_d), to_tensor(batch.sigma_data)
    n, channels = x.shape[:2]
    gain = None if batch.window is None else product(to_device(batch.window, device))
    if gain is not None:
        x, contrasts = _filtered(torch.cat([x, contrasts], dim=1), gain).split([channels, contrasts.shape[1]], dim=1)
    wide = config.levels.density == "range"
    sigma_tau = _draw_levels(sigma_d, config, rng, generator)
    if wide:
        free = _chosen((rng.random(n) < WHITENED) & to_array(sigma_tau > FAR * sigma_d).astype(bool), device)
        power[free] = 1 if gain is None else (gain.square() / gain.square().mean(dim=(1, 2), keepdim=True))[free]
    crop = slice(MARGIN, -MARGIN) if gain is not None else slice(None)
    noises = [noise[..., crop, crop] for noise in coloured(power, generator, 2 * channels if wide else 1)]
    x, contrasts = x[..., crop, crop], contrasts[..., crop, crop]
    x_d, near, z = x[:, :1], x[:, 1:], noises[0]
    tau = sigma_tau.to(device, non_blocking=True).reshape(-1, 1, 1, 1)
    signs = (1.0, -1.0) if config.loss.antithetic else (1.0,)
    x_t = [x_d + sign * tau * z for sign in signs]
    if wide and near.shape[1]:
        # The model will meet scans whose every slice is at sigma_t. An absent neighbour stays absent.
        present = (near != 0).flatten(2).any(dim=2)[:, :, None, None]
        near = torch.where(present, near + tau * torch.cat(noises[1:channels], dim=1), near)
    weight = None
    if wide and config.noise.rician > 0:
        quiet = to_array(sigma_tau) > MAGNITUDE_FROM * to_array(sigma_d)
        chosen = np.flatnonzero((rng.random(n) < config.noise.rician) & quiet)
        if chosen.size:
            x_d, x_t, near, sigma_d, sigma_tau, sigma_data, slope = _as_magnitude(
                chosen, x, noises, signs, x_d, x_t, near, sigma_d, sigma_tau, sigma_data
            )
            weight = slope.clamp(1, config.noise.rician_weight)
    keep = batch.near & (rng.random(n) >= config.neighbour_dropout)
    near = near * to_device(keep, device).reshape(-1, 1, 1, 1)
    aux = torch.cat([near, contrasts], dim=1)
    sigma_d, sigma_tau, sigma_data = (v.to(device, non_blocking=True) for v in (sigma_d, sigma_tau, sigma_data))
    return Example(x_d, x_t, aux if aux.shape[1] else None, sigma_d, sigma_tau, sigma_data, z, weight)


def _filtered(images: Tensor, gain: Tensor) -> Tensor:
    """Images (N, C, P, P) under the windows `gain` (N, P, P), even in both frequencies."""
    side = images.shape[-1]
    return torch.fft.irfft2(torch.fft.rfft2(images) * gain[:, None, :, : side // 2 + 1], s=(side, side))


def _chosen(rows: np.ndarray, device: torch.device) -> Tensor:
    """Where `rows` (N,) is true, as indices: a mask would make a GPU wait."""
    return torch.tensor(np.flatnonzero(rows).tolist(), dtype=torch.long).to(device)


def _draw_levels(sigma_d: Tensor, config: TrainConfig, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    levels = config.levels
    if levels.density == "uniform":
        return draw_tau(sigma_d.shape[0], sigma_d, levels.tau_min, levels.tau_max, generator)
    low = torch.clamp(sigma_d * (1 + RANGE_TAU_MIN**2) ** 0.5, min=levels.sigma_range[0])
    high = torch.clamp(SPREAD * low, min=levels.sigma_range[1])
    u = to_tensor(rng.random(sigma_d.shape[0]).astype(np.float32))
    sigma_t = low * (high / low) ** u
    return (sigma_t.square() - sigma_d.square()).clamp(min=1e-12).sqrt()


def _as_magnitude(
    chosen: np.ndarray,
    x: Tensor,
    noises: list[Tensor],
    signs: tuple[float, ...],
    x_d: Tensor,
    x_t: list[Tensor],
    near: Tensor,
    sigma_d: Tensor,
    sigma_tau: Tensor,
    sigma_data: Tensor,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The chosen rows again as stabilised magnitudes, in units of sigma_t; last, by how much the inverse transform
    magnifies an error in every pixel (N, 1, P, P), 1 in the other rows.

    |x_d + sigma_tau (z_1 + i z_2)| of a magnitude x_d with Rician noise sigma_d is Rician with sigma_t, since complex
    noise has no preferred phase. f(. / sigma_t) makes its deviation 1, and x_d / sigma_t seen through E[f] has at most
    sigma_d / sigma_t, at strong signal just that: levels 1 and sigma_d / sigma_t enter gamma and delta, exact where
    sigma_d << sigma_t, which is where this is used.
    """
    device = x.device
    own = torch.tensor(chosen.tolist())
    unit = sigma_total(sigma_tau, sigma_d)[own]
    rows, s, tau = (
        own.to(device),
        *(v.to(device, non_blocking=True).reshape(-1, 1, 1, 1) for v in (unit, sigma_tau[own])),
    )
    clean, channels = x[rows].clamp(min=0), x.shape[1]
    stable = []
    for sign in signs:
        real = torch.cat([sign * noises[0][rows]] + [noise[rows] for noise in noises[1:channels]], dim=1)
        imaginary = torch.cat(
            [sign * noises[channels][rows]] + [noise[rows] for noise in noises[channels + 1 :]], dim=1
        )
        magnitude = torch.sqrt((clean + tau * real).square() + (tau * imaginary).square()) / s
        stable.append(rician.stabilise(magnitude))
    signal = clean[:, :1] / s
    x_d, near, slope = x_d.clone(), near.clone(), torch.ones_like(x_d)
    x_d[rows], slope[rows] = rician.expected(signal), rician.inverse_slope(signal)
    x_t = [v.clone() for v in x_t]
    for v, new in zip(x_t, stable):
        v[rows] = new[:, :1]
    if near.shape[1]:
        present = (near[rows] != 0).flatten(2).any(dim=2)[:, :, None, None]
        near[rows] = torch.where(present, stable[0][:, 1:], near[rows])
    sigma_d, sigma_tau, sigma_data = sigma_d.clone(), sigma_tau.clone(), sigma_data.clone()
    for level in (sigma_d, sigma_tau, sigma_data):
        level[own] /= unit
    return x_d, x_t, near, sigma_d, sigma_tau, sigma_data, slope
