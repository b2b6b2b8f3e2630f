"""Scans with exact zeros where something was cut away."""

from __future__ import annotations

import numpy as np
from phantom import noisy, phantom

from C2SCore import calibration, denoising, model
from C2SCore.denoising import Options, denoise
from C2SCore.emptyspace import EmptySpace
from C2SCore.inference import SlicePass
from C2SCore.masked import cut_away, filled, is_masked
from C2SCore.noise import is_magnitude
from C2SCore.tissue import foreground

SIGMA = 60.0


def _brain() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A phantom, the same with noise, and a mask whose edge lies in tissue."""
    clean = phantom((6, 96, 96))
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    mask = np.broadcast_to((x / 0.55) ** 2 + (y / 0.62) ** 2 < 1, clean.shape)
    return clean, noisy(clean, SIGMA), mask


def test_squares_of_zeros_were_cut_away_and_single_ones_not() -> None:
    slices = np.random.default_rng(0).normal(0, 1, (2, 40, 50)).astype(np.float32)
    slices[0, 10:16, 20:30] = 0
    slices[0, 30:34, 5:40] = 0  # too thin
    slices[1, 5, 5] = 0
    slices[1, :, 48:] = 0  # goes on beyond the border
    expected = np.zeros(slices.shape, dtype=bool)
    expected[0, 10:16, 20:30] = expected[1, :, 48:] = True
    assert np.array_equal(cut_away(slices), expected)
    assert not cut_away(np.ones((1, 3, 4), dtype=np.float32)).any()


def test_tissue_and_its_noise_go_on_beyond_the_edge() -> None:
    clean, scan, mask = _brain()
    cut = np.where(mask, scan, 0).astype(np.float32)
    full = filled(cut, np.full(6, SIGMA), 0)
    assert np.array_equal(full[mask], cut[mask])
    near = ~mask & (np.roll(mask, 2, 2) | np.roll(mask, -2, 2))
    assert abs(full[near].mean() - clean[near].mean()) < 0.5 * SIGMA
    assert 0.7 * SIGMA < np.std(full[near] - clean[near]) < 2.5 * SIGMA
    # Each slice is filled alike, whichever slices are passed along with it; without a cut nothing is touched.
    assert np.array_equal(filled(cut[2:4], np.full(2, SIGMA), 2), full[2:4])
    assert filled(scan, np.full(6, SIGMA), 0) is scan


def test_the_edge_of_a_mask_is_as_good_as_the_inside() -> None:
    """Without filling, the outermost pixels have more error than the noise that was there."""
    clean, scan, mask = _brain()
    cut = np.where(mask, scan, 0).astype(np.float32)
    inner = mask & np.roll(mask, 1, 1) & np.roll(mask, -1, 1) & np.roll(mask, 1, 2) & np.roll(mask, -1, 2)
    rim, options = mask & ~inner, Options(sigma=SIGMA, noise="gaussian", uncertainty=True)

    def error(result: denoising.Result) -> float:
        return float(np.sqrt(np.mean((result.estimate - clean)[rim] ** 2)) / SIGMA)

    result = denoise(cut, model.load("default"), options)
    assert is_masked(cut) and not is_masked(scan)
    assert error(result) < 0.9
    assert not result.estimate[~mask].any() and not result.uncertainty[~mask].any()


def test_a_face_that_was_cut_off_stays_cut_off_and_the_rest_is_untouched() -> None:
    _, scan, _ = _brain()
    scan[:, :20, :40] = 0
    assert not is_masked(scan)
    estimate = denoise(scan, model.load("default"), Options(sigma=SIGMA, noise="gaussian")).estimate
    assert not estimate[:, :20, :40].any()
    assert (estimate[:, 20:, 40:] != 0).all()


def test_level_of_a_masked_scan_is_that_of_the_whole() -> None:
    _, scan, mask = _brain()
    loaded = model.load("default")
    passes = SlicePass(loaded.denoiser, denoising.choose_device("cpu"))
    whole, cut = (
        calibration.measure(v.astype(np.float32), None, "gaussian", passes).sigma
        for v in (scan, np.where(mask, scan, 0))
    )
    assert abs(cut / whole - 1) < 0.1


def test_a_level_is_measured_where_hardly_any_tissue_is_left() -> None:
    loaded = model.load("default")
    passes = SlicePass(loaded.denoiser, denoising.choose_device("cpu"))
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    scan = noisy(np.broadcast_to((x**2 + y**2 < 0.05) * 800.0, (3, 32, 32)), 40)
    scan[:, x**2 + y**2 >= 0.05] = 0
    assert calibration.measure(scan, None, "auto", passes).sigma > 0


def _dark(kind: str) -> np.ndarray:
    """A masked brain with dark ventricles, and noise of SIGMA."""
    clean, _, mask = _brain()
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    clean[:, x**2 + y**2 < 0.04] = 30
    return np.where(mask, noisy(clean, SIGMA, kind), 0).astype(np.float32)


def test_a_masked_magnitude_lacks_the_negative_values_of_dark_tissue() -> None:
    scans = {kind: _dark(kind) for kind in ("gaussian", "rician")}
    clipped = np.maximum(scans["gaussian"], 0)
    assert {kind: is_magnitude(v, EmptySpace(v, foreground(v)), SIGMA) for kind, v in scans.items()} == {
        "gaussian": False,
        "rician": True,
    }
    assert not is_magnitude(clipped, EmptySpace(clipped, foreground(clipped)), SIGMA)
    _, _, mask = _brain()
    bright = np.where(mask, np.abs(noisy(700.0 + 0 * scans["rician"], SIGMA)), 0).astype(np.float32)
    assert not is_magnitude(
        bright, EmptySpace(bright, foreground(bright)), SIGMA
    )  # too bright to tell, and for it to matter


def test_empty_space_of_a_masked_magnitude_is_filled_as_that_of_a_magnitude() -> None:
    cut = _dark("rician")
    full = filled(cut, np.full(len(cut), SIGMA), 0, magnitude=True)
    empty = full[:, :10]
    assert empty.min() > 0 and abs(np.median(empty) / (1.1774 * SIGMA) - 1) < 0.05
    assert abs(filled(cut, np.full(len(cut), SIGMA), 0)[:, :10].mean()) < 0.1 * SIGMA


def test_a_magnitude_stays_one_where_a_face_was_cut_away_or_the_matrix_filled_up() -> None:
    scan = noisy(phantom((6, 96, 96)), SIGMA, "rician")
    faceless = scan.copy()
    faceless[:, 70:, 20:70] = 0
    padded = np.pad(scan, ((0, 0), (0, 0), (16, 16)))
    loaded = model.load("default")
    whole, *others = (denoise(v, loaded) for v in (scan, faceless, padded))
    for other in others:
        assert other.noise == whole.noise == "rician"
        assert abs(other.sigma / whole.sigma - 1) < 0.02
    inside = padded[:, :, 16:-16] > 0
    assert np.sqrt(np.mean((others[1].estimate[:, :, 16:-16] - whole.estimate)[inside] ** 2)) < 0.1 * SIGMA
