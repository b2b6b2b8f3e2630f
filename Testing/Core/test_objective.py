"""What a training minimises is the loss of `gdsm`, on examples that are made already."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from C2SCore import gdsm
from C2SCore.config import Loss, TrainConfig
from C2SCore.corruption import Example
from C2SCore.objective import recipe_loss

N, SIDE = 5, 8


def _example(signs: int) -> Example:
    g = torch.Generator().manual_seed(0)
    x_d, z = torch.randn(2, N, 1, SIDE, SIDE, generator=g)
    sigma_d = torch.linspace(0.3, 0.8, N)
    tau = torch.linspace(1.1, 0.4, N)
    x_t = [gdsm.corrupt(x_d, sign * tau.reshape(-1, 1, 1, 1), z) for sign in (1, -1)[:signs]]
    return Example(x_d, x_t, None, sigma_d, tau, torch.ones(N), z)


def _network(x: torch.Tensor, sigma: torch.Tensor, *rest: Any) -> torch.Tensor:
    return torch.tanh(x) / (1 + sigma.reshape(-1, 1, 1, 1))


@pytest.mark.parametrize("form", ["plain", "normalised"])
@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize(("target", "alpha"), [(0.0, -1.0), (0.4, 0.0)])
def test_it_is_the_loss_less_what_no_network_can_remove(
    form: str, antithetic: bool, target: float, alpha: float
) -> None:
    example = _example(1 + antithetic)
    config = TrainConfig(loss=Loss(form, antithetic, target, alpha), precision="float32")
    found = recipe_loss(_network, example, config, torch.device("cpu"))  # type: ignore[arg-type]
    levels, normalised = (example.sigma_d, example.sigma_tau, example.z), form == "normalised"
    expected = gdsm.loss_at(
        _network,
        example.x_d,
        *levels,
        sigma_target=target * example.sigma_d,
        alpha=alpha,
        normalised=normalised,
        antithetic=antithetic,
    )
    if normalised and antithetic:
        expected = expected - gdsm.loss_floor(*levels, target * example.sigma_d, alpha)
    assert found.shape == (N,) and torch.allclose(found, expected, atol=1e-5)
