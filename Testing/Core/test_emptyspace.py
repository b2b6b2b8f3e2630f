"""What empty space says of the noise: its level, and whether it is that of a magnitude; on phantoms of known noise."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import noisy, phantom

from C2SCore.emptyspace import EmptySpace
from C2SCore.noise import is_magnitude
from C2SCore.tissue import foreground

SIGMA = 80.0
CLEAN = phantom((4, 128, 128))
GAUSSIAN, MAGNITUDE = noisy(CLEAN, SIGMA), noisy(CLEAN, SIGMA, "rician")


def _seen(volume: np.ndarray) -> EmptySpace:
    return EmptySpace(volume, foreground(volume))


def test_magnitude_is_told_from_additive_noise() -> None:
    assert is_magnitude(MAGNITUDE, _seen(MAGNITUDE), SIGMA)
    assert not _seen(GAUSSIAN).is_magnitude(SIGMA)
    assert not is_magnitude(np.abs(GAUSSIAN), _seen(np.abs(GAUSSIAN)), SIGMA)


def test_level_of_a_magnitude() -> None:
    assert _seen(MAGNITUDE).sigma() == pytest.approx(SIGMA, rel=0.02)
    assert EmptySpace(MAGNITUDE, np.ones(MAGNITUDE.shape, dtype=bool)).sigma() == 0


@pytest.mark.parametrize("offset", [0, 0.5, 1000])
def test_level_of_noise_that_goes_both_ways(offset: float) -> None:
    volume = GAUSSIAN + np.float32(offset * SIGMA)
    found = EmptySpace(volume, foreground(GAUSSIAN)).sigma(magnitude=False)
    assert found == (pytest.approx(SIGMA, rel=0.03) if offset < 1 else 0)


@pytest.mark.parametrize("volume", [MAGNITUDE, MAGNITUDE - SIGMA, np.maximum(GAUSSIAN, 0)])
def test_magnitudes_and_clipped_noise_do_not_go_both_ways(volume: np.ndarray) -> None:
    assert _seen(volume).sigma(magnitude=False) == 0


def test_dark_skin_is_not_taken_for_empty_space() -> None:
    skin = (CLEAN > 0) | (np.roll(CLEAN, 6, 2) > 0) | (np.roll(CLEAN, -6, 2) > 0)
    volume = noisy(np.where(CLEAN > 0, CLEAN, np.where(skin, 2 * SIGMA, 0)), SIGMA, "rician")
    mask = CLEAN > 0
    assert np.median(volume[skin & ~mask]) > 1.5 * SIGMA
    assert EmptySpace(volume, mask).sigma() == pytest.approx(SIGMA, rel=0.02)


def test_masked_or_windowed_background_is_no_magnitude() -> None:
    mask = foreground(MAGNITUDE)
    cut, windowed, whole = np.where(mask, MAGNITUDE, 0), np.maximum(MAGNITUDE - 0.4 * SIGMA, 0), np.round(MAGNITUDE)
    assert not is_magnitude(cut, EmptySpace(cut, mask), SIGMA)
    assert not EmptySpace(windowed, mask).is_magnitude(SIGMA)
    assert EmptySpace(whole, mask).is_magnitude(SIGMA)


def test_little_empty_space_says_nothing() -> None:
    small = MAGNITUDE[:1, :8, :8]
    nothing = EmptySpace(small, np.zeros(small.shape, dtype=bool))
    assert nothing.values.size == 64
    assert nothing.sigma() == 0
    assert not nothing.is_magnitude(SIGMA)


@pytest.mark.parametrize("step", [1.0, 0.37])
@pytest.mark.parametrize("sigma", [1.9, 2.6, 3.8, 5.5])
def test_level_of_values_that_were_rounded(sigma: float, step: float) -> None:
    """As in most files: a median of whole numbers is a whole number, which of weak noise is far off."""
    magnitude, gaussian = (np.float32(step) * np.round(sigma / SIGMA * volume) for volume in (MAGNITUDE, GAUSSIAN))
    found = EmptySpace(magnitude, foreground(MAGNITUDE))
    assert found.sigma() == pytest.approx(step * sigma, rel=0.02) and found.is_magnitude(step * sigma)
    both = EmptySpace(gaussian, foreground(GAUSSIAN)).sigma(magnitude=False)
    assert both == pytest.approx(step * np.hypot(sigma, 0.4), rel=0.03)  # rounding is noise, too


def test_dark_tissue_is_not_rough() -> None:
    """What is left away from bright tissue may be fluid, whose intensities pass for those of a magnitude's noise."""
    air = noisy(np.zeros((4, 96, 96), np.float32), 40.0, "rician")
    rng = np.random.default_rng(0)
    places = np.kron(np.hypot(*rng.normal(0, 40, (2, 4, 8, 8))), np.ones((12, 12)))
    fluid = noisy(places.astype(np.float32), 8.0, "rician")
    for volume, rough in ((air, True), (fluid, False)):
        space = EmptySpace(volume, np.zeros(volume.shape, dtype=bool))
        assert space.is_magnitude(space.sigma())
        assert space.is_rough(space.sigma()) == rough
