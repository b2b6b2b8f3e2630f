"""The level that the bundled model sees: where the search for it ends, and what it does not believe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from phantom import blur, noisy, phantom

from C2SCore import calibration, model, refining
from C2SCore.inference import SlicePass
from C2SCore.spectrum import BINS, Spectrum, white_spectrum
from C2SCore.tissue import foreground


@pytest.fixture(scope="module")
def passes() -> SlicePass:
    return SlicePass(model.load("default").denoiser, torch.device("cpu"))


@pytest.mark.parametrize("kind", ["gaussian", "rician"])
def test_the_search_ends_at_one_level_wherever_it_begins(passes: SlicePass, kind: str) -> None:
    """Fine anatomy misleads the first estimate by a factor of 2 and more."""
    volume = noisy(blur(phantom((6, 128, 128)), 1), 40.0, kind)
    mask, magnitude = foreground(volume), kind == "rician"
    starts = (32.0, 40.0, 60.0, 100.0)
    found = [refining.refine(volume, mask, start, None, white_spectrum(), magnitude, passes) for start in starts]
    assert max(found) / min(found) < 1.05
    assert np.mean(found) == pytest.approx(40.0, rel=0.1)


def test_fine_anatomy_is_no_map_of_noise(passes: SlicePass, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is little noise, what seems to vary over the plane is not believed."""
    ramp = np.linspace(0.5, 1.5, 128)
    monkeypatch.setattr(calibration, "noise_shape", lambda *_: np.broadcast_to(ramp, (128, 128)).copy())
    monkeypatch.setattr(calibration, "refined_shape", lambda part, mask, sigma, shape, *_: shape)
    for sigma, dimensions in ((80.0, 3), (16.0, 1)):
        volume = noisy(phantom((6, 128, 128)), sigma)
        assert calibration.measure(volume, None, "auto", passes).levels.ndim == dimensions


@pytest.mark.parametrize("assumed", ["white", "too soft"])
def test_the_model_corrects_a_spectrum(passes: SlicePass, assumed: str) -> None:
    """What a wrong spectrum leaves, or takes, shows in the power of the residual, frequency by frequency."""
    grid = np.linspace(0, 0.5, BINS)
    true = np.exp(-np.square(grid / 0.45))
    rng = np.random.default_rng(0)
    gain = np.sqrt(np.interp(np.abs(np.fft.fftfreq(128)), grid, true))
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((4, 128, 128))) * np.outer(gain, gain)).real
    volume = (blur(phantom((4, 128, 128)), 2) + 60 * noise / noise.std()).astype(np.float32)
    wrong = np.ones(BINS) if assumed == "white" else np.square(true) * true
    found = refining.refined_spectrum(volume, foreground(volume), 60.0, None, Spectrum(wrong, wrong), False, passes)
    assert found is not None
    for profile in (found.rows, found.columns):
        assert np.abs(np.log(profile / true))[grid < 0.4].max() < np.abs(np.log(wrong / true))[grid < 0.4].max() / 2
    again = refining.refined_spectrum(volume, foreground(volume), 60.0, None, Spectrum(true, true), False, passes)
    assert again is None


def test_a_search_that_leads_nowhere_gives_its_start_back(passes, monkeypatch) -> None:
    """Where hardly anything depends on the level, each step goes a little further down, and round after round would
    end at no noise at all.
    """

    def flat(probe, level, magnitude):
        expected = np.ones_like(probe.x)
        return (0.95 + 0.02 * np.log(level / 30)) * expected, expected

    monkeypatch.setattr(refining._Probe, "moments", flat)
    volume = noisy(phantom((2, 96, 96)), 30)
    mask = np.ones(volume.shape, dtype=bool)
    assert refining.refine(volume, mask, 30.0, None, white_spectrum(), False, passes) == 30.0


@pytest.mark.parametrize("snr", [20, 100])
@pytest.mark.parametrize("kind", ["gaussian", "rician"])
def test_level_of_a_phantom_that_is_uniform(passes, kind: str, snr: float) -> None:
    """No anatomy as the model has learnt it: there the flattest tissue and empty space, which agree, are believed."""
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    clean = np.repeat((1000.0 * (x**2 + y**2 < 0.3))[None], 2, axis=0)
    found = calibration.measure(noisy(clean, 1000 / snr, kind), None, "auto", passes)
    assert found.magnitude is (kind == "rician")
    assert found.sigma == pytest.approx(1000 / snr, rel=0.03)


@pytest.mark.parametrize("sigma", [2.0, 5.0])
def test_fine_anatomy_is_no_noise_where_empty_space_shows_little(passes: SlicePass, sigma: float) -> None:
    rng = np.random.default_rng(0)
    clean = phantom((6, 128, 128))
    clean = blur(clean + 60 * (clean > 0) * rng.standard_normal(clean.shape).astype(np.float32), 1).clip(0)
    found = calibration.measure(noisy(clean, sigma, "rician"), None, "auto", passes)
    assert found.magnitude
    assert found.sigma == pytest.approx(sigma, rel=0.05)
