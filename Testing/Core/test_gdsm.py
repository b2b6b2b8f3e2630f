"""The oracles of the loss: identities to rounding error, closed forms for Gaussian data, limits."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from C2SCore import gdsm
from C2SCore.denoising import with_detail

LEVELS = st.floats(0.05, 3.0)


def _image(v: torch.Tensor) -> torch.Tensor:
    return v.reshape(-1, 1, 1, 1)


def _draw(n: int = 3, size: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, size, size, generator=g).double(), torch.randn(n, 1, size, size, generator=g).double(), g


@given(LEVELS, LEVELS, st.floats(0, 1))
def test_gamma_and_delta_sum_to_one_and_stay_in_range(tau: float, sigma_d: float, share: float) -> None:
    gamma, delta = gdsm.gamma_delta(*torch.tensor([tau, sigma_d], dtype=torch.float64), share * sigma_d)
    assert float(gamma + delta) == pytest.approx(1)
    assert 0 < float(gamma) <= 1 + 1e-12


def test_special_cases_of_the_target_level() -> None:
    tau, sigma_d = torch.tensor(0.7), torch.tensor(0.4)
    gamma, delta = gdsm.gamma_delta(tau, sigma_d, sigma_d)  # denoising score matching
    assert float(gamma) == pytest.approx(1) and float(delta) == pytest.approx(0)
    gamma, _ = gdsm.gamma_delta(tau, sigma_d, 0.0)  # ambient: gamma = sigma_tau^2 / sigma_t^2
    assert float(gamma) == pytest.approx(0.49 / (0.49 + 0.16))


@given(LEVELS, LEVELS)
def test_plain_loss_is_gamma_squared_times_a_regression_on_a_shifted_target(tau: float, level: float) -> None:
    x_d, z, g = _draw()
    sigma_d, sigma_tau = torch.full((3,), level).double(), torch.full((3,), tau).double()
    fixed = torch.randn(x_d.shape, generator=g).double()
    value = gdsm.loss_at(lambda x, s: fixed, x_d, sigma_d, sigma_tau, z, alpha=0.0, normalised=False, antithetic=False)
    gamma, _ = gdsm.gamma_delta(sigma_tau, sigma_d)
    target = x_d - _image(sigma_d**2 / sigma_tau) * z
    expected = gamma**2 * (fixed - target).square().mean(dim=(1, 2, 3))
    assert torch.allclose(value, expected, rtol=1e-9)


def test_normalised_is_plain_over_gamma_squared() -> None:
    x_d, z, _ = _draw()
    sigma_d, sigma_tau = torch.full((3,), 0.5).double(), torch.full((3,), 0.3).double()
    gamma, _ = gdsm.gamma_delta(sigma_tau, sigma_d)
    args = (lambda x, s: 0.8 * x, x_d, sigma_d, sigma_tau, z)
    plain = gdsm.loss_at(*args, normalised=False)
    assert torch.allclose(gdsm.loss_at(*args, normalised=True), plain / gamma**2)


def test_antithetic_is_the_mean_of_both_signs_and_agrees_in_expectation() -> None:
    x_d, z, _ = _draw()
    sigma_d, sigma_tau = torch.full((3,), 0.5).double(), torch.full((3,), 0.05).double()

    def h(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return 0.7 * x + 0.1 * x.square()

    both = gdsm.loss_at(h, x_d, sigma_d, sigma_tau, z)
    one = gdsm.loss_at(h, x_d, sigma_d, sigma_tau, z, antithetic=False)
    other = gdsm.loss_at(h, x_d, sigma_d, sigma_tau, -z, antithetic=False)
    assert torch.allclose(both, (one + other) / 2)
    g = torch.Generator().manual_seed(3)
    singles, pairs, floors = [], [], []
    for _ in range(1000):
        z = torch.randn(x_d.shape, generator=g).double()
        singles.append(gdsm.loss_at(h, x_d, sigma_d, sigma_tau, z, antithetic=False).mean())
        pairs.append(gdsm.loss_at(h, x_d, sigma_d, sigma_tau, z).mean())
        floors.append(gdsm.loss_floor(sigma_d, sigma_tau, z).mean())
    single, pair = torch.stack(singles), torch.stack(pairs)
    # The part without h is known and removed, as in validation; what is left has a fraction of the single draw's
    # spread.
    assert abs(float(single.mean() - pair.mean())) < 4 * float((single - pair).std()) / 1000**0.5
    assert float((pair - torch.stack(floors)).std()) < 0.3 * float((single - torch.stack(floors)).std())


def test_antithetic_loss_tends_to_sure() -> None:
    x_d, z, _ = _draw(size=16)
    sigma_d = torch.full((3,), 0.5).double()

    def h(x: torch.Tensor) -> torch.Tensor:
        return 0.6 * x + 0.2 * torch.tanh(x)

    tau = torch.full((3,), 1e-4).double()
    value = gdsm.loss_at(lambda x, s: h(x), x_d, sigma_d, tau, z, alpha=0.0) - gdsm.loss_floor(
        sigma_d, tau, z, alpha=0.0
    )
    assert torch.allclose(value, gdsm.sure(h, x_d, sigma_d, z, step=1e-3), rtol=1e-4)


def test_sure_estimates_the_true_error() -> None:
    g = torch.Generator().manual_seed(0)
    clean = torch.linspace(-2, 2, 64 * 64).reshape(1, 1, 64, 64).double()
    sigma = torch.tensor([0.5]).double()
    errors, estimates = [], []
    for _ in range(40):
        noisy = clean + 0.5 * torch.randn(clean.shape, generator=g).double()
        z = torch.randn(clean.shape, generator=g).double()
        errors.append(float((0.8 * noisy - clean).square().mean()))
        estimates.append(float(gdsm.sure(lambda x: 0.8 * x, noisy, sigma, z)))
    assert sum(estimates) / 40 == pytest.approx(sum(errors) / 40, rel=0.02)


SIGMA_D = (0.4, 0.8)  # two noise levels of the data
SIGMA_T = (0.9, 1.2)  # to each of which both are corrupted: one network must serve data of either
SIZE = 4


@dataclass
class _Drawn:
    """Gaussian data x_0 ~ N(0, 1) with noise of covariance sigma_d^2 Sigma, Sigma = basis diag(colour) basis^T.

    As many images of every pair of levels, in which all moments of x_0, n and z are exactly those of their
    distributions: the mean of a quadratic over them is its expectation, so that minima need no tolerance.
    """

    x_0: torch.Tensor
    x_d: torch.Tensor
    z: torch.Tensor
    sigma_d: torch.Tensor
    sigma_tau: torch.Tensor
    basis: torch.Tensor
    colour: torch.Tensor

    def network(self, gains: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """A linear h with gains (levels, SIZE^2) in the basis, which knows nothing but x_t and sigma_t."""

        def h(x: torch.Tensor, sigma_t: torch.Tensor) -> torch.Tensor:
            level = (sigma_t[:, None] - torch.tensor(SIGMA_T, dtype=torch.float64)).abs().argmin(dim=1)
            return (x.flatten(1) @ self.basis * gains[level] @ self.basis.T).reshape(x.shape)

        return h

    def minimiser(self, **form: Any) -> torch.Tensor:
        """The gains (levels, SIZE^2) at which the gradient of `loss_at` is 0."""

        def gradient(gains: torch.Tensor) -> torch.Tensor:
            gains.requires_grad_(True)
            loss = gdsm.loss_at(self.network(gains), self.x_d, self.sigma_d, self.sigma_tau, self.z, **form).mean()
            return torch.autograd.grad(loss, gains)[0]

        # A quadratic without mixed terms: two gradients tell where it is least.
        first = gradient(torch.zeros(len(SIGMA_T), SIZE**2).double())
        second = gradient(torch.ones(len(SIGMA_T), SIZE**2).double())
        assert (second - first > 0).all()
        return first / (first - second)

    def expected(self, sigma_target: float = 0.0) -> torch.Tensor:
        """Gains of E[x_target | x_t]."""
        sigma_t = torch.tensor(SIGMA_T, dtype=torch.float64)[:, None]
        return (1 + sigma_target**2 * self.colour) / (1 + sigma_t**2 * self.colour)


def _gaussian_data(white: bool = True) -> _Drawn:
    g = torch.Generator().manual_seed(1)
    pixels, n = SIZE**2, 4 * SIZE**2
    basis, _ = torch.linalg.qr(torch.randn(pixels, pixels, generator=g).double())
    colour = torch.ones(pixels).double() if white else torch.linspace(0.2, 1.8, pixels).double()
    parts: list[list[torch.Tensor]] = []
    for level, corrupted in itertools.product(SIGMA_D, SIGMA_T):
        exact, _ = torch.linalg.qr(torch.randn(n, 3 * pixels, generator=g).double())
        x_0, noise, z = (exact * n**0.5).split(pixels, dim=1)
        images = [v @ basis.T for v in (x_0, x_0 + level * noise * colour.sqrt(), z * colour.sqrt())]
        levels = [torch.full((n,), v, dtype=torch.float64) for v in (level, (corrupted**2 - level**2) ** 0.5)]
        parts.append([*(v.reshape(n, 1, SIZE, SIZE) for v in images), *levels])
    return _Drawn(*(torch.cat(column) for column in zip(*parts)), basis, colour)


FORMS = [(normalised, antithetic) for normalised in (False, True) for antithetic in (False, True)]


@pytest.mark.parametrize(("normalised", "antithetic"), FORMS)
@pytest.mark.parametrize("white", [True, False])
def test_one_network_learns_the_posterior_means_of_two_noise_levels(
    white: bool, normalised: bool, antithetic: bool
) -> None:
    drawn = _gaussian_data(white)
    gains = drawn.minimiser(normalised=normalised, antithetic=antithetic)
    assert torch.allclose(gains, drawn.expected(), rtol=1e-9)
    # Corrupting with white noise instead would give one gain for all frequencies: the test must tell them apart.
    assert white or float(gains.max() - gains.min()) > 0.2


@pytest.mark.parametrize(("normalised", "antithetic"), FORMS)
def test_minimiser_for_a_target_level_lies_on_the_detail_line(normalised: bool, antithetic: bool) -> None:
    drawn, target = _gaussian_data(white=False), 0.3
    gains = drawn.minimiser(normalised=normalised, antithetic=antithetic, sigma_target=target)
    assert torch.allclose(gains, drawn.expected(target), rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, -1.0])
def test_less_its_floor_the_loss_is_the_true_error(alpha: float) -> None:
    drawn = _gaussian_data()
    for factor in (1.0, 0.7):
        h = drawn.network(factor * drawn.expected())
        loss = gdsm.loss_at(h, drawn.x_d, drawn.sigma_d, drawn.sigma_tau, drawn.z, alpha=alpha)
        floor = gdsm.loss_floor(drawn.sigma_d, drawn.sigma_tau, drawn.z, alpha=alpha)
        sigma_t = gdsm.sigma_total(drawn.sigma_tau, drawn.sigma_d)
        error = h(gdsm.corrupt(drawn.x_d, _image(drawn.sigma_tau), drawn.z), sigma_t) - drawn.x_0
        weighted = error.square().mean(dim=(1, 2, 3)) * sigma_t ** (2 * alpha)
        assert float((loss - floor).mean()) == pytest.approx(float(weighted.mean()), rel=1e-9)


def test_detail_line_matches_the_closed_form() -> None:
    x, s, sigma_d, target = np.array([2.0]), 1.0, 0.7, 0.4
    posterior = x * s**2 / (s**2 + sigma_d**2)
    expected = x * (s**2 + target**2) / (s**2 + sigma_d**2)
    np.testing.assert_allclose(with_detail(x, posterior, (target / sigma_d) ** 2), expected, rtol=1e-6)


def test_drawn_levels_fill_their_range() -> None:
    sigma_d = torch.full((2000,), 2.0)
    tau = gdsm.draw_tau(2000, sigma_d, 0.1, 1.0, torch.Generator().manual_seed(0))
    assert float(tau.min()) > 0.2 - 1e-6 and float(tau.max()) <= 2.0
    assert float(tau.mean()) == pytest.approx(1.1, rel=0.03)
