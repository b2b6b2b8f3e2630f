"""The losses that learnt denoisers are compared by, and how each denoises afterwards.

Each loss gets the same batch of patches and makes two passes with gradients per patch: those that draw one corruption
draw two, antithetic ones use one with both signs. All are in units of sigma^2, so one learning rate suits them. h(x,
sigma) is the network; everything is (N, 1, P, P) and sigma (N,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from C2SCore import gdsm

H = Callable[[Tensor, Tensor], Tensor]
NOISIER = 0.5  # added noise over the data's own, of Noisier2Noise and Recorrupted2Recorrupted
DRAWS = 8  # passes that these two average when they denoise
GRID = 4  # pixels between masked pixels of Noise2Self


@dataclass(frozen=True)
class Sample:
    """One batch: noisy x_d, with other noise x_2, the truth x_0 (for supervised training alone), sigma (N,)."""

    x_d: Tensor
    x_2: Tensor
    x_0: Tensor
    sigma: Tensor
    generator: torch.Generator
    progress: float = 0.0  # of the training, 0 to 1

    def noise(self) -> Tensor:
        return torch.randn(self.x_d.shape, generator=self.generator).to(self.x_d.device)

    def doubled(self) -> Sample:
        """Every patch twice."""
        both = (torch.cat([v, v]) for v in (self.x_d, self.x_2, self.x_0, self.sigma))
        return Sample(*both, self.generator, self.progress)

    @property
    def level(self) -> Tensor:
        return self.sigma.reshape(-1, 1, 1, 1)

    def error(self, difference: Tensor) -> Tensor:
        """Mean square in units of the noise."""
        return (difference / self.level).square().mean()


Loss = Callable[[H, Sample], Tensor]
Infer = Callable[[H, Tensor, Tensor, torch.Generator], Tensor]


def one_pass(h: H, x: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    return h(x, sigma)


@dataclass(frozen=True)
class Method:
    """How a network learns, and how it denoises x (N, 1, H, W) afterwards.

    `exact`: bfloat16 would spoil the loss. `neighbours`: 1 if the network sees the slices above and below. `blind`: it
    is not told the level of the noise, neither learning nor denoising.
    """

    loss: Loss
    infer: Infer = one_pass
    exact: bool = False
    neighbours: int = 0
    blind: bool = False


# ---- with more than one noisy image ----


def supervised(h: H, s: Sample) -> Tensor:
    """Both noisy images against the truth."""
    d = s.doubled()
    return d.error(h(torch.cat([s.x_d, s.x_2]), d.sigma) - d.x_0)


def noise2noise(h: H, s: Sample) -> Tensor:
    """Lehtinen et al. 2018: each noisy image against the other."""
    d = s.doubled()
    return d.error(h(torch.cat([s.x_d, s.x_2]), d.sigma) - torch.cat([s.x_2, s.x_d]))


# ---- from one noisy image, sigma known ----


def uniform_tau(low: float, high: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    """sigma_tau ~ U(low, high] sigma_d: the reparameterised density."""
    return lambda sigma, generator: gdsm.draw_tau(len(sigma), sigma, low, high, generator)


def uniform_sigma_t(high: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    """sigma_t ~ U(1, sqrt(1 + high^2)] sigma_d, without reparameterisation: few levels near the data."""
    top = (1 + high**2) ** 0.5

    def draw(sigma: Tensor, generator: torch.Generator) -> Tensor:
        ratio = top - (top - 1) * torch.rand(len(sigma), generator=generator)
        return sigma * (ratio.square() - 1).clamp(min=1e-6).sqrt()

    return draw


def log_sigma_t(high: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    """sigma_t log-uniform from sigma_d to `high` sigma_d: the wide levels of a diffusion model."""

    def draw(sigma: Tensor, generator: torch.Generator) -> Tensor:
        ratio = high ** (1 - torch.rand(len(sigma), generator=generator))
        return sigma * (ratio.square() - 1).clamp(min=1e-6).sqrt()

    return draw


def matching(
    draw_tau: Callable[[Tensor, torch.Generator], Tensor],
    power: float = 0.0,
    antithetic: bool = False,
    target: float = 0.0,
    alpha: float = -1.0,
) -> Loss:
    """The GDSM family: the plain loss over gamma^power (2: `normalised` in gdsm.py); target in units of sigma_d."""

    def loss(h: H, s: Sample) -> Tensor:
        s = s if antithetic else s.doubled()
        tau = draw_tau(s.sigma.cpu(), s.generator).to(s.sigma.device)
        values = gdsm.loss_at(
            h,
            s.x_d,
            s.sigma,
            tau,
            s.noise(),
            sigma_target=target * s.sigma,
            alpha=alpha,
            normalised=power == 2,
            antithetic=antithetic,
        )
        if power == 1:
            values = values / gdsm.gamma_delta(tau, s.sigma, target * s.sigma)[0]
        return (values * s.sigma ** (-2 - 2 * alpha)).mean()

    return loss


def sure(h: H, s: Sample) -> Tensor:
    """Monte-Carlo SURE (Ramani, Blu, Unser 2008)."""
    return (gdsm.sure(lambda x: h(x, s.sigma), s.x_d, s.sigma, s.noise()) / s.sigma.square()).mean()


def noisier2noise(h: H, s: Sample) -> Tensor:
    """Moran et al. 2020: from a noisier image back to the noisy one."""
    s = s.doubled()
    return s.error(h(s.x_d + NOISIER * s.level * s.noise(), s.sigma * (1 + NOISIER**2) ** 0.5) - s.x_d)


def infer_noisier2noise(h: H, x: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """((1 + a^2) h(x_t) - x_t) / a^2, the mean of DRAWS."""
    noisier, level = _noisier(x, sigma, generator)
    return sum(((1 + NOISIER**2) * h(x_t, level) - x_t) / NOISIER**2 for x_t in noisier) / DRAWS


def recorrupted(h: H, s: Sample) -> Tensor:
    """Pang et al. 2021: x + a sigma z against x - sigma z / a, whose noises are independent."""
    s = s.doubled()
    z = s.level * s.noise()
    return s.error(h(s.x_d + NOISIER * z, s.sigma * (1 + NOISIER**2) ** 0.5) - (s.x_d - z / NOISIER))


def infer_recorrupted(h: H, x: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    noisier, level = _noisier(x, sigma, generator)
    return sum(h(x_t, level) for x_t in noisier) / DRAWS


def _noisier(x: Tensor, sigma: Tensor, generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
    level = NOISIER * sigma.reshape(-1, 1, 1, 1)
    draws = [x + level * torch.randn(x.shape, generator=generator).to(x.device) for _ in range(DRAWS)]
    return draws, sigma * (1 + NOISIER**2) ** 0.5


# ---- from one noisy image, by its neighbouring pixels ----


def noise2self(h: H, s: Sample) -> Tensor:
    """Batson and Royer 2019: pixels of a grid are hidden by the mean of their neighbours and must be foretold."""
    s = s.doubled()
    row, column = torch.randint(GRID, (2,), generator=s.generator).tolist()
    hidden = _grid(s.x_d, row, column)
    estimate = h(torch.where(hidden, _around(s.x_d), s.x_d), s.sigma)
    return s.error((estimate - s.x_d) * hidden) * GRID**2


def infer_noise2self(h: H, x: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Each pixel from the pass in which it was hidden."""
    result, mean = torch.zeros_like(x), _around(x)
    for place in range(GRID**2):
        hidden = _grid(x, *divmod(place, GRID))
        result = torch.where(hidden, h(torch.where(hidden, mean, x), sigma), result)
    return result


