"""Voxels that are as thick as wide: slices along every axis show anatomy, and what each sees is averaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from C2SCore import config, denoising, events, files, jobs, scanjob
from C2SCore.background import tissue_box
from C2SCore.card import Card
from C2SCore.denoiser import Denoiser
from C2SCore.denoising import Options, denoise
from C2SCore.errors import Cancelled
from C2SCore.model import Model, load
from C2SCore.patches import Case
from C2SCore.quality import psnr
from C2SCore.recorded import Cases
from C2SCore.scan import Scan
from C2SCore.scanjob import ScanJob
from C2SCore.spacing import isotropic
from C2SCore.training import train

SHAPE = (36, 44, 40)
SIGMA = 10.0


class Identity(Denoiser):
    """h(x) = x."""

    def forward(self, x, sigma, aux=None, sigma_data=None):  # type: ignore[no-untyped-def]
        return x


class Widths(Denoiser):
    """h = x times the mean level: shows which levels, and which contrasts, reach the network beside which slices."""

    def forward(self, x, sigma, aux=None, sigma_data=None):  # type: ignore[no-untyped-def]
        level = sigma.reshape(-1, 1, 1, 1) if sigma.dim() == 1 else sigma
        return x * level if aux is None else x * level * aux


def _model(kind: type[Denoiser], contrasts: int = 0) -> Model:
    card = Card("test", auxiliary=("T2",) * contrasts, sigma_range=(0.01, 0.3))
    return Model(kind("small", contrasts=contrasts).eval().requires_grad_(False), card)


def _ball(shape: tuple[int, int, int] = SHAPE, radius: float = 14.0) -> np.ndarray:
    """A ball of 100 with a bright core and dark holes, in empty space."""
    k, j, i = (x - (n - 1) / 2 for x, n in zip(np.indices(shape), shape, strict=True))
    distance = np.sqrt(k**2 + j**2 + i**2)
    volume = np.where(distance < radius, 100.0, 0.0)
    volume[distance < radius / 2] = 150
    volume[np.sqrt((k - 5) ** 2 + (j - 6) ** 2 + i**2) < 3] = 40
    return volume.astype(np.float32)


def _noisy(clean: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    return (clean + np.random.default_rng(0).normal(0, sigma, clean.shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("spacing", "shape", "expected"),
    [
        ((1, 1, 1), SHAPE, True),
        ((1, 1, 1.5), SHAPE, True),
        ((1, 1, 2), SHAPE, False),
        ((2, 1, 1), SHAPE, False),
        ((1, 1, 1), (8, 64, 64), False),  # too few slices to make planes of
    ],
)
def test_voxels_as_thick_as_wide(spacing: tuple[float, ...], shape: tuple[int, ...], expected: bool) -> None:
    assert isotropic(spacing, shape) is expected


@pytest.mark.parametrize("noise", ["gaussian", "rician"])
def test_three_orientations_are_nearer_to_the_truth_than_one(noise: str) -> None:
    clean, model = _ball(), load("default")
    noisy = _noisy(clean)
    if noise == "rician":
        noisy = np.hypot(noisy, np.random.default_rng(1).normal(0, SIGMA, clean.shape)).astype(np.float32)
    one, three = (
        denoise(noisy, model, Options(sigma=SIGMA, noise=noise, device="cpu", isotropic=each)).denoised
        for each in (False, True)
    )
    inside = clean > 0
    assert psnr(three, clean, inside) > psnr(one, clean, inside) + 0.2


def test_identity_network_returns_the_input() -> None:
    scan = _noisy(_ball())
    result = denoise(scan, _model(Identity), Options(sigma=SIGMA, noise="gaussian", device="cpu", isotropic=True))
    assert np.allclose(result.denoised, scan, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("per", ["slice", "voxel"])
def test_levels_and_contrasts_stay_where_they_are(per: str) -> None:
    scan, other = _noisy(_ball()), _noisy(_ball(), 1.0)
    levels = np.linspace(5, 15, SHAPE[0], dtype=np.float32)
    told = levels if per == "slice" else np.broadcast_to(levels[:, None, None], SHAPE)
    options = Options(sigma=told, noise="gaussian", device="cpu", isotropic=True)
    result = denoise(scan, _model(Widths, contrasts=1), options, [other])
    unit = np.sqrt(np.mean(np.square(other, dtype=np.float64)))
    expected = scan * levels[:, None, None] * other / unit
    inside = tissue_box(scan)
    assert np.allclose(result.denoised[inside], expected[inside], rtol=1e-3, atol=0.5)


def test_beyond_the_tissue_one_orientation_suffices() -> None:
    volume = np.zeros((60, 70, 80), dtype=np.float32)
    volume[20:40, 24:50, 30:60] = 100
    box = tissue_box(volume)
    for part, (first, last) in zip(box, ((20, 40), (24, 50), (30, 60)), strict=True):
        assert first - 14 < part.start <= first - 6 and last + 6 <= part.stop < last + 14
    assert tissue_box(np.zeros((5, 5, 5), dtype=np.float32)) == (slice(None),) * 3


def test_progress_counts_the_slices_of_all_orientations() -> None:
    heard: list[tuple[int, int]] = []

    def listen(stage: str, done: int, total: int) -> None:
        if stage == "denoise":
            heard.append((done, total))

    scan = _noisy(_ball())
    options = Options(sigma=SIGMA, noise="gaussian", device="cpu", isotropic=True)
    denoise(scan, _model(Identity), options, progress=listen)
    totals = {total for _, total in heard}
    assert len(totals) == 1 and heard[-1] == (totals.pop(),) * 2
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})
    heard.clear()
    with pytest.raises(Cancelled):
        denoise(scan, _model(Identity), options, progress=listen, cancelled=lambda: bool(heard))
    assert heard[-1][0] == SHAPE[0]


@pytest.mark.parametrize(("thickness", "expected"), [(1.0, True), (3.0, False)])
def test_files_say_by_their_spacing(tmp_path: Path, thickness: float, expected: bool) -> None:
    matrix = np.diag([-1.0, -1.0, thickness, 1.0])
    scan = Scan(_noisy(_ball()), (1.0, 1.0, thickness), matrix)
    files.write(scan, tmp_path / "scan.nrrd")
    scanjob.run(ScanJob(scan=str(tmp_path / "scan.nrrd"), output=str(tmp_path / "out.nrrd"), sigma=SIGMA))
    model = load("default")
    direct = denoise(scan.voxels, model, Options(sigma=SIGMA, isotropic=expected))
    assert np.allclose(files.read_one(tmp_path / "out.nrrd").voxels, direct.denoised, atol=1e-3)


def test_the_worker_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    before = denoising.denoise

    def listening(voxels, model, options, *rest):  # type: ignore[no-untyped-def]
        told.append(options.isotropic)
        return before(voxels, model, options, *rest)

    class Context:
        device = "cpu"
        progress = staticmethod(lambda *stage: None)
        check = staticmethod(lambda: None)
        cancelled = staticmethod(lambda: False)

    monkeypatch.setattr(denoising, "denoise", listening)
    np.save(tmp_path / "source.npy", _noisy(_ball()))
    for each in (False, True):
        order = events.DenoiseJob(
            "1", str(tmp_path / "source.npy"), str(tmp_path / "out.npy"), sigma=SIGMA, isotropic=each
        )
        jobs.denoise(order, Context())  # type: ignore[arg-type]
    assert told == [False, True]


def test_training_sees_the_slices_along_every_axis(tmp_path: Path) -> None:
    case = Case("ball", _noisy(_ball()), [_noisy(_ball(), 1.0)], isotropic=True)
    case.prepare()
    assert [turned.target.shape for turned in case.turned] == [(44, 36, 40), (40, 36, 44)]
    for axis, turned in enumerate(case.turned, 1):
        assert np.array_equal(np.moveaxis(turned.target, 0, axis), case.target)
        assert np.array_equal(np.moveaxis(turned.auxiliary[0], 0, axis), case.auxiliary[0])
        assert turned.signal == case.signal and turned.turned == ()
        assert np.allclose(turned.sigmas, np.median(case.sigmas))
    flat = Case("flat", _noisy(_ball()))
    flat.prepare()
    assert flat.turned == ()


@pytest.mark.parametrize("isotropic", [False, True])
def test_a_training_with_turned_slices_goes_on_as_if_it_had_not_been_stopped(
    tmp_path: Path, isotropic: bool, one_thread: None
) -> None:
    recipe = config.preset("quick").replace(initial="", patch=16, batch=2, steps=4, validate_every=2, minutes=0)

    def cases() -> list[Case]:
        return [Case("ball", _noisy(_ball()), isotropic=isotropic)]

    whole = train(cases(), recipe, tmp_path / "whole.safetensors", device="cpu")
    judged: list[int] = []

    def listen(message: events.Message) -> None:
        if isinstance(message, events.Curve):
            judged.append(message.step)

    out = tmp_path / "parts.safetensors"
    train(cases(), recipe, out, device="cpu", emit=listen, cancelled=lambda: bool(judged))
    assert judged == [2]
    parts = train(cases(), recipe, out, resume=True, device="cpu")
    weights = [load_file(path) for path in (whole, parts)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize(("thickness", "expected"), [(1.0, True), (3.0, False)])
def test_scans_to_train_on_say_by_their_spacing(tmp_path: Path, thickness: float, expected: bool) -> None:
    scan = Scan(_noisy(_ball()), (1.0, 1.0, thickness), np.diag([-1.0, -1.0, thickness, 1.0]))
    files.write(scan, tmp_path / "scan.nrrd")
    np.save(tmp_path / "scan.npy", scan.voxels)
    facts = [{"target": str(tmp_path / "scan.nrrd")}, {"target": str(tmp_path / "scan.npy"), "isotropic": expected}]
    with Cases(tmp_path, facts) as cases:
        assert [case.isotropic for case in cases] == [expected] * 2
