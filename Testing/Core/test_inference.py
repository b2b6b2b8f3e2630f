"""Slices through the network: in batches and tiles, turned, on a GPU and where its memory ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from denoisers import Identity, Shrink, disk, model_of
from phantom import noisy, phantom

from C2SCore import volumepass
from C2SCore.denoiser import Denoiser
from C2SCore.denoising import Options, denoise
from C2SCore.inference import SlicePass
from C2SCore.model import load
from C2SCore.tiling import OVERLAP, blend, tile_starts, tiles


class Hungry(Identity):
    """Runs out of memory above a number of pixels."""

    limit = 0

    def forward(self, x, sigma, aux=None, sigma_data=None):  # type: ignore[no-untyped-def]
        if x.numel() > self.limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return x


@pytest.mark.parametrize("limit", [3 * 160 * 160, 160 * 160, 130 * 130])
def test_running_out_of_memory_shrinks_batches_then_tiles_and_says_so(limit: int) -> None:
    model = model_of(Hungry)
    Hungry.limit = limit
    scan = disk((6, 160, 160))
    result = denoise(scan, model, Options(sigma=10.0, noise="gaussian", device="cpu"))
    assert np.allclose(result.denoised, scan, atol=1e-4)
    assert any("Memory ran out" in text for text in result.warnings)


def test_no_memory_at_all_is_an_error() -> None:
    model = model_of(Hungry)
    Hungry.limit = 10
    with pytest.raises(MemoryError, match="Close other programs"):
        denoise(disk((1, 160, 160)), model, Options(sigma=10.0, noise="gaussian", device="cpu"))


def test_other_errors_are_not_taken_for_memory() -> None:
    class Broken(Identity):
        def forward(self, x, sigma, aux=None, sigma_data=None):  # type: ignore[no-untyped-def]
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        denoise(disk(), model_of(Broken), Options(sigma=10.0, noise="gaussian", device="cpu"))


@pytest.mark.parametrize(("length", "tile"), [(100, 128), (128, 128), (129, 128), (500, 160), (1000, 300)])
def test_tiles_cover_and_overlap(length: int, tile: int) -> None:
    starts = tile_starts(length, tile)
    assert starts[0] == 0 and starts[-1] + tile >= length
    assert all(0 < b - a <= tile - 2 * OVERLAP for a, b in itertools.pairwise(starts))


def test_blend_weights_are_positive_and_sum_to_one() -> None:
    total = torch.zeros(200, 301)
    for rows, columns, weight in tiles(200, 301, 128):
        assert float(weight.min()) > 0
        total[rows, columns] += weight
    result = blend(
        lambda rows, columns: torch.ones(1, 1, rows.stop - rows.start, columns.stop - columns.start),
        (1, 1, 200, 301),
        128,
    )
    assert float(total.min()) > 0 and torch.allclose(result, torch.ones_like(result), atol=1e-6)


def test_blend_has_no_seam_for_a_ramp() -> None:
    image = torch.arange(300.0).expand(1, 1, 140, 300)
    result = blend(lambda rows, columns: image[..., rows, columns], (1, 1, 140, 300), 128)
    assert torch.allclose(result, image, atol=1e-3)


class Slanted(Denoiser):
    """h = the image moved down by one row: another answer for the turned image."""

    def forward(self, x, sigma, aux=None, sigma_data=None):  # type: ignore[no-untyped-def]
        return torch.roll(x, 1, -2)


def test_second_look_at_the_turned_image_where_there_is_tissue() -> None:
    passes, window = SlicePass(Slanted("small"), torch.device("cpu")), (slice(4, 20), slice(6, 30))
    x = torch.randn(2, 1, 32, 40, generator=torch.Generator().manual_seed(0))
    h = passes.run_turned(x, torch.ones(2), None, torch.ones(2), window)
    once = torch.roll(x, 1, -2)
    part = (..., *window)
    # Down by one in the turned image is to the left by one in the image.
    sideways = torch.roll(x[part], -1, -1)
    assert torch.equal(h[part], (once[part] + sideways) / 2)
    h[part] = once[part]
    assert torch.equal(h, once)


def test_slices_are_gathered_for_a_pass_as_the_processor_likes_it() -> None:
    passes = SlicePass(Denoiser("small"), torch.device("cpu"))
    assert [passes.slices_per_pass(n, n) for n in (64, 256, 512, 700)] == [64, 4, 1, 1]
    passes.pixels = 2**16  # memory was short
    assert passes.slices_per_pass(128, 128) == 4


@pytest.mark.parametrize("isotropic", [False, True])
def test_slices_that_do_not_fit_a_gpu_are_made_ready_on_the_processor(
    isotropic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU without room, as the slices see it; the network is on the processor anyway."""
    scan, options = np.abs(disk()), Options(sigma=10.0, device="cpu", uncertainty=True, isotropic=isotropic)
    expected = denoise(scan, model_of(Shrink), options)
    prepare, refused = volumepass.VolumePass.__init__, []

    def on_a_gpu(self, *given):  # type: ignore[no-untyped-def]
        prepare(self, *given)
        self.home = torch.device("cuda")

    def without_room(method):  # type: ignore[no-untyped-def]
        def tried(*given, **more):  # type: ignore[no-untyped-def]
            if torch.device("cuda") in (more.get("device"), getattr(given[0], "home", None)):
                refused.append(method)
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return method(*given, **more)

        return tried

    monkeypatch.setattr(volumepass.VolumePass, "__init__", on_a_gpu)
    monkeypatch.setattr(volumepass.VolumePass, "_sent", without_room(volumepass.VolumePass._sent))
    monkeypatch.setattr(torch, "empty", without_room(torch.empty))
    found = denoise(scan, model_of(Shrink), options)
    assert len(refused) == 1  # what one axis finds out, the others need not
    assert np.array_equal(found.denoised, expected.denoised)
    assert found.uncertainty is not None and np.array_equal(found.uncertainty, expected.uncertainty)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("noise", ["gaussian", "rician"])
@pytest.mark.parametrize("isotropic", [False, True])
@pytest.mark.parametrize("room", [10**6, 4], ids=["with room", "whose memory ends on the way"])
def test_a_gpu_gives_what_the_processor_gives(
    noise: str, isotropic: bool, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = np.abs(noisy(phantom((24, 128, 128)), 60.0))
    send, sent = volumepass.VolumePass._sent, []

    def sometimes(self, array):  # type: ignore[no-untyped-def]
        sent.append(self.home.type)
        if self.home.type == "cuda" and len(sent) > room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return send(self, array)

    options = [Options(sigma=60.0, noise=noise, device=d, isotropic=isotropic) for d in ("cpu", "cuda")]
    one = denoise(scan, load("default"), options[0])
    monkeypatch.setattr(volumepass.VolumePass, "_sent", sometimes)
    monkeypatch.setattr(volumepass, "LARGEST_STEP", 8)
    other = denoise(scan, load("default"), options[1])
    assert (one.device, other.device, sent[0]) == ("cpu", "cuda", "cuda")
    assert ("cpu" in sent) == (room == 4)
    assert np.abs(one.denoised - other.denoised).mean() < 0.02 * 60.0
