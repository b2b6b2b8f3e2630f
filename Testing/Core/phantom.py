"""A head-like phantom for tests: nested ellipses with fine structure and a dark background."""

from __future__ import annotations

import numpy as np

from C2SCore.scan import Scan


def phantom(shape: tuple[int, int, int] = (6, 96, 96), seed: int = 0) -> np.ndarray:
    """(K, J, I) float32; tissue between 400 and 1000, background 0; slices differ."""
    rng = np.random.default_rng(seed)
    depth, height, width = shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    volume = np.zeros(shape, np.float32)
    for k in range(depth):
        volume[k][(x / 0.8) ** 2 + (y / 0.9) ** 2 < 1] = 700
        volume[k][(x / 0.7) ** 2 + (y / 0.8) ** 2 < 1] = 800
        for _ in range(40):
            cx, cy = rng.uniform(-0.55, 0.55, 2)
            a, b = rng.uniform(0.03, 0.2, 2)
            volume[k][((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1] = rng.uniform(400, 1000)
    return volume


def blur(volume: np.ndarray, times: int) -> np.ndarray:
    """In-plane smoothing by (1 1 1) / 3, repeated."""
    for _ in range(times):
        for axis in (1, 2):
            volume = (np.roll(volume, 1, axis) + volume + np.roll(volume, -1, axis)) / 3
    return volume


def noisy(clean: np.ndarray, sigma: float | np.ndarray, kind: str = "gaussian", seed: int = 1) -> np.ndarray:
    """Gaussian or Rician noise; `sigma` may vary over the volume."""
    first, second = np.random.default_rng(seed).standard_normal((2, *clean.shape))
    if kind == "rician":
        return np.hypot(clean + sigma * first, sigma * second).astype(np.float32)
    return (clean + sigma * first).astype(np.float32)


def make_scan(seed: int = 0, shape: tuple[int, int, int] = (3, 40, 48), sigma: float = 60.0) -> Scan:
    """A noisy phantom, 1 x 1 x 3 mm, axial."""
    matrix = np.diag([-1.0, -1.0, 3.0, 1.0])
    matrix[:3, 3] = 20, 25, -5
    return Scan(noisy(phantom(shape, seed), sigma, seed=seed), (1.0, 1.0, 3.0), matrix, f"scan{seed}")
