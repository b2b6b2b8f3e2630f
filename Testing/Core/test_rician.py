"""The stabilising transform, against draws of Rician noise."""

from __future__ import annotations

import numpy as np
import pytest

from C2SCore import rician

SIGNALS = [0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0]


def _draws(nu: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.abs(nu + rng.standard_normal(400_000) + 1j * rng.standard_normal(400_000))


@pytest.mark.parametrize("nu", SIGNALS)
def test_deviation_is_near_one(nu: float) -> None:
    assert rician.stabilise(_draws(nu)).std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("nu", SIGNALS)
def test_inverse_is_unbiased(nu: float) -> None:
    mean = rician.stabilise(_draws(nu)).mean()
    assert mean == pytest.approx(float(rician.expected(np.array(nu))), abs=0.01)
    # At no signal the curve is flat, so a small error of the mean is a large one of the signal.
    assert float(rician.invert(np.array(mean))) == pytest.approx(nu, abs=0.3 if nu == 0 else 0.02)


def test_no_signal_is_zero_and_all_curves_rise() -> None:
    grid = np.linspace(0, 60, 2001)
    assert float(rician.expected(np.array(0.0))) == pytest.approx(0, abs=1e-12)
    for function in (rician.stabilise, rician.expected):
        assert (np.diff(function(grid)) > 0).all()
    assert rician.invert(rician.expected(grid)) == pytest.approx(grid, abs=1e-6)
    assert (rician.invert(np.array([-3.0, 0.0])) == 0).all()


def test_slope_of_the_inverse_tends_to_one() -> None:
    assert float(rician.invert_slope(np.array(20.0))) == pytest.approx(1, abs=0.01)


def test_restored_signals_are_those_of_the_inverse_but_for_the_darkest() -> None:
    d = rician.expected(np.array([0.0, 0.3, 1.0, 2.0, 10.0]))
    restored = rician.restore(d)
    assert restored[0] == 0 and restored[1] < 0.05
    assert np.allclose(restored[2:], rician.invert(d[2:]))
    assert (np.diff(rician.restore(np.linspace(-1, 5, 500))) >= 0).all()


def test_restoring_leaves_less_speckle_where_there_is_no_signal() -> None:
    errors = 0.06 * np.random.default_rng(0).standard_normal(10_000)
    assert np.square(rician.restore(errors)).mean() < 0.1 * np.square(rician.invert(errors)).mean()
