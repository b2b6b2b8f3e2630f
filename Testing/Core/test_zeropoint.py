"""Scans whose intensities were shifted, as by z-scoring: as good as those that were not."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import noisy, phantom

from C2SCore import denoising, measuring, model
from C2SCore.denoising import Options, denoise
from C2SCore.errors import UserError
from C2SCore.quality import residual_checks
from C2SCore.tissue import box_mean
from C2SCore.zeropoint import lifted, lowered, zero_point

SIGMA = 60.0


def _brain() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    clean = phantom((6, 96, 96))
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    return clean, noisy(clean, SIGMA), np.broadcast_to((x / 0.55) ** 2 + (y / 0.62) ** 2 < 1, clean.shape)


def _scored(volume: np.ndarray, among: np.ndarray | None = None) -> tuple[np.ndarray, float, float]:
    values = volume if among is None else volume[among]
    mean, deviation = float(values.mean()), float(values.std())
    return ((volume - mean) / deviation).astype(np.float32), mean, deviation


def test_noise_about_zero_is_no_shift() -> None:
    clean, scan, _ = _brain()
    assert scan.min() < -2 * SIGMA
    assert zero_point(scan) == 0 and zero_point(clean) == 0
    assert zero_point(noisy(clean, 4 * SIGMA)) == 0
    assert zero_point(noisy(0 * clean, SIGMA)) == 0  # nothing but noise


@pytest.mark.parametrize("masked", [False, True])
def test_a_z_scored_scan_is_denoised_as_it_was_before(masked: bool) -> None:
    _, scan, mask = _brain()
    scan = np.where(mask, scan, 0).astype(np.float32) if masked else scan
    moved, mean, deviation = _scored(scan)
    loaded = model.load("default")
    before, after = denoise(scan, loaded), denoise(moved, loaded)
    assert after.sigma * deviation == pytest.approx(before.sigma, rel=0.03)
    assert after.numbers["snr"] == pytest.approx(before.numbers["snr"], rel=0.1)
    difference = (after.estimate * deviation + mean - before.estimate)[mask]
    assert np.sqrt(np.mean(difference**2)) < 0.1 * SIGMA
    checks = [residual_checks(v, r.estimate, r.sigma) for v, r in ((scan, before), (moved, after))]
    assert checks[0]["verdict"] == checks[1]["verdict"]
    assert checks[1]["snr_before"] == pytest.approx(checks[0]["snr_before"], rel=0.1)
    if masked:
        assert (after.estimate[~mask] == moved[~mask]).all()


def test_a_brain_that_was_normalised_without_its_surroundings() -> None:
    clean, scan, mask = _brain()
    moved, mean, deviation = _scored(scan, mask)
    moved = np.where(mask, moved, 0).astype(np.float32)
    result = denoise(moved, model.load("default"))
    error = (result.estimate * deviation + mean - clean)[mask]
    assert np.sqrt(np.mean(error**2)) < 0.6 * SIGMA
    assert not result.estimate[~mask].any()
    assert result.sigma * deviation == pytest.approx(SIGMA, rel=0.08)


@pytest.mark.parametrize("offset", [1500.0, 4096.0])
def test_a_scan_that_was_shifted_up_is_denoised_as_it_was_before(offset: float) -> None:
    _, scan, _ = _brain()
    moved = scan + np.float32(offset)
    assert zero_point(moved) == pytest.approx(offset, abs=0.2 * SIGMA)
    loaded = model.load("default")
    before, after = denoise(scan, loaded), denoise(moved, loaded)
    assert after.sigma == pytest.approx(before.sigma, rel=0.02)
    assert after.numbers["snr"] == pytest.approx(before.numbers["snr"], rel=0.05)
    assert np.sqrt(np.mean((after.estimate - offset - before.estimate) ** 2)) < 0.05 * SIGMA
    rician = denoise(moved, loaded, Options(noise="rician", sigma=SIGMA))  # the user knows that it is a magnitude
    assert rician.noise == "rician"


def test_empty_space_of_magnitudes_and_tissue_alone_are_no_shift() -> None:
    clean, scan, _ = _brain()
    coils = sum(noisy(clean / 2, SIGMA, "rician", seed) ** 2 for seed in range(4))
    for positive in (noisy(clean, SIGMA, "rician"), np.sqrt(coils), noisy(clean, 4 * SIGMA, "rician")):
        assert zero_point(positive.astype(np.float32)) == 0
    tissue = scan[:, 30:66, 30:66] + np.float32(1000)
    assert zero_point(tissue) == 0


def test_there_and_back() -> None:
    _, scan, mask = _brain()
    moved = np.where(mask, scan - 900, 0).astype(np.float32)
    up = lifted(moved, -700.0)
    assert not up[~mask].any() and up[mask].mean() == pytest.approx(moved[mask].mean() + 700, abs=0.1)
    assert np.allclose(lowered(up, -700.0, moved), moved, atol=1e-3)


def test_a_training_wants_scans_as_they_were_made() -> None:
    moved, *_ = _scored(_brain()[1])
    with pytest.raises(UserError, match="before its intensities were normalised"):
        measuring.check_values("scan", moved)


def test_a_scan_is_shifted_once(monkeypatch) -> None:
    monkeypatch.setattr(denoising, "zero_point", lambda volume: -5.0)  # as for thin masked slices, however often asked
    scan = noisy(phantom((2, 32, 32)), SIGMA)
    result = denoise(scan, model.load("default"), Options(sigma=SIGMA, noise="gaussian"))
    assert np.abs(result.denoised - scan).mean() < 2 * SIGMA


@pytest.mark.parametrize("sigma", [10, 50])
def test_uniform_tissue_is_no_empty_space(sigma: float) -> None:
    assert zero_point(noisy(np.full((4, 64, 64), 1000.0), sigma)) == 0


@pytest.mark.parametrize("sigma", [10.0, 40.0])
def test_dark_tissue_below_empty_space_is_no_less_tissue(sigma: float) -> None:
    """Phase-sensitive inversion recovery: empty space at 0, dark tissue below it, and fat that outshines all."""
    clean = phantom((6, 96, 96))
    fat = np.where(np.arange(96) % 2, 2400, 0)
    signed = np.where(clean == 700, fat, np.where(clean == 0, 0, (clean - 850) / 1.8)).astype(np.float32)
    scan = noisy(signed, sigma)
    assert np.std(scan - box_mean(scan, 5)) > -signed.min()  # fine anatomy, not the noise
    zero = zero_point(scan)
    assert signed.min() - 3 * sigma < zero < signed.min() / 2
    assert (scan < zero).mean() < 0.02
