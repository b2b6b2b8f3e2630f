"""The oracles of the loss: identities to rounding error, closed forms for Gaussian data, limits."""

from __future__ import annotations

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


def _fit_linear(
    sigma_d: float, colour: torch.Tensor, normalised: bool, antithetic: bool, sigma_target: float = 0.0
) -> torch.Tensor:
    """Gains per frequency of the linear h = F^-1 gain F x that minimises the loss on x_0 ~ N(0, 1) white, noise of
    spectrum `colour`.

    The loss is a quadratic in the gains, so its minimiser comes from one linear fit per frequency.
    """
    g = torch.Generator().manual_seed(1)
    n, size = 6000, colour.shape[-1]

    def noise() -> torch.Tensor:
        return torch.fft.ifft2(torch.fft.fft2(torch.randn(n, 1, size, size, generator=g).double()) * colour.sqrt()).real

    x_d = torch.randn(n, 1, size, size, generator=g).double() + sigma_d * noise()
    tau = torch.tensor(0.6 * sigma_d).double()
    level = torch.tensor(sigma_d).double()
    gamma, delta = gdsm.gamma_delta(tau, level, sigma_target)
    z = noise()
    top = bottom = torch.zeros(size, size).double()
    for sign in (1, -1) if antithetic else (1,):
        x_t = gdsm.corrupt(x_d, tau, sign * z)
        scale = gamma if normalised else 1.0
        regressor, target = torch.fft.fft2(gamma * x_t / scale), torch.fft.fft2((x_d - delta * x_t) / scale)
        top = top + (regressor.conj() * target).real.sum(dim=(0, 1))
        bottom = bottom + regressor.abs().square().sum(dim=(0, 1))
    return top / bottom


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("white", [True, False])
def test_minimiser_is_the_posterior_mean_for_white_and_coloured_noise(white: bool, antithetic: bool) -> None:
    size, sigma_d = 4, 0.7
    f = torch.fft.fftfreq(size).abs().double()
    colour = torch.ones(size, size).double() if white else 1.5 - 1.4 * torch.outer(f, torch.ones(size).double()) / 0.5
    colour = colour / colour.mean()
    gains = _fit_linear(sigma_d, colour, normalised=True, antithetic=antithetic)
    level = 1.36 * sigma_d**2 * colour  # sigma_t^2 = sigma_d^2 (1 + 0.36) at every frequency
    assert torch.allclose(gains, 1 / (1 + level), atol=0.05)
    if not white:
        # Corrupting with white noise instead would give one gain for all frequencies: the test must tell them apart.
        assert float(gains.max() - gains.min()) > 0.2


def test_minimiser_for_a_target_level_lies_on_the_detail_line() -> None:
    size, sigma_d, target = 4, 0.7, 0.4
    colour = torch.ones(size, size).double()
    gains = _fit_linear(sigma_d, colour, True, True, target)
    sigma_t2 = 1.36 * sigma_d**2
    expected = (1 + target**2) / (1 + sigma_t2)  # E[x_target | x_t] for x_0 ~ N(0, 1)
    assert torch.allclose(gains, torch.full_like(gains, expected), atol=0.04)


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
