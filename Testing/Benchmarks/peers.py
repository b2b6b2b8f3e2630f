"""The classical denoisers that ours is measured against: volumes (K, J, I) in, float32 volumes out.

Each is given the true noise level.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from torch import Tensor

from C2SCore import rician
from C2SCore.tensors import to_array, to_tensor
from C2SCore.writing import atomic

STABILISED = "BM3D, stabilised"
FADED = "BM3D, stabilised, our inverse"  # the one of this program, which fades dark signals to 0; beyond the literature
Peer = Callable[[np.ndarray, float], np.ndarray]  # (K, J, I), sigma in the same unit -> (K, J, I)


def bm3d(volume: np.ndarray, sigma: float) -> np.ndarray:
    """Dabov et al. 2007, slice by slice, the authors' own package with its standard profile ("np")."""
    from bm3d import bm3d as slice_bm3d

    return np.stack([slice_bm3d(plane.astype(np.float64) / sigma, 1.0) * sigma for plane in volume]).astype(np.float32)


def bm3d_of_spectrum(volume: np.ndarray, sigma: float, power: np.ndarray) -> np.ndarray:
    """BM3D for coloured noise: told its power too, on the grid of `np.fft.fft2` with a mean of 1 (J, I)."""
    from bm3d import bm3d as slice_bm3d

    if not hasattr(np, "trapz"):
        np.trapz = np.trapezoid  # NumPy renamed it, the package still looks for it
    spectrum = power * power.size  # of noise of standard deviation 1, as the package wants it
    return np.stack([slice_bm3d(plane.astype(np.float64) / sigma, spectrum) * sigma for plane in volume]).astype(
        np.float32
    )


def bm3d_of_stabilised(volume: np.ndarray, sigma: float) -> np.ndarray:
    """BM3D after our stabilising transform for Rician noise; the result is still in the transform's domain."""
    return bm3d(_tabled(rician.stabilise, np.abs(volume) / sigma), 1.0)


def _tabled(function: Callable[[Tensor], Tensor], values: np.ndarray) -> np.ndarray:
    return to_array(function(to_tensor(values)))


def bm4d(volume: np.ndarray, sigma: float) -> np.ndarray:
    """Maggioni et al. 2013: BM3D's successor for volumes, the authors' own package at its defaults."""
    from bm4d import bm4d as volume_bm4d

    return (volume_bm4d(volume.astype(np.float64) / sigma, 1.0) * sigma).astype(np.float32)


def nlm(volume: np.ndarray, sigma: float, patch: int = 5, distance: int = 6) -> np.ndarray:
    """Non-local means, scikit-image's fast mode; patch, distance and h = 0.8 sigma as in its own example."""
    from skimage.restoration import denoise_nl_means

    return np.stack(
        [denoise_nl_means(plane, patch, distance, h=0.8 * sigma, sigma=sigma, fast_mode=True) for plane in volume]
    ).astype(np.float32)


def gaussian(volume: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing in plane by one pixel; does not look at sigma."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(volume, (0, 1, 1)).astype(np.float32)


def median(volume: np.ndarray, sigma: float) -> np.ndarray:
    """Median of 3 x 3 pixels; does not look at sigma."""
    from scipy.ndimage import median_filter

    return median_filter(volume, (1, 3, 3)).astype(np.float32)


def anisotropic(volume: np.ndarray, sigma: float) -> np.ndarray:
    """Slicer's "Gradient Anisotropic Diffusion" as it stands when opened; does not look at sigma."""
    image = sitk.GradientAnisotropicDiffusion(
        sitk.GetImageFromArray(volume), timeStep=0.0625, conductanceParameter=1.0, numberOfIterations=5
    )
    return sitk.GetArrayFromImage(image)


def ants(volume: np.ndarray, sigma: float) -> np.ndarray:
    """ANTs DenoiseImage (Manjon et al. 2010) at its defaults; estimates the noise itself."""
    import ants as library

    return library.denoise_image(library.from_numpy(volume.astype(np.float32))).numpy().astype(np.float32)


PEERS: dict[str, Peer] = {
    "Gaussian filter": gaussian,
    "Median filter": median,
    "Anisotropic diffusion (Slicer)": anisotropic,
    "NLM": nlm,
    "BM3D": bm3d,
    "ANTs DenoiseImage": ants,
}
ACROSS = ("Anisotropic diffusion (Slicer)", "ANTs DenoiseImage")  # these filter across slices: give them whole volumes


class Cache:
    """Slow results kept in one .npz file, found again by the data themselves; without a path, nothing is kept.

    `workers` processes share the slices of one volume.
    """

    def __init__(self, path: Path | None, workers: int = 1) -> None:
        self.path, self.workers = path, workers
        self.known: dict[str, np.ndarray] = {}
        if path is not None and path.is_file():
            with np.load(path) as stored:
                self.known = dict(stored)

    def apply(self, name: str, peer: Peer, volume: np.ndarray, sigma: float) -> np.ndarray:
        """`peer(volume, sigma)`, slice by slice, computing only what is not known yet."""
        keys = [f"{name}-{sigma:.6g}-{_digest(plane)}" for plane in volume]
        missing = {key: plane[None] for key, plane in zip(keys, volume) if key not in self.known}
        if self.workers > 1 and len(missing) > 1:
            with ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn")) as pool:
                made = list(pool.map(peer, missing.values(), [sigma] * len(missing)))
        else:
            made = [peer(plane, sigma) for plane in missing.values()]
        self.known |= {key: result[0] for key, result in zip(missing, made)}
        return np.stack([self.known[key] for key in keys])

    def store(self) -> None:
        if self.path is not None:
            with atomic(self.path, ".npz") as temporary:
                np.savez_compressed(temporary, **self.known)


def _digest(plane: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(plane, dtype=np.float32).tobytes()).hexdigest()[:24]


def bm3d_ways(volume: np.ndarray, sigma: float, kind: str, cache: Cache) -> dict[str, np.ndarray]:
    """BM3D's results: plain; under "rician" noise also stabilised, with the exact unbiased inverse and with FADED."""
    found = {"BM3D": cache.apply("bm3d", bm3d, volume, sigma)}
    if kind == "rician":
        stable = cache.apply("bm3d-stabilised", bm3d_of_stabilised, volume, sigma)
        found[STABILISED] = _tabled(rician.invert, stable) * np.float32(sigma)
        found[FADED] = _tabled(rician.restore, stable) * np.float32(sigma)
    return found


def bm3d_of_literature(volume: np.ndarray, sigma: float, kind: str) -> np.ndarray:
    """BM3D as its authors use it: under "rician" noise stabilised, with the exact unbiased inverse."""
    found = bm3d_ways(volume, sigma, kind, Cache(None))
    return found[STABILISED if kind == "rician" else "BM3D"]
