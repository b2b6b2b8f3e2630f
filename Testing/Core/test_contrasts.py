"""Contrasts are told by names."""

from __future__ import annotations

import pytest

from C2SCore.contrasts import guess, in_order, partners
from C2SCore.errors import UserError


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


@pytest.mark.parametrize(
    ("names", "others", "places", "sure"),
    [
        (["p1_T1w", "p2_T1w"], ["P2_FLAIR", "P1_FLAIR"], [1, 0], True),
        (["p1", "p2"], ["p1", "p2"], [0, 1], True),
        (["p1_T1", "p2_T1"], ["p1_T2_FLAIR", "p2_T2_FLAIR"], [0, 1], True),
        (["x_T101", "x_T102"], ["x_FLAIR02", "x_FLAIR01"], [1, 0], True),
        (["x_T101", "x_T102"], ["x_FLAIR02", "x_FLAIR03"], [0, 1], False),
        (["a", "a"], ["a", "a"], [0, 1], False),
        (["a", "b"], ["x", "y"], [0, 1], False),
        (["T1"], ["FLAIR"], [0], True),
    ],
)
def test_scans_of_one_case_are_found_by_name(names: list[str], others: list[str], places: list[int], sure: bool):
    assert partners(names, others) == (places, sure)


@pytest.mark.parametrize(
    ("names", "others"),
    [
        (["p0_T1", "p1_T1", "p2_T1"], ["p0_FLAIR", "p2_FLAIR", "p3_FLAIR"]),
        (["p1_T1"], ["p2_FLAIR"]),
        (["p1", "x"], ["x", "y"]),
    ],
)
def test_names_of_different_cases_are_refused(names: list[str], others: list[str]) -> None:
    first = next(n for n, name in enumerate(names) if name.startswith("p1"))
    with pytest.raises(UserError, match=f"{names[first]} would be put together with {others[first]}.*one by one"):
        partners(names, others)
