"""Contrasts are told by names."""

from __future__ import annotations

import pytest

from C2SCore.contrasts import guess, in_order


@pytest.mark.parametrize(
    ("names", "wanted", "order"),
    [
        (["p1_T2W", "p1_FLAIR"], ["FLAIR", "T2W"], [1, 0]),
        (["p1_FLAIR", "p1_T2"], ["FLAIR", "T2w"], [0, 1]),
        (["2022_T201", "2022_FLAIR01"], ["FLAIR", "T2"], [1, 0]),
        (["3: ax t1 (1)", "4: ax flair"], ["flair", "T1W"], [1, 0]),
        (["a", "b"], ["FLAIR", "T2"], None),
        (["T2_FLAIR", "T2"], ["FLAIR", "T2"], None),
        (["FLAIR"], ["FLAIR", "T2"], None),
        (["T21", "FLAIR"], ["T2", "FLAIR"], None),
    ],
)
def test_order_by_name(names: list[str], wanted: list[str], order: list[int] | None) -> None:
    assert in_order(names, wanted) == order


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("p1_flair.nii.gz", "FLAIR"),
        ("2022_T201.h5", "T2"),
        ("T2_FLAIR", "FLAIR"),
        ("scan7.nii", ""),
        ("FLAIR", "FLAIR"),
        ("PD/sub1_T1w", "T1W"),
        ("PD\\sub1_T2_FLAIR", "FLAIR"),
        ("FLAIR/sub1_T2", "T2"),
        ("T1w/sub1", "T1W"),
    ],
)
def test_the_contrast_that_a_name_shows(name: str, contrast: str) -> None:
    assert guess(name) == contrast
