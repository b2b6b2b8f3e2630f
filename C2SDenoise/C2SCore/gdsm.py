"""Generalized denoising score matching: the levels, the corruption and the loss.

An observed image x_d = x_0 + sigma_d n is corrupted further, x_t = x_d + sigma_tau z, where z has the covariance of n,
so that sigma_t^2 = sigma_d^2 + sigma_tau^2. Tweedie's formula at sigma_d and at sigma_target <= sigma_d shares one
score; eliminating it gives

    E[x_d | x_t] = gamma E[x_target | x_t] + delta x_t
    gamma = sigma_tau^2 / (sigma_tau^2 + sigma_d^2 - sigma_target^2),   delta = 1 - gamma

(Tu, Shi, Lam: "Score-based Self-supervised MRI Denoising", ICLR 2025, there as "reparameterised": tau is drawn,
sigma_tau = tau). So the h that minimises E w(tau) |gamma h(x_t, sigma_t) + delta x_t - x_d|^2 is E[x_target | x_t],
learnt without a clean image.

Two changes, both derived from that loss:

* normalised: dividing by gamma leaves the minimiser and turns the residual into h - y, y = (x_d - delta x_t) / gamma
  = x_d - (sigma_d^2 - sigma_target^2) / sigma_tau z. Without it the weight of the loss falls as tau^4 where inference
  happens (tau = 0).
* antithetic: +z and -z on the same patch. The mean of the two, less its part without h, is
  (|h+ - x_d|^2 + |h- - x_d|^2) / 2 + (sigma_d^2 - sigma_target^2) z.(h+ - h-) / sigma_tau,
  whose variance stays finite; as tau -> 0 with sigma_target = 0 it becomes |h - x_d|^2 + 2 sigma_d^2 z.(dh/dx z),
  Monte-Carlo SURE (Ramani, Blu, Unser 2008).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gamma_delta(sigma_tau: Tensor, sigma_d: Tensor, sigma_target: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """gamma and delta of the module's formula; all arguments in one unit, broadcast against each other; 0 <=
    sigma_target <= sigma_d.
    """
    gap = sigma_d**2 - sigma_target**2
    total = sigma_tau**2 + gap
    return sigma_tau**2 / total, gap / total


def sigma_total(sigma_tau: Tensor, sigma_d: Tensor) -> Tensor:
    """sigma_t = sqrt(sigma_d^2 + sigma_tau^2)."""
    return (sigma_tau**2 + sigma_d**2).sqrt()


def corrupt(x_d: Tensor, sigma_tau: Tensor, z: Tensor) -> Tensor:
    """x_t = x_d + sigma_tau z; z (N, 1, H, W) with unit variance and the covariance of the noise in x_d."""
    return x_d + sigma_tau * z


def draw_tau(n: int, sigma_d: Tensor, low: float, high: float, generator: torch.Generator | None = None) -> Tensor:
    """tau ~ U(low, high] in units of sigma_d (N, ...): the paper's reparameterised density (low = 0 there). Returns
    (N,).
    """
    device = generator.device if generator is not None else sigma_d.device
    u = torch.rand(n, generator=generator, dtype=sigma_d.dtype, device=device).to(sigma_d.device)
    return sigma_d.reshape(n) * (high - (high - low) * u)


def loss_at(
    h: Callable[[Tensor, Tensor], Tensor],
    x_d: Tensor,
    sigma_d: Tensor,
    sigma_tau: Tensor,
    z: Tensor,
    *,
    sigma_target: Tensor | float = 0.0,
    alpha: float = -1.0,
    normalised: bool = True,
    antithetic: bool = True,
) -> Tensor:
    """The GDSM loss per image, (N,), as a mean over pixels.

    h(x_t, sigma_t) is the denoiser, sigma_t (N,); x_d and z (N, 1, H, W); sigma_d, sigma_tau (N,), sigma_target (N,) or
    a number, all in the unit of x_d. w(tau) = (sigma_tau^2 + sigma_d^2)^alpha; alpha = -1 measures the error in units
    of the noise in x_t.
    """
    sigma_t = sigma_total(sigma_tau, sigma_d)
    signs = (1.0, -1.0) if antithetic else (1.0,)
    x_t = torch.cat([corrupt(x_d, _image(sigma_tau), sign * z) for sign in signs])
    # One pass over both signs: the small batches of a CPU are used better.
    estimates = h(x_t, sigma_t.repeat(len(signs))).chunk(len(signs))
    parts = [
        residual_loss(
            estimate, corrupted, x_d, sigma_d, sigma_tau, sigma_target=sigma_target, alpha=alpha, normalised=normalised
        )
        for estimate, corrupted in zip(estimates, x_t.chunk(len(signs)))
    ]
    return torch.stack(parts).mean(dim=0)


def residual_loss(
    estimate: Tensor,
    x_t: Tensor,
    x_d: Tensor,
    sigma_d: Tensor,
    sigma_tau: Tensor,
    *,
    sigma_target: Tensor | float = 0.0,
    alpha: float = -1.0,
    normalised: bool = True,
    weight: Tensor | None = None,
) -> Tensor:
    """w(tau) |gamma h + delta x_t - x_d|^2, over gamma^2 if normalised, as a mean over pixels, (N,), for an estimate h
    already made.

    `weight` (N, 1, H, W) multiplies the residual; it must not depend on z, and then it leaves the minimiser where it
    was.
    """
    gamma, delta = (_image(v) for v in gamma_delta(sigma_tau, sigma_d, sigma_target))
    residual = gamma * estimate + delta * x_t - x_d
    if normalised:
        residual = residual / gamma
    if weight is not None:
        residual = residual * weight
    return residual.square().mean(dim=(1, 2, 3)) * (sigma_tau**2 + sigma_d**2) ** alpha


def loss_floor(
    sigma_d: Tensor, sigma_tau: Tensor, z: Tensor, sigma_target: Tensor | float = 0.0, alpha: float = -1.0
) -> Tensor:
    """The part of the antithetic normalised loss that no h can change, (N,).

    With d = sigma_d^2 - sigma_target^2 it is (d / sigma_tau)^2 |z|^2, and sigma_d^2, the noise of x_d itself.
    Subtracted from `loss_at` (sigma_target = 0), an estimate of |h - x_0|^2 in the same unit remains, since
    E|h - x_d|^2 + 2 sigma_d^2 div h = E|h - x_0|^2 + sigma_d^2.
    """
    scale = (sigma_d**2 - sigma_target**2) / sigma_tau
    constant = scale**2 * z.square().mean(dim=(1, 2, 3)) + sigma_d**2
    return constant * sigma_total(sigma_tau, sigma_d) ** (2 * alpha)


def sure(
    h: Callable[[Tensor], Tensor],
    x_d: Tensor,
    sigma_d: Tensor,
    z: Tensor,
    step: float = 1e-2,
    weight: Tensor | float = 1.0,
) -> Tensor:
    """Monte-Carlo SURE, the limit tau -> 0: estimate of mean |h(x_d) - x_0|^2 per image (N,).

    sigma_d (N,) in the unit of x_d; z (N, 1, H, W) of the noise's covariance; `step` in units of sigma_d; `weight` of
    every pixel, (N, 1, H, W) with a mean of 1 in each image.
    """
    s = _image(sigma_d)
    change = weight * z * (h(x_d + step * s * z) - h(x_d - step * s * z))
    divergence = change.mean(dim=(1, 2, 3)) / (2 * step)
    error = (weight * (h(x_d) - x_d).square()).mean(dim=(1, 2, 3))
    return error + 2 * sigma_d * divergence - sigma_d**2


def _image(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)
