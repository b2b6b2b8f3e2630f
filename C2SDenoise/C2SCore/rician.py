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
from torch import Tensor

from C2SCore.tensors import to_array, to_tensor

NU_MAX = 20.0  # signal in units of sigma; above, f is a square root to within 1e-4
STEP = 0.04
ROOT_STEP = 0.005  # of the root of a denoised f
SLOPE_STEP = 0.05  # of a denoised f, on either side
DARK = 0.3  # denoised f, of a signal of 0.9 sigma, up to which signals fade in; chosen on simulated noise


@lru_cache(maxsize=1)
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(nu, E[f | nu], f at nu), each rising, all in units of sigma."""
    nu = np.arange(0, NU_MAX + STEP / 2, STEP)
    density, m, weights = _rice(nu)
    mean = density @ (weights * m)
    std = np.sqrt(np.maximum(density @ (weights * m**2) - mean**2, 1e-12))
    # f at the mean of m for each nu; below the Rayleigh mean its slope goes on.
    slope = np.interp(m, mean, 1 / std, left=1 / std[0], right=1.0)
    f = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(m))])
    # Rounds of correction: divide the slope by the deviation that is left, f' -> f' / std f.
    for _ in range(8):
        expected = density @ (weights * f)
        left = np.sqrt(np.maximum(density @ (weights * f**2) - expected**2, 1e-12))
        slope = slope / np.interp(m, mean, left, left=left[0], right=1.0) ** 0.7
        f = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(m))])
    expected_f = density @ (weights * f)
    # f is fixed up to a constant: no signal is to give 0, as it does with additive noise.
    return nu, expected_f - expected_f[0], (f - expected_f[0])[: nu.size]  # m and nu are on one grid


def _rice(nu: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rician densities (len(nu), len(m)) on a grid m, and trapezoid weights; in units of sigma."""
    m = np.arange(0, NU_MAX + 8, STEP)
    weights = np.full(m.size, STEP)
    weights[[0, -1]] /= 2
    bessel = to_array(torch.special.i0e(to_tensor(np.outer(nu, m)))).astype(np.float64)
    return m * np.exp(-((m - nu[:, None]) ** 2) / 2) * bessel, m, weights


def stabilise(m: Tensor) -> Tensor:
    """f(m): m >= 0 in units of sigma, any shape; returns values with a standard deviation near 1."""
    return _look_up(m, "stabilise")


def expected(nu: Tensor) -> Tensor:
    """E[f(m) | nu]: what a perfect denoiser of f(m) would return; nu >= 0 in units of sigma."""
    return _look_up(nu, "expected")


def invert(d: Tensor) -> Tensor:
    """The exact unbiased inverse: nu in units of sigma, such that E[f(m) | nu] = d; 0 for d <= 0."""
    signals, e, _ = _tables()
    # Near no signal nu goes as the square root of d.
    inside = _look_up(d.clamp(min=0).sqrt(), "invert")
    return torch.where(d <= float(e[-1]), inside, d + float(signals[-1] - e[-1]))


def restore(d: Tensor) -> Tensor:
    """Signal in units of sigma from a denoised f(m): `invert`, with signals hardly told from none faded out.

    Near no signal the inverse is steep and cut off at 0, so it turns the small errors of any denoiser, which go both
    ways, into positive speckle. From `DARK` on the result is that of `invert`.
    """
    t = (d / DARK).clamp(0, 1)
    return invert(d) * t * t * (3 - 2 * t)


def inverse_slope(nu: Tensor) -> Tensor:
    """Derivative of `invert` where the signal is nu >= 0, in units of sigma: how much it magnifies an error."""
    return _look_up(nu, "slope")


# ---- tables with even steps: no search, on any device ----


def _look_up(values: Tensor, name: str) -> Tensor:
    """Linear between the entries of the table, and beyond its end."""
    table, rises, step = _even_table(name, values.device)
    place = values / step
    index = place.int().clamp_(0, len(table) - 1)
    flat = index.flatten()
    below, rise = (torch.index_select(t, 0, flat).reshape(values.shape) for t in (table, rises))
    return torch.addcmul(below, rise, place.sub_(index))


@lru_cache(maxsize=16)
def _even_table(name: str, device: torch.device) -> tuple[Tensor, Tensor, float]:
    """Values, the rise from each to the next, and the step between them; from the last on the slope stays."""
    nu, e, f = _tables()
    if name == "stabilise":
        values, last = f, STEP
    elif name == "expected":
        values, last = e, STEP
    elif name == "slope":
        # Beyond the last entry the inverse has a slope of 1, as `invert` has.
        near = [np.interp(e + shift, e, nu) + np.maximum(e + shift - e[-1], 0) for shift in (SLOPE_STEP, -SLOPE_STEP)]
        values, last = (near[0] - near[1]) / (2 * SLOPE_STEP), 0.0
    else:
        roots = np.arange(0, np.sqrt(e[-1]) + ROOT_STEP, ROOT_STEP)
        beyond = nu[-1] + np.maximum(roots**2 - e[-1], 0)  # of the last one, which lies behind the end
        values, last = np.where(roots**2 < e[-1], np.interp(roots, np.sqrt(e), nu), beyond), 0.0
    step = ROOT_STEP if name == "invert" else STEP
    rises = np.append(np.diff(values), last)
    return to_tensor(values).to(device), to_tensor(rises).to(device), step
