"""Noise level and spectrum from one scan, on phantoms whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest

from C2SCore import noise
from C2SCore.noise import (
    HighPassed,
    estimate_sigma,
    pair_sigma,
)
from C2SCore.spectrum import BINS, estimate_spectrum, white_spectrum
from C2SCore.tissue import foreground, signal_level


def _phantom(count: int = 6, size: int = 128) -> np.ndarray:
    """Smooth tissue with a few edges, zero outside, signal about 100."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    inside = (x**2 + y**2 < 0.16).astype(float)
    tissue = 100 + 20 * np.sin(9 * x) * np.cos(7 * y) + 25 * (x**2 + (y - 0.1) ** 2 < 0.01)
    return np.repeat((inside * tissue)[None], count, axis=0).astype(np.float32)


def _noisy(sigma: float, seed: int = 0, rician: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    clean = _phantom()
    real = clean + sigma * rng.standard_normal(clean.shape)
    return (np.abs(real + 1j * sigma * rng.standard_normal(clean.shape)) if rician else real).astype(np.float32)


def _zero_filled(volume: np.ndarray, share: float) -> np.ndarray:
    keep = np.abs(np.fft.fftfreq(volume.shape[2])) <= share / 2
    return np.fft.ifft(np.fft.fft(volume, axis=2) * keep, axis=2).real.astype(np.float32)


@pytest.mark.parametrize("rician", [False, True])
@pytest.mark.parametrize("snr", [5, 10, 20, 30])
def test_level_within_ten_percent(snr: float, rician: bool) -> None:
    assert estimate_sigma(_noisy(100 / snr, rician=rician)) == pytest.approx(100 / snr, rel=0.1)


@pytest.mark.parametrize("scale", [1e-3, 250.0])
def test_level_is_in_the_unit_of_the_scan(scale: float) -> None:
    volume = _noisy(10.0)
    assert estimate_sigma(scale * volume) == pytest.approx(scale * estimate_sigma(volume), rel=1e-3)


def test_constant_volume_has_no_noise() -> None:
    assert estimate_sigma(np.full((3, 64, 64), 7.0, dtype=np.float32)) == 0


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_edge_of_k_space_is_found_and_level_is_that_of_the_image(share: float) -> None:
    rng = np.random.default_rng(0)
    clean = _phantom()
    noise_only = _zero_filled(10 * rng.standard_normal(clean.shape), share)
    volume = _zero_filled(clean, share) + noise_only
    spectrum = estimate_spectrum(volume)
    frequencies = np.linspace(0, 0.5, BINS)
    assert spectrum.rows.min() > 0.5
    assert spectrum.columns[frequencies < share / 2 - 0.03].min() > 0.5
    assert spectrum.columns[frequencies > share / 2 + 0.03].max() < 0.3
    assert estimate_sigma(volume) == pytest.approx(noise_only.std(), rel=0.1)


def test_level_of_every_slice() -> None:
    clean = _phantom()
    rng = np.random.default_rng(0)
    sigmas = np.array([5, 5, 5, 10, 10, 10.0])
    volume = (clean + sigmas[:, None, None] * rng.standard_normal(clean.shape)).astype(np.float32)
    found = HighPassed(volume, foreground(volume), white_spectrum()).slice_sigmas(0.0)
    assert found == pytest.approx(sigmas, rel=0.15)


def test_level_from_two_repetitions_with_another_gain_and_offset() -> None:
    assert pair_sigma(_noisy(8.0, 1), 1.3 * _noisy(8.0, 2) + 20) == pytest.approx(8.0, rel=0.05)


def test_repeated_frames_bound_the_level() -> None:
    frames = [_noisy(8.0, seed) for seed in range(3)]
    assert noise.frame_limits(frames) == pytest.approx([8.0] * 3, rel=0.05)
    assert noise.frame_limit(frames[0], [0.2 * frames[1]]) >= 7.5  # another contrast, weaker with its noise
    assert noise.frame_limit(frames[0], [np.roll(frames[1], 6, axis=2)]) > 9  # the patient moved
    for other in (frames[0], 0 * frames[0] + 7, frames[1][:, :-1]):  # copied, constant, of another size
        assert noise.frame_limit(frames[0], [other]) == float("inf")
        assert noise.frame_limit(frames[0], [other, frames[1]]) == pytest.approx(8.0, rel=0.05)
    assert noise.frame_limits(frames[:1]) == [float("inf")]


def test_frames_with_more_noise_are_not_bound_by_those_with_less() -> None:
    """As where weighted images were averaged more often than the others of one file."""
    limits = noise.frame_limits([_noisy(sigma, seed) for seed, sigma in enumerate([6.0] * 3 + [12.0] * 3)])
    assert limits[0] == pytest.approx(6, rel=0.05) and limits[3] == limits[4] == pytest.approx(12, rel=0.05)
    assert limits[2] > 9


def test_foreground_is_the_tissue() -> None:
    truth = _phantom() > 0
    found = foreground(_noisy(20.0))
    assert (found & truth).sum() / (found | truth).sum() > 0.9
    assert signal_level(_noisy(10.0)) == pytest.approx(100, rel=0.05)


def test_slices_that_share_noise_are_found() -> None:
    volume = _noisy(10.0)
    blurred = (volume[1:] + volume[:-1]) / 2
    mask = foreground(volume)
    assert abs(HighPassed(volume, mask, white_spectrum()).slice_correlation(mask)) < 0.1
    assert HighPassed(blurred, mask[1:], white_spectrum()).slice_correlation(mask[1:]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("unit", [2.0**-25, 2.0**-10, 2.0**40])
def test_the_unit_of_the_scan_does_not_matter(unit: float) -> None:
    volume = _noisy(10.0)
    scaled = volume * np.float32(unit)
    mask = foreground(volume)
    assert np.array_equal(foreground(scaled), mask)
    assert estimate_sigma(scaled) == pytest.approx(unit * estimate_sigma(volume), rel=1e-5)
    found = [HighPassed(v, mask, white_spectrum()).slice_correlation(mask) for v in (volume, scaled)]
    assert found[1] == pytest.approx(found[0], abs=1e-4)


@pytest.mark.parametrize("rician", [False, True])
def test_noise_that_two_images_share_is_told_from_noise_of_their_own(rician: bool) -> None:
    scan, repeated = _noisy(8.0, 0, rician), _noisy(8.0, 1, rician)
    darker = 40 - 0.2 * scan  # as a map that was computed from it
    assert abs(noise.shared_noise(scan, repeated)) < 0.2
    assert noise.shared_noise(scan, scan * 3) > 0.99 and noise.shared_noise(scan, darker) < -0.99
    assert 0.4 < noise.shared_noise(scan, (scan + repeated) / 2) < 0.9
    assert noise.shared_noise(np.zeros_like(scan), scan) == noise.shared_noise(scan, np.zeros_like(scan)) == 0
