"""Stabilising Rician noise: a forward transform to unit variance, and its exact unbiased inverse.

A magnitude image m = |nu + sigma (n_1 + i n_2)| has a standard deviation that depends on nu. f(m / sigma) has one near
1 for every nu, so a denoiser for additive noise applies; D, the denoised f, is mapped back by the nu for which E[f(m /
sigma) | nu] = D. This is the construction of Foi, "Noise estimation and removal in MR imaging: the
variance-stabilization approach", ISBI 2011; f is built here from the condition itself, f'(mean m) = 1 / std m, instead
of his optimised tables.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from C2SCore.tensors import to_array, to_tensor

GRID_END = 20.0  # signal in units of sigma; above, f is a square root to within 1e-4
STEP = 0.04
DARK = 0.3  # denoised f, of a signal of 0.9 sigma, up to which signals fade in; chosen on simulated noise


def grid() -> np.ndarray:
    """Signals in units of sigma, evenly spaced, on which the transform is tabulated."""
    return np.arange(0, GRID_END + STEP / 2, STEP)


@lru_cache(maxsize=1)
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(m, f(m), nu, E[f | nu]), each rising, all in units of sigma."""
    nu = grid()
    density, m, weights = _rice(nu)
    mean = density @ (weights * m)
    std = np.sqrt(np.maximum(density @ (weights * m**2) - mean**2, 1e-12))
    # f at the mean of m for each nu; below the Rayleigh mean its slope goes on.
    slope = np.interp(m, mean, 1 / std, left=1 / std[0], right=1.0)
    f = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(m))])
    # One round of correction: divide the slope by the deviation that is left, f' -> f' / std f.
    for _ in range(8):
        expected = density @ (weights * f)
        left = np.sqrt(np.maximum(density @ (weights * f**2) - expected**2, 1e-12))
        slope = slope / np.interp(m, mean, left, left=left[0], right=1.0) ** 0.7
        f = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(m))])
    expected_f = density @ (weights * f)
    # f is fixed up to a constant: no signal is to give 0, as it does with additive noise.
    return m, f - expected_f[0], nu, expected_f - expected_f[0]


def _rice(nu: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rician densities (len(nu), len(m)) on a grid m, and trapezoid weights; in units of sigma."""
    m = np.arange(0, GRID_END + 8, STEP)
    weights = np.full(m.size, STEP)
    weights[[0, -1]] /= 2
    bessel = to_array(torch.special.i0e(to_tensor(np.outer(nu, m)))).astype(np.float64)
    return m * np.exp(-((m - nu[:, None]) ** 2) / 2) * bessel, m, weights


def stabilise(m: np.ndarray) -> np.ndarray:
    """f(m): m >= 0 in units of sigma, any shape; returns values with a standard deviation near 1."""
    m_grid, f, _, _ = _tables()
    # Beyond the grid f(m) = m + constant, to the accuracy of the table.
    return np.where(m <= m_grid[-1], np.interp(m, m_grid, f), f[-1] + (m - m_grid[-1]))


def expected(nu: np.ndarray) -> np.ndarray:
    """E[f(m) | nu]: what a perfect denoiser of f(m) would return; nu >= 0 in units of sigma."""
    _, _, signals, e = _tables()
    return np.where(nu <= signals[-1], np.interp(nu, signals, e), e[-1] + (nu - signals[-1]))


def invert(d: np.ndarray) -> np.ndarray:
    """The exact unbiased inverse: nu in units of sigma, such that E[f(m) | nu] = d; 0 for d <= 0."""
    _, _, signals, e = _tables()
    return np.where(d <= e[-1], np.interp(d, e, signals), signals[-1] + (d - e[-1]))


def restore(d: np.ndarray) -> np.ndarray:
    """Signal in units of sigma from a denoised f(m): `invert`, with signals hardly told from none faded out.

    Near no signal the inverse is steep and cut off at 0, so it turns the small errors of any denoiser, which go both
    ways, into positive speckle. From `DARK` on the result is that of `invert`.
    """
    t = np.clip(d / DARK, 0, 1)
    return invert(d) * t * t * (3 - 2 * t)


def invert_slope(d: np.ndarray) -> np.ndarray:
    """Derivative of `invert`, to carry a standard deviation back."""
    step = 0.05
    return (invert(d + step) - invert(d - step)) / (2 * step)
