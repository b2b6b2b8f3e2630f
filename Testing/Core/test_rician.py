"""The stabilising transform, against draws of Rician noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from C2SCore.rician import expected, inverse_slope, invert, restore, stabilise

SIGNALS = [0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0]


def _draws(nu: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    real, imaginary = torch.randn(2, 400_000, generator=generator, dtype=torch.float64)
    return torch.hypot(nu + real, imaginary).float()


def _one(value: float) -> torch.Tensor:
    return torch.tensor([value])


@pytest.mark.parametrize("nu", SIGNALS)
def test_deviation_is_near_one(nu: float) -> None:
    assert float(stabilise(_draws(nu)).std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("nu", SIGNALS)
def test_inverse_is_unbiased(nu: float) -> None:
    mean = float(stabilise(_draws(nu)).mean())
    assert mean == pytest.approx(float(expected(_one(nu))), abs=0.01)
    # At no signal the curve is flat, so a small error of the mean is a large one of the signal.
    assert float(invert(_one(mean))) == pytest.approx(nu, abs=0.3 if nu == 0 else 0.02)


def test_no_signal_is_zero_and_all_curves_rise() -> None:
    grid = torch.linspace(0, 60, 2001)
    assert float(expected(_one(0.0))) == pytest.approx(0, abs=1e-12)
    for function in (stabilise, expected):
        assert (function(grid).diff() > 0).all()
    # Between the first entries of the table, where the curve has no slope yet, the inverse is not exact.
    assert torch.allclose(invert(expected(grid)), grid, atol=6e-3)
    assert torch.allclose(invert(expected(grid[10:])), grid[10:], atol=1e-3)
    assert (invert(torch.tensor([-3.0, 0.0])) == 0).all()


def test_any_shape_and_order_of_values_gives_the_same() -> None:
    values = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)) * 30
    one_by_one = torch.stack([stabilise(v[None])[0] for v in values.flatten()]).reshape(values.shape)
    assert torch.allclose(stabilise(values), one_by_one, atol=1e-5)
    turned = values.permute(2, 0, 1)
    assert torch.equal(stabilise(turned), stabilise(values).permute(2, 0, 1))


def test_slope_of_the_inverse() -> None:
    assert float(inverse_slope(_one(20.0))) == pytest.approx(1, abs=0.01)
    nu, step = torch.tensor([1.0, 3.0, 8.0]), 0.1
    slope = 2 * step / (expected(nu + step) - expected(nu - step))
    assert torch.allclose(inverse_slope(nu), slope, rtol=0.02)


def test_nothing_jumps_where_the_table_ends() -> None:
    nu = torch.linspace(18, 22, 401)
    slope = inverse_slope(nu)
    assert (slope > 0.99).all() and (slope < 1.02).all()
    rises = invert(expected(nu)).diff() / nu.diff()
    assert (rises > 0.97).all() and (rises < 1.03).all()


def test_restored_signals_are_those_of_the_inverse_but_for_the_darkest() -> None:
    d = expected(torch.tensor([0.0, 0.3, 1.0, 2.0, 10.0]))
    restored = restore(d)
    assert restored[0] == 0 and restored[1] < 0.05
    assert torch.equal(restored[2:], invert(d[2:]))
    assert (restore(torch.linspace(-1, 5, 500)).diff() >= 0).all()


def test_restoring_leaves_less_speckle_where_there_is_no_signal() -> None:
    errors = torch.from_numpy(0.06 * np.random.default_rng(0).standard_normal(10_000)).float()
    assert restore(errors).square().mean() < 0.1 * invert(errors).square().mean()