def _grid(x: Tensor, row: int, column: int) -> Tensor:
    hidden = torch.zeros_like(x, dtype=torch.bool)
    hidden[..., row::GRID, column::GRID] = True
    return hidden


def _around(x: Tensor) -> Tensor:
    """Mean of the 8 neighbours, those across a side counted twice."""
    kernel = x.new_tensor([[1, 2, 1], [2, 0, 2], [1, 2, 1]]).reshape(1, 1, 3, 3) / 12
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel)


PAIRS = torch.tensor([(0, 1), (1, 0), (0, 2), (2, 0), (1, 3), (3, 1), (2, 3), (3, 2)])  # neighbours in a 2 x 2 cell


def neighbor2neighbor(h: H, s: Sample) -> Tensor:
    """Huang et al. 2021: two images of neighbouring pixels, one against the other, and their term against blur."""
    s = s.doubled()
    with torch.no_grad():
        whole = h(s.x_d, s.sigma)
    n, _, height, width = s.x_d.shape
    choice = PAIRS[torch.randint(len(PAIRS), (n, 1, height // 2, width // 2), generator=s.generator)].to(s.x_d.device)
    first, second = (_take(s.x_d, choice[..., k]) for k in (0, 1))
    gap = h(first, s.sigma) - second
    blur = gap - (_take(whole, choice[..., 0]) - _take(whole, choice[..., 1]))
    return s.error(gap) + 2 * s.progress * s.error(blur)


def _take(x: Tensor, index: Tensor) -> Tensor:
    """One pixel of every 2 x 2 cell."""
    return F.pixel_unshuffle(x, 2).gather(1, index)


METHODS: dict[str, Method] = {
    "Noise2Self": Method(noise2self, infer_noise2self),
    "Neighbor2Neighbor": Method(neighbor2neighbor),
    "Noisier2Noise": Method(noisier2noise, infer_noisier2noise),
    "Recorrupted2Recorrupted": Method(recorrupted, infer_recorrupted),
    "SURE": Method(sure, exact=True),
    "Ambient DSM": Method(matching(log_sigma_t(10.0))),
    "C2S, paper, without reparameterisation": Method(matching(uniform_sigma_t(3.0))),
    "C2S, paper, without time conditioning": Method(matching(uniform_tau(0.001, 3.0)), blind=True),
    "C2S, paper, without detail refinement": Method(matching(uniform_tau(0.001, 3.0))),
    "C2S, paper": Method(matching(uniform_tau(0.001, 3.0), target=0.3)),
    "C2S, ours": Method(matching(uniform_tau(0.5, 1.5), power=2, antithetic=True)),
    "C2S, ours, with neighbouring slices": Method(
        matching(uniform_tau(0.5, 1.5), power=2, antithetic=True), neighbours=1
    ),
    "Noise2Noise": Method(noise2noise),
    "Supervised": Method(supervised),
}
