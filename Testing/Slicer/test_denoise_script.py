"""C2S Denoise from a script: it waits for the result, and refuses nonsense before any work."""

from __future__ import annotations

import pytest
from scenes import add_volume, scalar_volumes


def test_the_numbers_of_a_script_are_those_of_the_detail_that_it_asked_for(bench):
    from C2SDenoise import C2SDenoiseLogic

    source = add_volume()
    none, half = (C2SDenoiseLogic().denoise(source, model="tiny", sigma=15.0, detail=d).numbers for d in (0.0, 0.5))
    assert half["noise_after"] > none["noise_after"] and half["removed"] == pytest.approx(none["removed"] / 2)


def test_scripting_blocks_and_returns_the_result(bench):
    source = add_volume()
    names = scalar_volumes()
    from C2SDenoise import C2SDenoiseLogic

    result = C2SDenoiseLogic().denoise(source, model="tiny", sigma=15.0, removedNoise=True, detail=0.1)
    assert scalar_volumes() - names == {"T1 näive denoised", "T1 näive removed noise"}
    assert result.numbers["sigma"] == pytest.approx(15) and isinstance(result.warnings, list)
    mine = add_volume("Mine")
    assert C2SDenoiseLogic().denoise(source, mine, model="tiny").volume is mine


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": "nobody"}, "no model 'nobody'"),
        ({"sigma": -1.0}, "noise level is -1"),
        ({"noise": "salt"}, "'salt'"),
        ({"detail": 1.5}, "detail is 1.5"),
        ({"device": "abacus"}, "'abacus'"),
        ({"adaptMinutes": -1}, "-1"),
    ],
)
def test_scripting_refuses_nonsense_before_any_work(bench, options, text):
    from C2SCore.errors import UserError

    source = add_volume()
    names = scalar_volumes()
    from C2SDenoise import C2SDenoiseLogic

    with pytest.raises(UserError, match=text):
        C2SDenoiseLogic().denoise(source, **{"model": "tiny", **options})
    with pytest.raises(UserError, match="never overwritten"):
        C2SDenoiseLogic().denoise(source, source, model="tiny")
    assert scalar_volumes() == names
