"""Geometry of scans: grids compared, scans resampled, unusable ones refused."""

from __future__ import annotations

import numpy as np
import pytest

from C2SCore.errors import UserError
from C2SCore.scan import Scan, check, overlap, resample_to, same_grid


def ramp(shape=(4, 10, 12), spacing=(1.0, 1.0, 2.0), origin=(0.0, 0.0, 0.0)) -> Scan:
    """A scan whose value is x + 10 y + 100 z of the voxel's place, which linear interpolation reproduces."""
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = origin
    k, j, i = np.indices(shape)
    x, y, z = (matrix @ np.stack([i, j, k, np.ones(shape)]).reshape(4, -1))[:3].reshape(3, *shape)
    return Scan((x + 10 * y + 100 * z).astype(np.float32), spacing, matrix, "ramp")


def test_resampling_puts_values_where_they_belong():
    moving = ramp(shape=(8, 22, 30), spacing=(0.5, 0.5, 1.0), origin=(-0.7, -0.3, -0.2))
    reference = ramp()
    moved = resample_to(moving, reference)
    assert same_grid(moved, reference)
    inside = moved.voxels != 0
    assert inside.mean() == pytest.approx(overlap(moving, reference), abs=0.1)
    np.testing.assert_allclose(moved.voxels[inside], reference.voxels[inside], atol=2e-3)


def test_left_handed_scans_resample_by_place_not_by_index():
    reference = ramp()
    matrix = reference.ijk_to_ras @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 3], [0, 0, 0, 1.0]])
    flipped = Scan(np.ascontiguousarray(reference.voxels[::-1]), reference.spacing, matrix, "flipped")
    assert not same_grid(flipped, reference)
    np.testing.assert_allclose(resample_to(flipped, reference).voxels, reference.voxels, atol=1e-3)


def test_scans_apart_are_refused():
    with pytest.raises(UserError, match="do not overlap"):
        resample_to(ramp(origin=(500, 0, 0)), ramp())


def test_same_grid_sees_shape_and_small_shifts():
    a = ramp()
    assert same_grid(a, ramp(origin=(0.005, 0, 0)))
    assert not same_grid(a, ramp(origin=(0.1, 0, 0)))
    assert not same_grid(a, ramp(shape=(4, 10, 13)))
    assert not same_grid(a, ramp(spacing=(1.0, 1.01, 2.0)))


@pytest.mark.parametrize(("value", "rule"), [(np.nan, "1 voxels that are NaN"), (np.inf, "infinite")])
def test_values_that_are_no_numbers_are_refused(value, rule):
    scan = ramp()
    voxels = scan.voxels.copy()
    voxels[1, 2, 3] = value
    with pytest.raises(UserError, match=rule):
        check(scan.with_voxels(voxels))


def test_constant_and_misshapen_scans_are_refused():
    check(ramp())
    with pytest.raises(UserError, match="every voxel is 7"):
        check(ramp().with_voxels(np.full((4, 10, 12), 7)))
    with pytest.raises(UserError, match=r"\(K, J, I\)"):
        Scan(np.zeros((3, 4), np.float32))
    with pytest.raises(UserError, match="do not fit"):
        ramp().with_voxels(np.zeros((1, 1, 1)))
