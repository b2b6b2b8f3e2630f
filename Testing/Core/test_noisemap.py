"""Noise that varies over the plane, on phantoms whose map is known."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import phantom

from C2SCore import noise, noisemap
from C2SCore.denoising import Options, denoise
from C2SCore.model import load
from C2SCore.spectrum import white_spectrum
from C2SCore.tissue import foreground


def _map(shape: tuple[int, int]) -> np.ndarray:
    """From 1 at the left to 3 at the right."""
    return np.broadcast_to(np.exp(np.linspace(0, np.log(3), shape[1]))[None], shape)


def _noisy(clean: np.ndarray, level: np.ndarray | float, seed: int = 0) -> np.ndarray:
    return (clean + level * np.random.default_rng(seed).standard_normal(clean.shape)).astype(np.float32)


def _shape(volume: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    mask = foreground(volume)
    return noisemap.noise_shape(noise.HighPassed(volume, mask, white_spectrum()), mask), mask


def test_even_noise_has_no_map() -> None:
    clean = phantom((16, 128, 128))
    assert _shape(_noisy(clean, clean.max() / 20))[0] is None


def test_uneven_noise_is_seen_and_rounds_with_a_model_bring_back_what_cells_flatten() -> None:
    clean = phantom((16, 128, 128))
    truth = _map(clean.shape[1:])
    shape, mask = _shape(_noisy(clean, clean.max() / 40 * truth))
    assert shape is not None
    seen = mask.mean(axis=0) > 0.5
    relative = np.log(truth / np.median(truth[seen]))[seen]
    first = np.std(np.log(shape)[seen] - relative)
    assert first < 0.7 * np.std(relative)

    def moments(guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of a model that removes a third of the noise, exactly."""
        ratio = np.broadcast_to((truth / np.median(truth[seen]) / guess) ** 2, clean.shape)
        return 0.3 * ratio, np.full(clean.shape, 0.3)

    refined = noisemap.refine_shape(shape, mask, moments)
    assert np.std(np.log(refined)[seen] - relative) < 0.5 * first


def test_denoising_finds_the_map_and_gains_by_it() -> None:
    clean = phantom((16, 128, 128))
    level = clean.max() / 25 * _map(clean.shape[1:])
    volume, model = _noisy(clean, level), load("default")
    result = denoise(volume, model)
    assert result.levels.shape == volume.shape and any("measured as a map" in w for w in result.warnings)
    seen = foreground(clean).mean(axis=0) > 0.5
    assert np.std(np.log(result.levels[8] / level)[seen]) < 0.15
    ignored = denoise(volume, model, Options(sigma=result.sigma))
    error, ignoring = (np.mean((r.estimate - clean) ** 2) for r in (result, ignored))
    assert error < 0.9 * ignoring


def test_scan_without_tissue_has_no_map() -> None:
    assert _shape(np.zeros((4, 64, 64), dtype=np.float32))[0] is None


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_slices_have_no_map(count: int) -> None:
    clean = phantom((count, 64, 64))
    assert _shape(_noisy(clean, clean.max() / 40 * _map(clean.shape[1:])))[0] is None
