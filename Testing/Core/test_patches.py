"""Patches: windows of the scans, and never of slices that are held back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from trainings import noisy_disk

from C2SCore.patches import Case, PatchSampler, hold_back
from C2SCore.spectrum import BINS, Spectrum


def test_held_back_slices_are_never_trained_on() -> None:
    cases = [Case("a", noisy_disk()), Case("b", noisy_disk(1))]
    for case in cases:
        case.prepare()
    held = hold_back(cases, 0.25, seed=3)
    trained, kept = PatchSampler(cases, 32, 0, held), PatchSampler(cases, 32, 0, held, only_held=True)
    assert len(held) == 3 and set(kept.index) == set(held)
    assert not set(trained.index) & set(held) and len(trained.index) + len(held) == 12


def test_patches_come_from_the_scan_and_small_slices_are_padded() -> None:
    case = Case("scan", noisy_disk())
    case.prepare()
    batch = PatchSampler([case], 96, 1).draw(2, np.random.default_rng(0))
    assert batch.x.shape == (2, 3, 96, 96)
    values = set(np.round(case.target / case.signal, 4).ravel().tolist())
    assert set(np.round(batch.x[0, 0], 4).ravel().tolist()) <= values


def test_patches_are_windows_turned_and_flipped_beside_what_lies_there() -> None:
    shape, side = (6, 40, 50), 16
    voxels = np.arange(1, 1 + math.prod(shape), dtype=np.float32).reshape(shape)  # each tells where it lies
    spectrum = Spectrum(np.ones(BINS), np.linspace(1, 0.1, BINS))
    case = Case("scan", voxels, [7 * voxels], sigmas=np.arange(1, 7), powers=np.full(6, 50.0), signal=1.0)
    case.spectrum, case.slices, case.scales = spectrum, np.arange(6), (7.0,)
    batch = PatchSampler([case], side, 1).draw(200, np.random.default_rng(0))
    k, j, i = np.unravel_index(batch.x[:, 0].astype(int) - 1, shape)
    assert (k == k[:, :1, :1]).all() and np.array_equal(batch.sigma_d, k[:, 0, 0] + 1)
    steps = np.stack([np.diff(v, axis=axis)[:, :1, :1].ravel() for v in (j, i) for axis in (1, 2)], axis=1)
    assert len({tuple(step) for step in steps}) == 8 and (np.abs(steps).sum(axis=1) == 2).all()
    assert all(np.ptp(v, axis=(1, 2)).max() == side - 1 for v in (j, i))
    assert len(set(zip(j.min(axis=(1, 2)), i.min(axis=(1, 2))))) > 100
    for d, beside in ((-1, batch.x[:, 1]), (1, batch.x[:, 2])):
        inside = (k + d >= 0) & (k + d < 6)
        assert np.array_equal(beside, np.where(inside, batch.x[:, 0] + d * 2000, 0))
    assert np.allclose(batch.contrasts[:, 0], batch.x[:, 0])
    rows, columns = spectrum.profiles(side, side)
    for profiles, step in zip(batch.profiles, steps):
        assert np.allclose(profiles, [columns, rows] if step[0] == 0 else [rows, columns])


def test_known_levels_replace_the_measured_ones() -> None:
    case = Case("scan", noisy_disk(), source="/data/openms/scan.nii")
    case.prepare(known={"*other*": 0.5, "*openms*": 0.03})
    assert case.sigmas / case.signal == pytest.approx(np.full(6, 0.03))
