"""Networks that are formulas, and scans for them: what goes through the denoising can be told exactly."""

from __future__ import annotations

import numpy as np

from C2SCore.card import Card
from C2SCore.denoiser import Denoiser
from C2SCore.model import Model


class Identity(Denoiser):
    """h(x) = x: whatever surrounds the network must then return its input exactly."""

    def forward(self, x, sigma, aux=None, sigma_data=None):  # type: ignore[no-untyped-def]
        return x


class Mean(Denoiser):
    """h = the mean of a slice and its neighbours: shows which slices reach the network."""

    def forward(self, x, sigma, aux=None, sigma_data=None):  # type: ignore[no-untyped-def]
        return x / 3 if aux is None else (x + aux[:, :1] + aux[:, 1:2]) / 3


class Shrink(Denoiser):
    """h = x / (1 + sigma^2): the posterior mean of unit Gaussian data, in closed form."""

    def forward(self, x, sigma, aux=None, sigma_data=None):  # type: ignore[no-untyped-def]
        s = sigma.reshape(-1, 1, 1, 1) if sigma.dim() == 1 else sigma
        return x / (1 + s**2)


def model_of(kind: type[Denoiser] = Identity, **channels: int) -> Model:
    names = tuple(f"contrast {n}" for n in range(channels.get("contrasts", 0)))
    card = Card("test", auxiliary=names, neighbours=channels.get("neighbours", 0), sigma_range=(0.01, 0.3))
    return Model(kind("small", **channels).eval().requires_grad_(False), card)


def disk(shape: tuple[int, int, int] = (5, 40, 48), sigma: float = 10.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    _, j, i = np.indices(shape)
    clean = 100.0 * ((j - shape[1] / 2) ** 2 + (i - shape[2] / 2) ** 2 < (0.4 * min(shape[1:])) ** 2)
    return (clean + sigma * rng.standard_normal(shape)).astype(np.float32)


def tissue(shape: tuple[int, int, int] = (5, 40, 48), sigma: float = 10.0, level: float = 1000.0) -> np.ndarray:
    """Without any empty space: what is done to the background, or to where it begins, plays no part."""
    ramp = level * (0.5 + np.indices(shape)[1] / shape[1])
    return (ramp + sigma * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
