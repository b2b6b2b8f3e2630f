"""From a batch of noisy patches to one training example: levels drawn, noise of the right spectrum added, magnitude
taken if asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from C2SCore import rician
from C2SCore.config import TrainConfig
from C2SCore.gdsm import draw_tau, sigma_total
from C2SCore.lesions import add_lesions
from C2SCore.patches import Batch
from C2SCore.tensors import to_array, to_tensor

MARGIN = 8  # pixels cut from each side of a band-limited patch, where the filter rings
SOFT = 0.5  # of the band-limited patches are apodised, too
RANGE_TAU_MIN = 0.5  # of sigma_d: density "range" stays this far from the data, where the plain loss has no weight left


@dataclass
class Example:
    """What the loss needs. x_d (N, 1, P, P); x_t: one tensor per sign of z; aux (N, A, P, P) or None; the levels (N,),
    all in one unit.
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


def coloured(power: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise (N, 1, P, P) of unit variance with the spectrum `power` (N, P, P), mean 1, on the FFT grid."""
    white = torch.randn(power.shape, generator=generator)
    return torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real[:, None]


def make_example(batch: Batch, config: TrainConfig, rng: np.random.Generator, generator: torch.Generator) -> Example:
    """Corrupt one batch as the recipe says. Its unit: the tissue signal; for stabilised magnitudes, sigma_t."""
    given = batch.x, batch.contrasts
    if config.lesions > 0:
        given = add_lesions(*given, config.lesions, rng)
    x, contrasts = (to_tensor(v) for v in given)
    sigma_d, sigma_data, power = to_tensor(batch.sigma_d), to_tensor(batch.sigma_data), to_tensor(batch.power)
    n = x.shape[0]
    if config.contrast_jitter > 0:
        x = _jitter(x, config.contrast_jitter, batch.sigma_d < 0.03, rng)
    if config.noise.band_limited > 0:
        gain = to_tensor(_random_band(n, x.shape[-1], config.noise.band_limited, rng))
        filtered = torch.fft.ifft2(torch.fft.fft2(torch.cat([x, contrasts], dim=1)) * gain[:, None]).real
        x, contrasts = filtered[:, : x.shape[1]], filtered[:, x.shape[1] :]
        power = power * gain.square()
        kept = power.mean(dim=(1, 2))
        sigma_d = sigma_d * kept.sqrt()
        power = power / kept[:, None, None]
    wide = config.levels.density == "range"
    sigma_tau = _draw_levels(sigma_d, config, rng, generator)
    if wide:
        # Far above the data's own noise its spectrum hardly matters: half of those patches see white noise
        # whatever the scan has.
        free = to_tensor((rng.random(n) < 0.5).astype(np.float32)).bool() & (sigma_tau > 3 * sigma_d)
        plain = (
            power if config.noise.band_limited == 0 else gain.square() / gain.square().mean(dim=(1, 2), keepdim=True)
        )
        power = torch.where(
            free[:, None, None], torch.ones_like(power) if config.noise.band_limited == 0 else plain, power
        )
    crop = slice(MARGIN, -MARGIN) if config.noise.band_limited > 0 else slice(None)
    noises = [coloured(power, generator)[..., crop, crop] for _ in range(2 * x.shape[1] if wide else 1)]
    x, contrasts = x[..., crop, crop], contrasts[..., crop, crop]
    x_d, near, z = x[:, :1], x[:, 1:], noises[0]
    tau = sigma_tau.reshape(-1, 1, 1, 1)
    signs = (1.0, -1.0) if config.loss.antithetic else (1.0,)
    x_t = [x_d + sign * tau * z for sign in signs]
    if wide and near.shape[1]:
        # The model will meet scans whose every slice is at sigma_t. An absent neighbour stays absent.
        present = (near != 0).flatten(2).any(dim=2)[:, :, None, None]
        near = torch.where(present, near + tau * torch.cat(noises[1 : 1 + near.shape[1]], dim=1), near)
    weight = None
    if wide and config.noise.rician > 0:
        quiet = to_array(sigma_tau) > 2 * to_array(sigma_d)
        chosen = np.flatnonzero((rng.random(n) < config.noise.rician) & quiet)
        if chosen.size:
            x_d, x_t, near, sigma_d, sigma_tau, sigma_data = _as_magnitude(
                chosen, x, noises, signs, x_d, x_t, near, sigma_d, sigma_tau, sigma_data
            )
            weight = torch.ones_like(x_d)
            slope = rician.invert_slope(to_array(x_d[chosen]))
            weight[chosen] = to_tensor(np.clip(slope, 1, config.noise.rician_weight))
    keep = batch.near & (rng.random(n) >= config.neighbour_dropout)
    near = near * to_tensor(keep.astype(np.float32)).reshape(-1, 1, 1, 1)
    aux = torch.cat([near, contrasts], dim=1)
    return Example(x_d, x_t, aux if aux.shape[1] else None, sigma_d, sigma_tau, sigma_data, z, weight)


def _draw_levels(sigma_d: Tensor, config: TrainConfig, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    levels = config.levels
    if levels.density == "uniform":
        return draw_tau(sigma_d.shape[0], sigma_d, levels.tau_min, levels.tau_max, generator)
    low = torch.clamp(sigma_d * (1 + RANGE_TAU_MIN**2) ** 0.5, min=levels.sigma_range[0])
    high = torch.clamp(1.5 * low, min=levels.sigma_range[1])
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
) -> tuple[Tensor, list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    """The chosen rows again as stabilised magnitudes, in units of sigma_t.

    |x_d + sigma_tau (z_1 + i z_2)| of a magnitude x_d with Rician noise sigma_d is Rician with sigma_t, since complex
    noise has no preferred phase. f(. / sigma_t) makes its deviation 1, and x_d / sigma_t seen through E[f] has at most
    sigma_d / sigma_t, at strong signal just that: levels 1 and sigma_d / sigma_t enter gamma and delta, exact where
    sigma_d << sigma_t, which is where this is used.
    """
    sigma_t = sigma_total(sigma_tau, sigma_d)
    rows = torch.tensor(chosen.tolist())
    s, tau = sigma_t[rows].reshape(-1, 1, 1, 1), sigma_tau[rows].reshape(-1, 1, 1, 1)
    clean = x[rows].clamp(min=0)
    channels = x.shape[1]
    stable = []
    for sign in signs:
        real = torch.cat([sign * noises[0][rows]] + [noise[rows] for noise in noises[1:channels]], dim=1)
        imaginary = torch.cat(
            [sign * noises[channels][rows]] + [noise[rows] for noise in noises[channels + 1 :]], dim=1
        )
        magnitude = torch.sqrt((clean + tau * real).square() + (tau * imaginary).square()) / s
        stable.append(to_tensor(rician.stabilise(to_array(magnitude))))
    target = to_tensor(rician.expected(to_array(clean[:, :1] / s)))
    x_d, near = x_d.clone(), near.clone()
    x_d[rows] = target
    x_t = [v.clone() for v in x_t]
    for v, new in zip(x_t, stable):
        v[rows] = new[:, :1]
    if near.shape[1]:
        present = (near[rows] != 0).flatten(2).any(dim=2)[:, :, None, None]
        near[rows] = torch.where(present, stable[0][:, 1:], near[rows])
    sigma_d, sigma_tau, sigma_data = sigma_d.clone(), sigma_tau.clone(), sigma_data.clone()
    unit = sigma_t[rows]
    sigma_d[rows], sigma_tau[rows], sigma_data[rows] = (
        sigma_d[rows] / unit,
        sigma_tau[rows] / unit,
        sigma_data[rows] / unit,
    )
    return x_d, x_t, near, sigma_d, sigma_tau, sigma_data


def _random_band(n: int, size: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Random k-space windows (n, size, size) as zero-filling, apodisation and interpolation leave them; ones for the
    rest of the rows.
    """
    frequencies = np.abs(np.fft.fftfreq(size))
    gains = np.ones((n, size, size), dtype=np.float32)
    for row in range(n):
        if rng.random() >= fraction:
            continue
        soft = rng.random() < SOFT
        both = rng.random() < (0.75 if soft else 0.5)
        windows = [_random_window(frequencies, soft, rng) for _ in range(1 + both)]
        window = np.outer(windows[0], windows[1] if both else np.ones(size))
        gains[row] = window.T if rng.random() < 0.5 else window
    return gains


def _random_window(frequencies: np.ndarray, soft: bool, rng: np.random.Generator) -> np.ndarray:
    """Gain along one axis: nothing beyond an edge and, if soft, a fall towards it, from a faint one to Hamming's
    (which exp(-2.5 (f / edge)^2) follows closely) and that of linear interpolation.
    """
    edge = min(rng.uniform(0.22, 0.7 if soft else 0.5), 0.5)
    taper = 1 / (1 + np.exp((frequencies - edge) / 0.004))
    return taper * np.exp(-rng.uniform(0.3, 3.5) * (frequencies / edge) ** 2) if soft else taper


def _jitter(x: Tensor, fraction: float, quiet: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Warp the intensities of some rows smoothly, keeping 0: other contrasts of the same structure.

    A warp stretches the noise with its slope, so only `quiet` rows (N,) are touched, whose own noise is far below the
    levels trained.
    """
    x = x.clone()
    for row in np.flatnonzero((rng.random(x.shape[0]) < fraction) & quiet):
        v = x[row].clamp(min=0)
        if rng.random() < 0.3:
            # Upside down above the background: fluid dark or bright.
            top = float(rng.uniform(1.2, 1.8))
            weight = (v / 0.3).clamp(max=1)
            x[row] = weight * (top - v).clamp(min=0.05) + (1 - weight) * v
        else:
            x[row] = v.pow(float(rng.uniform(0.6, 1.6)))
    return x
