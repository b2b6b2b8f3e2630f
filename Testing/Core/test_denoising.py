"""Denoising a volume: what goes in, what comes out, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from denoisers import Mean, Shrink, disk, model_of, tissue
from phantom import blur, noisy, phantom

from C2SCore import inference, refining, rician
from C2SCore.background import tissue_window
from C2SCore.denoiser import Denoiser
from C2SCore.denoising import Options, denoise, with_detail
from C2SCore.errors import Cancelled, UserError
from C2SCore.inference import SlicePass
from C2SCore.model import load
from C2SCore.noise import estimate_sigma
from C2SCore.spectrum import white_spectrum
from C2SCore.tensors import to_array, to_tensor
from C2SCore.tissue import foreground


def test_identity_network_returns_the_input_exactly() -> None:
    scan = disk()
    result = denoise(scan, model_of(), Options(sigma=10.0, noise="gaussian", device="cpu"))
    assert np.array_equal(result.denoised, scan)


def test_identity_network_returns_the_input_through_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "CPU_PIXELS", 140 * 140)
    scan = disk((2, 300, 331))
    result = denoise(scan, model_of(), Options(sigma=10.0, noise="gaussian", device="cpu"))
    assert np.allclose(result.denoised, scan, atol=1e-4)


def test_identity_network_through_the_stabilising_transform() -> None:
    scan = np.abs(disk())
    result = denoise(scan, model_of(), Options(sigma=2.0, noise="rician", device="cpu"))
    # The inverse of one noisy value is no identity: it takes the bias of the magnitude out.
    expected = 2.0 * to_array(rician.restore(rician.stabilise(to_tensor(scan / 2.0))))
    assert np.allclose(result.denoised, expected, rtol=1e-4, atol=1e-3)
    assert result.noise == "rician"


def test_the_source_is_not_touched() -> None:
    scan = disk()
    before = scan.copy()
    for noise in ("gaussian", "auto"):
        result = denoise(scan, model_of(), Options(sigma=10.0, noise=noise, device="cpu"))
        result.denoised[:] = 0
    assert np.array_equal(scan, before)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 7), (3, 1, 9), (2, 17, 64)])
def test_odd_sizes_work(shape: tuple[int, int, int]) -> None:
    scan = np.random.default_rng(0).random(shape).astype(np.float32)
    if scan.size == 1:
        with pytest.raises(UserError, match="nothing to denoise"):
            denoise(scan, model_of(Denoiser), Options(sigma=0.1, device="cpu"))
        return
    result = denoise(scan, model_of(Denoiser), Options(sigma=0.1, noise="gaussian", device="cpu"))
    assert result.denoised.shape == shape and np.isfinite(result.denoised).all()


def test_neighbours_are_the_slices_above_and_below() -> None:
    scan = tissue()
    result = denoise(scan, model_of(Mean, neighbours=1), Options(sigma=10.0, noise="gaussian", device="cpu"))
    padded = np.concatenate([np.zeros_like(scan[:1]), scan, np.zeros_like(scan[:1])])
    assert np.allclose(result.denoised, (padded[:-2] + padded[1:-1] + padded[2:]) / 3, atol=1e-4)


def test_slices_that_share_noise_do_not_help_each_other() -> None:
    scan = tissue((9, 64, 64))
    shared = (scan[1:] + scan[:-1]) / 2
    result = denoise(shared, model_of(Mean, neighbours=1), Options(sigma=7.0, noise="gaussian", device="cpu"))
    assert np.allclose(result.denoised, shared / 3, atol=1e-4)
    assert any("share their noise" in text for text in result.warnings)


def test_detail_is_a_straight_line_from_estimate_to_source() -> None:
    scan = tissue(sigma=1.0, level=100.0)
    full = denoise(scan, model_of(Shrink), Options(sigma=1.0, noise="gaussian", device="cpu"))
    half = denoise(scan, model_of(Shrink), Options(sigma=1.0, noise="gaussian", detail=0.25, device="cpu"))
    assert np.allclose(half.estimate, full.estimate)
    # sigma_target = 0.5 sigma_d: E[x_target | x_d] = x_d (1 + 0.25) / (1 + 1) for unit Gaussian data.
    assert np.allclose(half.denoised, scan * 1.25 / 2, atol=1e-4)
    assert np.array_equal(with_detail(scan, full.estimate, 1.0), full.estimate + (scan - full.estimate))


def test_a_map_is_taken_pixel_by_pixel() -> None:
    scan = tissue(sigma=1.0, level=100.0)
    sigma = np.linspace(0.5, 2.0, scan.size, dtype=np.float32).reshape(scan.shape)
    result = denoise(scan, model_of(Shrink), Options(sigma=sigma, noise="gaussian", device="cpu"))
    assert np.allclose(result.denoised, scan / (1 + sigma**2), rtol=1e-5, atol=1e-5)


def test_uncertainty_is_the_posterior_deviation() -> None:
    scan = disk((4, 64, 64), sigma=1.0)
    result = denoise(scan, model_of(Shrink), Options(sigma=1.0, noise="gaussian", uncertainty=True, device="cpu"))
    assert result.uncertainty is not None
    # Unit Gaussian data, sigma 1: posterior variance 1/2.
    assert np.sqrt(np.mean(result.uncertainty**2)) == pytest.approx(0.5**0.5, rel=0.05)


def test_clean_input_is_returned_as_it_is() -> None:
    scan = disk((3, 128, 128), sigma=0.0)
    result = denoise(scan, model_of(Shrink), Options(device="cpu", uncertainty=True))
    assert result.noise == "clean" and np.array_equal(result.denoised, scan)
    assert result.uncertainty is not None and not result.uncertainty.any()
    assert any("as it is" in text for text in result.warnings)
    assert denoise(disk(), model_of(Shrink), Options(sigma=0.0, device="cpu")).noise == "clean"


def test_noise_outside_the_models_range_is_said() -> None:
    result = denoise(disk(sigma=60.0), model_of(), Options(sigma=60.0, noise="gaussian", device="cpu"))
    assert any("this model learnt" in text for text in result.warnings)
    assert not denoise(disk(), model_of(), Options(sigma=10.0, noise="gaussian", device="cpu")).warnings


def test_cancel_between_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "CPU_PIXELS", 40 * 48)
    seen: list[tuple[str, int, int]] = []
    with pytest.raises(Cancelled):
        denoise(
            disk(),
            model_of(),
            Options(sigma=10.0, noise="gaussian", device="cpu"),
            progress=lambda *args: seen.append(args),
            cancelled=lambda: sum(stage == "denoise" for stage, _, _ in seen) == 2,
        )
    assert [done for stage, done, _ in seen if stage == "denoise"] == [1, 2]


def test_a_model_that_needs_contrasts_takes_the_level_that_the_bundled_one_sees() -> None:
    clean, options = phantom((6, 128, 128)), Options(device="cpu", noise="gaussian")
    scan = noisy(clean, 45.0)
    found = denoise(scan, model_of(contrasts=1), options, auxiliary=[clean])
    assert found.sigma == denoise(scan, load("default"), options).sigma
    assert found.sigma != pytest.approx(estimate_sigma(scan), rel=0.01)


def test_contrasts_must_be_those_of_the_model() -> None:
    scan = disk()
    with pytest.raises(UserError, match="reads 1 other contrasts"):
        denoise(scan, model_of(contrasts=1), Options(sigma=10.0, device="cpu"))
    with pytest.raises(UserError, match="one grid"):
        denoise(scan, model_of(contrasts=1), Options(sigma=10.0, device="cpu"), auxiliary=[scan[1:]])
    denoise(scan, model_of(contrasts=1), Options(sigma=10.0, noise="gaussian", device="cpu"), auxiliary=[scan])


@pytest.mark.parametrize(
    ("volume", "options", "says"),
    [
        (np.full((2, 8, 8), np.nan), Options(), "NaN or infinite"),
        (np.full((2, 8, 8), np.inf), Options(), "NaN or infinite"),
        (np.eye(8)[None] * 1e16, Options(), "strongest voxel of the volume is 1e\\+16"),
        (np.eye(8)[None] * 1e-10, Options(), "Multiply the scan"),
        (np.full((2, 8, 8), 3.0), Options(), "nothing to denoise"),
        (np.zeros((2, 8, 8, 3)), Options(), "has shape"),
        (np.zeros((0, 8, 8)), Options(), "has shape"),
        (np.zeros((2, 8, 8), dtype=complex), Options(), "real numbers"),
        (disk(), Options(sigma=-1.0), "above 0"),
        (disk(), Options(sigma=float("nan")), "above 0"),
        (disk(), Options(sigma=np.ones((2, 2, 2))), "must agree"),
        (disk(), Options(sigma="much"), "'auto', a number or a map"),
        (disk(), Options(noise="poisson"), "'gaussian' or 'rician'"),
        (disk(), Options(noise="rician"), "negative voxels"),
        (disk(), Options(detail=1.5), "from 0"),
        (disk(), Options(sigma=1.0, device="gpu"), "must be one of"),
    ],
)
def test_bad_input_is_refused_with_value_rule_and_fix(volume: np.ndarray, options: Options, says: str) -> None:
    with pytest.raises(UserError, match=says):
        denoise(volume, model_of(), options)


class Wiener(Denoiser):
    """Per-frequency posterior mean of data with power 4 / (0.05 + f)^2, in units of sigma: a denoiser that fits its
    data exactly.
    """

    def forward(self, x, sigma, aux=None, sigma_data=None):  # type: ignore[no-untyped-def]
        power = prior(*x.shape[-2:])
        return torch.fft.ifft2(
            torch.fft.fft2(x) * power / (power + sigma.reshape(-1, 1, 1, 1) ** 2 / WIENER_SIGMA**2)
        ).real


WIENER_SIGMA = 1.0


def prior(height: int, width: int) -> torch.Tensor:
    f = (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.fftfreq(width)[None] ** 2).sqrt()
    power = 0.02 / (0.05 + f) ** 2
    power[0, 0] = 1e6  # the mean is not part of the prior
    return power


@pytest.mark.parametrize("wrong", [0.6, 1.0, 1.6])
def test_level_is_corrected_by_a_model_that_fits(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    amplitude = prior(96, 96).sqrt()
    clean = torch.fft.ifft2(torch.fft.fft2(torch.randn(6, 96, 96, generator=g)) * amplitude).real
    volume = (10 + clean + torch.randn(6, 96, 96, generator=g)).numpy()
    passes = SlicePass(Wiener("small"), torch.device("cpu"))

    class Scaled(Wiener):
        def forward(self, x, sigma, aux=None, sigma_data=None):  # type: ignore[no-untyped-def]
            # refine() works in units of the assumed sigma; the prior is in the scan's unit.
            s = Scaled.assumed
            return super().forward(x * s, sigma * s) / s

    passes.denoiser = Scaled("small")
    original = refining._Probe.moments

    def spy(probe, level, magnitude):  # type: ignore[no-untyped-def]
        Scaled.assumed = float(level)
        return original(probe, level, magnitude)

    monkeypatch.setattr(refining._Probe, "moments", spy)
    mask = np.ones(volume.shape, dtype=bool)
    found = refining.refine(volume, mask, wrong, None, white_spectrum(), False, passes)
    assert found == pytest.approx(1, rel=0.04)


class Bright(Denoiser):
    """h = the noise-free phantom of `_scan` with some light left where there is none."""

    def forward(self, x, sigma, aux=None, sigma_data=None):  # type: ignore[no-untyped-def]
        return torch.where(x > 50, 100.0, 0.4)


def test_empty_space_keeps_the_mean_of_the_source_and_tissue_its_values() -> None:
    scan = disk((6, 96, 96), sigma=5.0)
    tissue = scan > 50
    result = denoise(scan, model_of(Bright), Options(sigma=5.0, noise="gaussian", device="cpu"))
    assert (result.estimate[tissue] == 100).all()
    assert abs(result.estimate[~tissue].mean()) < 0.15 < 0.4


@pytest.mark.parametrize("kind", ["gaussian", "rician"])
def test_empty_slices_come_out_empty(kind: str) -> None:
    """The default model on slices of pure noise, as at the ends of many volumes."""
    clean = phantom((4, 64, 64))
    clean[0] = clean[3] = 0
    result = denoise(noisy(clean, 70.0, kind), load("default"), Options(sigma=70.0, noise=kind)).estimate
    assert all(np.sqrt(np.mean(result[k] ** 2)) < 0.3 * 70 for k in (0, 3))


def test_frames_that_repeat_bound_the_level() -> None:
    scan = disk((6, 96, 96), sigma=5.0)
    free = denoise(scan, model_of(Bright), Options(device="cpu"))
    bound = denoise(scan, model_of(Bright), Options(device="cpu", sigma_limit=0.5 * free.sigma))
    assert bound.sigma == pytest.approx(0.5 * free.sigma)
    assert bound.levels == pytest.approx(0.5 * free.levels, rel=1e-5)
    assert bound.numbers["sigma_bounded"] and not free.numbers["sigma_bounded"]


@pytest.mark.parametrize("kind", ["gaussian", "rician"])
def test_a_level_that_cannot_be_right_is_said(kind: str) -> None:
    """The residual does not show it: what is removed beyond the noise is too faint to be seen beside it."""
    scan, model = noisy(phantom((4, 96, 96)), 70.0, kind), load("default")
    for told, danger in ((70.0, ""), (40.0, "noise may be left"), (110.0, "detail may be lost")):
        result = denoise(scan, model, Options(sigma=told, noise=kind))
        said = [text for text in result.warnings if "was set to" in text]
        assert (danger in said[0]) if danger else not said
        assert result.numbers["sigma_measured"] == pytest.approx(70.0, rel=0.12)


def test_a_low_level_that_was_given_is_believed_where_there_is_little_noise() -> None:
    """As from repetitions of an EPI scan: its finest anatomy passes for noise."""
    clean = phantom((4, 96, 96))
    fine = np.random.default_rng(5).normal(0, 25, (1, 96, 96)).astype(np.float32) * (clean > 0)
    result = denoise(noisy(clean + fine, 10.0), load("default"), Options(sigma=10.0, noise="gaussian"))
    assert result.numbers["sigma_measured"] > 15 and not any("was set to" in text for text in result.warnings)


def test_masked_space_stays_zero() -> None:
    scan = disk((6, 96, 96), sigma=5.0)
    tissue = scan > 50
    masked = np.where(tissue, scan, 0).astype(np.float32)
    options = Options(sigma=5.0, noise="gaussian", device="cpu")
    assert (denoise(masked, model_of(Bright), options).estimate[~tissue] == 0).all()
    assert (denoise(scan, model_of(Bright), options).estimate[~tissue] != 0).any()


def test_tissue_window_holds_the_tissue_and_little_else() -> None:
    volume = np.random.default_rng(0).normal(0, 5, (3, 96, 128)).astype(np.float32)
    volume[:, 30:60, 40:100] += 100
    rows, columns = tissue_window(volume)
    assert 30 - 12 <= rows.start <= 30 - 6 and 60 + 6 <= rows.stop <= 60 + 12
    assert 40 - 12 <= columns.start <= 40 - 6 and 100 + 6 <= columns.stop <= 100 + 12
    assert tissue_window(np.zeros((1, 9, 9), dtype=np.float32)) == (slice(None), slice(None))


@pytest.mark.parametrize("sigma", [0.0, 1e-3])
def test_a_level_of_nothing_is_contradicted(sigma: float) -> None:
    scan = noisy(phantom(), 60.0)
    result = denoise(scan, load("default"), Options(sigma=sigma))
    assert result.noise == "clean" and np.array_equal(result.denoised, scan)
    assert "was set to" in result.warnings[0] and "noise may be left" in result.warnings[0]
    assert result.warnings[1] == "At this noise level there is nothing to remove: the volume is returned as it is."


def test_filtered_tissue_beside_noisy_empty_space_is_said() -> None:
    clean = blur(phantom((4, 96, 96)), 3)
    magnitude = noisy(clean, 80.0, "rician")
    tissue = foreground(magnitude)
    filtered = np.where(tissue, 0.6 * blur(magnitude, 2) + 0.4 * magnitude, magnitude).astype(np.float32)
    said = [text for text in denoise(filtered, load("default")).warnings if "empty space" in text]
    assert len(said) == 1 and "filtered" in said[0]
    assert not any("empty space" in text for text in denoise(magnitude, load("default")).warnings)


def test_a_window_over_k_space_is_no_filtered_tissue() -> None:
    rng = np.random.default_rng(0)
    clean = blur(phantom((4, 160, 160)), 3)
    noise = rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)
    window = 0.54 + 0.46 * np.cos(2 * np.pi * np.fft.fftfreq(160))  # Hamming's, over the whole of k-space
    scan, alone = (np.fft.ifft2(np.fft.fft2(v) * window[:, None] * window) for v in (clean + 80 * noise, 80 * noise))
    result = denoise(np.abs(scan).astype(np.float32), load("default"))
    assert result.sigma == pytest.approx(alone.real.std(), rel=0.15)
    assert not any("empty space" in text for text in result.warnings)


def test_a_model_that_learnt_nothing_does_not_measure() -> None:
    """The level is what the bundled model sees: a model's own training was told that, too."""
    noise = denoise(disk((4, 96, 96), sigma=10.0), model_of(Denoiser), Options(device="cpu", noise="gaussian"))
    assert noise.sigma == pytest.approx(10, rel=0.15)


def test_a_model_that_makes_nan_is_refused() -> None:
    class Broken(Denoiser):
        def forward(self, x, sigma, aux=None, sigma_data=None):
            return x * np.nan

    with pytest.raises(UserError, match="makes NaN"):
        denoise(disk(), model_of(Broken), Options(sigma=10.0, noise="gaussian", device="cpu"))
