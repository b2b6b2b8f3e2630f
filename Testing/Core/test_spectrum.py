"""The noise spectrum from one scan: whatever was done to k-space, on phantoms whose noise is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from phantom import phantom

from C2SCore.noise import estimate_sigma
from C2SCore.spectrum import BINS, Spectrum, estimate_spectrum, white_spectrum

FREQUENCIES = np.linspace(0, 0.5, BINS)
SHAPE = (6, 160, 160)


def _filtered(volume: np.ndarray, rows: Callable[[np.ndarray], np.ndarray], columns=None) -> np.ndarray:
    """(K, J, I) through a gain over frequency along the rows' axis, and another, or the same, along the columns'."""
    gains = [gain(np.abs(np.fft.fftfreq(n))) for gain, n in zip((rows, columns or rows), volume.shape[1:])]
    return np.fft.ifft2(np.fft.fft2(volume) * np.outer(*gains)).astype(np.complex64)


def _scan(rows, columns=None, sigma: float = 70.0, shape=SHAPE) -> tuple[np.ndarray, float, np.ndarray]:
    """A filtered magnitude, its noise level, and the noise power over frequency, rows first, largest 1."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    seen = _filtered(noise, rows, columns)
    scale = sigma / seen.real.std()
    magnitude = np.abs(_filtered(phantom(shape), rows, columns) + scale * seen).astype(np.float32)
    return magnitude, sigma, np.stack([np.square(gain(FREQUENCIES)) for gain in (rows, columns or rows)])


def _nothing(f: np.ndarray) -> np.ndarray:
    return np.ones_like(f)


def _hamming(f: np.ndarray) -> np.ndarray:
    return 0.54 + 0.46 * np.cos(2 * np.pi * f)


def _linear(f: np.ndarray) -> np.ndarray:
    """Linear interpolation to twice the matrix, but for what it leaves of the repeated spectrum."""
    return np.cos(np.pi * f) ** 2


def _half(f: np.ndarray) -> np.ndarray:
    return (f <= 0.25).astype(float)


def _hamming_half(f: np.ndarray) -> np.ndarray:
    return _hamming(np.minimum(2 * f, 0.5)) * _half(f)


def _tukey(f: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(4 * f - 1, 0, 1))


FILTERS = [(_nothing, None), (_hamming, None), (_linear, None), (_half, None), (_hamming_half, None), (_tukey, None)]
FILTERS += [(_nothing, _hamming), (_half, _nothing)]


@pytest.mark.parametrize("filters", FILTERS, ids=lambda pair: "-".join(f.__name__ for f in pair if f))
@pytest.mark.parametrize("sigma", [70.0, 25.0])
def test_spectrum_of_filtered_scans(filters, sigma: float) -> None:
    volume, _, power = _scan(*filters, sigma=sigma)
    found = estimate_spectrum(volume)
    true = np.outer(*power)
    seen = np.outer(found.rows, found.columns)
    misplaced = np.abs(true / true.sum() - seen / seen.sum()).sum() / 2
    assert misplaced < 0.1
    assert found.white == (filters == (_nothing, None))


@pytest.mark.parametrize("filters", FILTERS, ids=lambda pair: "-".join(f.__name__ for f in pair if f))
def test_level_of_filtered_scans(filters) -> None:
    """Taken for white, Hamming's window had cost half of the level, and with zero-filling nearly all of it."""
    volume, sigma, _ = _scan(*filters)
    assert estimate_sigma(volume) == pytest.approx(sigma, rel=0.2)


@pytest.mark.parametrize("snr", [10, 30, 100])
def test_magnitude_zero_filled_to_twice_the_matrix(snr: float) -> None:
    """As most scanners store it: what the magnitude leaves outside the acquired part is no noise level."""
    low = phantom((4, 64, 64)) / 8
    rng = np.random.default_rng(0)
    noisy = low + 100 / snr * (rng.standard_normal(low.shape) + 1j * rng.standard_normal(low.shape))
    padded = np.pad(np.fft.fftshift(np.fft.fft2(noisy), axes=(1, 2)), ((0, 0), (32, 32), (32, 32)))
    volume = np.abs(np.fft.ifft2(np.fft.ifftshift(padded, axes=(1, 2)))).astype(np.float32) * 4
    spectrum = estimate_spectrum(volume)
    for profile in (spectrum.rows, spectrum.columns):
        assert profile[FREQUENCIES < 0.2].min() > 0.5 and profile[FREQUENCIES > 0.29].max() < 0.3
    # Where there is little noise, hard edges pass for some; a level from outside the acquired part is 20 times too low.
    assert estimate_sigma(volume) > 0.7 * 100 / snr


def test_rounding_does_not_pass_for_noise_beyond_the_edge() -> None:
    volume, _, _ = _scan(_half, sigma=70.0)
    rounded = np.round(volume / 20).clip(0, 255) * 20
    spectrum = estimate_spectrum(rounded.astype(np.float32))
    assert spectrum.rows[FREQUENCIES > 0.3].max() < 0.1


@pytest.mark.parametrize("shape", [(1, 5, 7), (1, 15, 200), (2, 24, 24)])
def test_too_little_tissue_gives_a_white_spectrum(shape: tuple[int, int, int]) -> None:
    assert estimate_spectrum(_scan(_half, shape=shape)[0]).white


def test_no_tissue_gives_a_white_spectrum() -> None:
    assert estimate_spectrum(np.full((2, 64, 64), 3.0, dtype=np.float32)).white


def test_spectrum_on_a_grid_has_unit_variance_and_turns_with_its_axes() -> None:
    power = Spectrum(np.ones(BINS), np.linspace(1, 0, BINS)).power(30, 40)
    assert power.shape == (30, 40)
    assert power.mean() == pytest.approx(1)
    assert np.ptp(power[:, 0]) == pytest.approx(0) and power[0, 20] < power[0, 1]
    assert white_spectrum().power(5, 7) == pytest.approx(1)


def test_a_mask_without_a_whole_block_does_not_make_noise_white() -> None:
    """A threshold divides a part that was cut out of a head into tissue and tissue."""
    rng = np.random.default_rng(0)
    noise = np.fft.fft(rng.normal(0, 10, (3, 96, 96)), axis=2)
    band = np.abs(np.fft.fftfreq(96)) < 0.35
    volume = (100 + np.fft.ifft(noise * band, axis=2).real).astype(np.float32)
    mask = np.zeros(volume.shape, dtype=bool)
    mask[:, ::3] = True
    found = estimate_spectrum(volume, mask)
    assert found.rows.min() > 0.5 and found.columns[-1] < 0.1
