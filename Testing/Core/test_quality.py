"""Measures with known answers, and residuals of known content."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from phantom import blur, noisy, phantom

from C2SCore import quality
from C2SCore.errors import UserError

SIGMA = 70.0


def test_psnr_and_nrmse_of_known_noise():
    clean = phantom((4, 128, 128))
    image = noisy(clean, 25.0)
    expected = 20 * np.log10(float(np.ptp(clean)) / 25)
    assert quality.psnr(clean, image) == pytest.approx(expected, abs=0.1)
    assert quality.nrmse(clean, image) == pytest.approx(25 / np.sqrt((clean**2).mean()), rel=0.02)
    assert quality.psnr(clean, clean) == np.inf


def test_only_the_mask_counts():
    clean = phantom((2, 32, 32))
    mask = clean > 0
    image = np.where(mask, clean + 10, 1e6).astype(np.float32)
    inside = float(np.ptp(clean[mask]))
    assert quality.psnr(clean, image, mask) == pytest.approx(20 * np.log10(inside / 10), abs=1e-3)
    assert quality.nrmse(clean, image, mask) == pytest.approx(10 / np.sqrt((clean[mask] ** 2).mean()), rel=1e-4)


def test_ssim_is_one_for_the_same_and_falls_with_noise():
    clean = phantom((3, 48, 48))
    values = [quality.ssim(clean, noisy(clean, s)) for s in (0.0, 20.0, 80.0)]
    assert values[0] == pytest.approx(1)
    assert values[0] > values[1] > values[2] > 0
    assert quality.ssim(clean[:, 20:25, 10:17], clean[:, 20:25, 10:17]) == pytest.approx(1)


def test_measures_refuse_what_they_cannot_compare(monkeypatch):
    clean = phantom((2, 16, 16))
    with pytest.raises(UserError, match="one shape"):
        quality.psnr(clean, clean[:1])
    with pytest.raises(UserError, match="same shape"):
        quality.psnr(clean, clean, clean[:1] > 0)
    with pytest.raises(UserError, match="mask is empty"):
        quality.ssim(clean, clean, np.zeros(clean.shape))
    with pytest.raises(UserError, match="data range is 0"):
        quality.psnr(np.ones((1, 4, 4)), np.ones((1, 4, 4)))
    with pytest.raises(UserError, match="3 x 3"):
        quality.ssim(clean[:, :2], clean[:, :2])
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(UserError, match="pip install scikit-image"):
        quality.psnr(clean, clean)


VARYING = (SIGMA * np.linspace(0.6, 1.6, 96)).astype(np.float32)[None, None, :]


@pytest.mark.parametrize("kind", ["gaussian", "rician", "varying"])
@pytest.mark.parametrize("level", [0.5, 1.0, 2.0])
def test_residual_of_noise_and_residual_with_anatomy(kind, level):
    """What a perfect denoiser removes is called noise, what a blurring one removes is called anatomy."""
    clean = phantom()
    sigma = level * (VARYING if kind == "varying" else SIGMA)
    source = noisy(clean, sigma, "rician" if kind == "rician" else "gaussian")
    given = np.broadcast_to(sigma, clean.shape) if kind == "varying" else sigma
    # The mean of Rician noise: about sqrt(signal^2 + sigma^2), and sigma sqrt(pi / 2) where there is no signal.
    perfect = np.where(clean > 0, np.hypot(clean, sigma), sigma * np.sqrt(np.pi / 2)) if kind == "rician" else clean
    good = quality.residual_checks(source, perfect, given)
    bad = quality.residual_checks(source, blur(source, 1), given)
    assert (good["verdict"], bad["verdict"]) == ("noise", "anatomy")
    assert -0.15 < good["residual_edge_correlation"] < 0.08  # Rayleigh noise outside the head is weaker
    assert abs(good["residual_detail_correlation"]) < 0.05
    assert bad["residual_edge_correlation"] > 0.15
    assert good["removed"] == pytest.approx(1, abs=0.05)


def test_blurred_edges_alone_are_anatomy():
    """Whatever became of the noise: a residual of noise and lost edges is found out."""
    clean = phantom()
    checks = quality.residual_checks(noisy(clean, SIGMA), blur(clean, 2), SIGMA)
    assert checks["verdict"] == "anatomy"
    assert "fine structure" in checks["sentence"]


def test_nothing_removed_is_clean():
    source = noisy(phantom(), SIGMA)
    for denoised, sigma in ((source, SIGMA), (source, 0.0)):
        checks = quality.residual_checks(source, denoised, sigma)
        assert checks["verdict"] == "clean"
        assert checks["snr_gain_db"] == 0
    assert quality.residual_checks(source, source, 0.0)["snr_before"] is None


def test_an_image_too_small_to_judge_is_not_called_clean():
    source = noisy(phantom((1, 7, 5)) + 300, SIGMA)
    checks = quality.residual_checks(source, blur(source, 1), SIGMA)
    assert checks["verdict"] == "unknown" and "too little tissue" in checks["sentence"]


def test_numbers_are_those_of_the_detail_that_was_kept():
    clean = phantom((4, 192, 192))
    source = noisy(clean, SIGMA)
    for detail in (0.25, 0.5, 0.75):
        checks = quality.residual_checks(source, clean, SIGMA, detail)
        assert checks["removed"] == pytest.approx(1 - detail, abs=0.02)
        assert checks["snr_gain_db"] == pytest.approx(-20 * np.log10(detail), abs=1.5)
        assert checks["verdict"] == "noise"
    checks = quality.residual_checks(source, clean, SIGMA, 1.0)
    assert (checks["verdict"], checks["snr_gain_db"], checks["removed"]) == ("clean", 0, 0)
    assert "the result is the source" in checks["sentence"]


def test_numbers_are_right_and_scale_free():
    clean = phantom((4, 192, 192))
    source = noisy(clean, SIGMA)
    half = clean + 0.5 * (source - clean)
    checks = quality.residual_checks(source, half, SIGMA)
    assert checks["removed"] == pytest.approx(0.5, abs=0.02)
    # Half of the noise is left; judged as an optimal estimator, which would leave sqrt(1 - 0.5^2), it is more.
    assert checks["snr_gain_db"] == pytest.approx(-20 * np.log10(np.sqrt(0.75)), abs=0.2)
    assert checks["snr_before"] == pytest.approx(800 / SIGMA, rel=0.1)
    assert np.abs(checks["residual_autocorrelation"]).max() < 0.03
    scaled = quality.residual_checks(1000 * source, 1000 * half, 1000 * SIGMA)
    for key in ("snr_after", "residual_edge_correlation", "residual_detail_correlation", "removed"):
        assert scaled[key] == pytest.approx(checks[key], rel=0.01, abs=1e-4)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_gain_of_the_optimal_estimator(ratio):
    """Gaussian texture N(m, s^2): the best estimate and its error, s sigma / sqrt(s^2 + sigma^2), are known."""
    texture = SIGMA * ratio
    mask = phantom((4, 128, 128)) > 0
    clean = np.where(mask, 3000 + texture * np.random.default_rng(2).standard_normal(mask.shape), 0)
    source = noisy(clean, SIGMA)
    best = np.where(mask, (texture**2 * source + SIGMA**2 * 3000) / (texture**2 + SIGMA**2), 0)
    gain = quality.residual_checks(source, best, SIGMA)["snr_gain_db"]
    assert gain == pytest.approx(10 * np.log10(1 + 1 / ratio**2), abs=0.3)


def test_autocorrelation_of_a_smooth_residual():
    """Noise averaged over two neighbouring columns has a lag-one autocorrelation of 1/2 along I, and 0 along J."""
    clean = phantom()
    white = np.random.default_rng(3).standard_normal(clean.shape)
    source = (clean + SIGMA * (white + np.roll(white, 1, 2)) / np.sqrt(2)).astype(np.float32)
    along_j, along_i = quality.residual_checks(source, clean, SIGMA)["residual_autocorrelation"]
    assert along_i == pytest.approx(0.5, abs=0.03)
    assert along_j == pytest.approx(0, abs=0.03)


def test_checks_are_quick():
    source = noisy(phantom((18, 256, 256)), SIGMA)
    denoised = blur(source, 1)
    quality.residual_checks(source[:1], denoised[:1], SIGMA)  # first-call costs
    start = time.process_time()
    quality.residual_checks(source, denoised, SIGMA)
    assert time.process_time() - start < 2  # 0.3 s on an idle core; the limit allows for a loaded machine


def test_shapes_must_agree():
    with pytest.raises(UserError, match="same shape"):
        quality.residual_checks(np.zeros((2, 8, 8)), np.zeros((2, 8, 9)), 1.0)
    with pytest.raises(UserError, match="same shape"):
        quality.residual_checks(np.zeros((2, 8, 8)), np.zeros((2, 8, 8)), np.ones((2, 8, 7)))


def test_thick_volumes_are_judged_by_some_of_their_slices():
    clean = phantom((6, 96, 96))
    many = np.concatenate([clean] * 20)
    source = noisy(many, SIGMA)
    level = np.full(many.shape, SIGMA, np.float32)
    for sigma in (SIGMA, level):
        checks = quality.residual_checks(source, many, sigma)
        assert checks["verdict"] == "noise"
        assert checks["removed"] == pytest.approx(1, abs=0.02)
