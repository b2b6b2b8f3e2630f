"""What the worker does around a training: look at scans, measure without a clean image, convert, report."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from C2SCore import events, inspecting, model, picture, recorded, trainjobs, trainreport, webpage
from C2SCore.card import read_card
from C2SCore.config import TrainConfig, preset
from C2SCore.patches import Case, hold_back
from C2SCore.scoring import FEWEST, PATCHES, noise_left, noise_left_by
from C2SCore.training import train
from C2SCore.worker import Context, Orders

QUALITY = ("steps", "minutes", "device", "best_step")


def scan(sigma: float = 12.0, count: int = 5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    j, i = np.mgrid[-1:1:96j, -1:1:80j]
    plane = 200.0 * (j**2 + i**2 < 0.8) - 60.0 * ((j - 0.2) ** 2 + i**2 < 0.1)
    return (plane + sigma * rng.standard_normal((count, 96, 80))).astype(np.float32)


def context(job: events.Job, heard: list | None = None) -> Context:
    return Context(job, Orders(), (heard if heard is not None else []).append)


def look(tmp_path: Path, voxels: np.ndarray) -> inspecting.Facts:
    path = tmp_path / "s.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    return inspecting.look(str(path))


def test_a_scan_is_measured_and_pictured(tmp_path):
    np.save(tmp_path / "s.npy", scan())
    facts = inspecting.look(str(tmp_path / "s.npy"), tmp_path / "t.png")
    assert facts.shape == (5, 96, 80) and facts.flags == () and facts.frames == 1
    assert facts.sigma == pytest.approx(12, rel=0.15) and facts.snr == pytest.approx(200 / 12, rel=0.2)
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "t.png")))
    assert picture.shape == (48, 40) and picture[24, 20] > 150 and picture[0, 0] < 50


def test_flags_name_what_is_wrong(tmp_path):
    k_space = np.fft.fftshift(np.fft.fft2(scan()), axes=(1, 2))
    k_space[:, :20], k_space[:, 76:] = 0, 0
    filled = np.fft.ifft2(np.fft.ifftshift(k_space, axes=(1, 2))).real.astype(np.float32)
    assert look(tmp_path, filled).flags == ("interpolated",)
    assert look(tmp_path, scan(sigma=0.5)).flags == ("clean",)
    assert look(tmp_path, np.clip(scan(sigma=30), 0, 210).astype(np.uint8)).flags == ("saturated",)


def test_colours_are_written_as_they_are(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (7, 5, 3), dtype=np.uint8)
    (tmp_path / "c.png").write_bytes(picture.png(colours))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "c.png"))), colours)


@pytest.mark.parametrize("shape", [(3, 500), (500, 2), (1, 1), (7, 96)])
def test_thumbnails_of_narrow_slices(shape: tuple[int, int]) -> None:
    plane = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert 0 < max(picture.small(plane, 48).shape) <= 48


class Stub:
    """A denoiser that keeps a share of the image."""

    neighbours = contrasts = 0

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, x, sigma, aux=None, sigma_data=None):
        return self.share * x


def test_noise_left_is_one_for_the_scan_itself_and_true_for_a_known_estimator():
    clean, sigma = scan(sigma=0), 12.0
    case = Case("s", scan(sigma, seed=3), sigma=sigma)
    case.prepare()
    cpu = torch.device("cpu")
    assert noise_left(Stub(1.0), [case], [], cpu).mean() == pytest.approx(1.0, abs=0.02)
    share = 0.97  # |share x_d - x_0|^2 = share^2 sigma^2 + (1 - share)^2 x_0^2, over tissue
    bright = clean[0, 20:76, 20:60]
    expected = share**2 + (1 - share) ** 2 * float((bright**2).mean()) / sigma**2
    assert noise_left(Stub(share), [case], [], cpu).mean() == pytest.approx(expected, rel=0.1)


def test_noise_left_does_not_count_air():
    """Where most of a patch is air, a method that errs in tissue alone is as bad as its tissue."""
    sigma, clean = 10.0, np.zeros((6, 96, 96), np.float32)
    clean[:, 30:66, 30:66] = 200
    noisy = clean + np.random.default_rng(2).normal(0, sigma, clean.shape).astype(np.float32)
    case = Case("s", noisy, sigma=sigma)
    case.prepare()
    share = 0.9
    expected = share**2 + ((1 - share) * 200 / sigma) ** 2
    assert noise_left(Stub(share), [case], [], torch.device("cpu")).mean() == pytest.approx(expected, rel=0.15)


def test_a_slow_method_is_measured_alike_on_fewer_patches():
    case = Case("s", scan(12.0, seed=3), sigma=12.0)
    case.prepare()
    asked: list[int] = []
    left = noise_left_by(lambda plane, sigma: 0.97 * plane, [case], [], 1e9, lambda: asked.append(1))
    assert len(left) == len(asked) == PATCHES
    assert left == pytest.approx(noise_left(Stub(0.97), [case], [], torch.device("cpu")), abs=0.1)
    assert noise_left_by(lambda plane, sigma: plane, [case], [], 0.0) == pytest.approx(np.ones(FEWEST), abs=0.1)


def test_the_report_shows_the_same_numbers_of_every_method(tmp_path, monkeypatch, model_file):
    """With a stand-in for BM3D that smooths, and leaves its mark in every column."""
    smooth = SimpleNamespace(bm3d=lambda z, sigma: (z + np.roll(z, 1, 0) + np.roll(z, 1, 1)) / 3)
    monkeypatch.setitem(sys.modules, "bm3d", smooth)
    monkeypatch.setattr(trainreport, "BM3D_SECONDS", 0.0)
    np.save(tmp_path / "s.npy", scan(30.0, seed=3))
    out = tmp_path / "report.html"
    facts = ({"target": str(tmp_path / "s.npy"), "sigma": 30.0},)
    made = model.load(model_file)
    card = dataclasses.replace(made.card, config=TrainConfig().to_dict(), quality=dict.fromkeys(QUALITY, 0))
    model.save(tmp_path / "m.safetensors", made.denoiser, card)
    job = events.ReportJob("r", str(tmp_path / "m.safetensors"), str(out), facts, compare=str(model_file))
    numbers = trainjobs.report(job, context(job)).numbers
    assert numbers["score"] == pytest.approx(numbers["score_compared"])  # the same weights
    text = out.read_text(encoding="utf-8")
    rows = re.findall("<tr>.*?</tr>", text[text.index("<h2>Comparison") :])
    cells = [re.findall("<t[hd]>(.*?)</t[hd]>", row) for row in rows]
    assert cells[0][1] == f"noise left, {FEWEST} patches" and [row[0] for row in cells[1:]] == ["m", "tiny", "BM3D"]
    assert {len(row) for row in cells} == {8} and cells[3][2] == "–"
    assert all(re.fullmatch(r"\d+\.\d %", row[1]) for row in cells[1:])
    assert all(re.fullmatch(r"-?\d\.\d\d", value) for row in cells[1:] for value in row[4:7])
    assert 30 < float(cells[3][1].split()[0]) < 100  # a mean of three leaves a third of the noise, and blurs
    assert "tried on the first" in text


def test_a_folder_is_looked_through_and_what_is_broken_is_named(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(scan()), str(tmp_path / "good.nrrd"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "bad.nii").write_bytes(b"no")
    (tmp_path / "sub" / "head.mgz").write_bytes(b"")
    sitk.WriteImage(sitk.GetImageFromArray(np.full((3, 40, 40), 5, np.int16)), str(tmp_path / "sub" / "flat.nrrd"))
    job, heard = events.InspectJob("i", (str(tmp_path),), str(tmp_path)), []
    trainjobs.inspect(job, context(job, heard))
    found = {Path(m.path).name: m for m in heard if isinstance(m, events.Inspected)}
    assert set(found) == {"good.nrrd", "bad.nii", "flat.nrrd"}
    assert not found["good.nrrd"].problem and Path(found["good.nrrd"].thumbnail).is_file()
    assert found["bad.nii"].problem and found["flat.nrrd"].problem
    (log,) = (m.text for m in heard if isinstance(m, events.Log))
    assert "head.mgz" in log and "FreeSurfer" in log


def test_a_setting_over_a_preset_leaves_the_rest_of_its_group(tmp_path, monkeypatch):
    orders: list[dict] = []
    monkeypatch.setattr(recorded, "carry_out", lambda record, *more: orders.append(record.config))
    changes = {"loss": {"sigma_target": 0.1}, "steps": 7}
    job = events.TrainJob("t", str(tmp_path / "m.safetensors"), (), "paper", changes, device="cpu")
    trainjobs.train(job, context(job))
    wanted = preset("paper").to_dict()
    wanted["loss"]["sigma_target"], wanted["steps"] = 0.1, 7
    assert orders == [wanted]


def test_repetitions_are_held_back_together():
    cases = [Case(str(n), scan(), group=("a" if n < 2 else None)) for n in range(3)]
    for case in cases:
        case.slices = np.arange(5)
    held = hold_back(cases, 0.3, seed=0)
    assert held and {k for c, k in held if c == 0} == {k for c, k in held if c == 1}
    assert {k for c, k in held if c == 0} or {k for c, k in held if c == 2}


def test_copies_of_a_scan_are_held_back_together():
    """Else a slice that is held back of one is trained on in the other, and the score is no longer honest."""
    voxels = {"a": scan(), "b": scan(seed=1), "copy of a": scan()}
    cases = [Case(name, values, group=name) for name, values in voxels.items()]
    for case in cases:
        case.prepare()
    held = hold_back(cases, 0.5, seed=0)
    of_each = [{k for c, k in held if c == n} for n in range(3)]
    assert of_each[0] == of_each[2] != set() and of_each[1]


@pytest.mark.parametrize(("gain", "says"), [(0.007, "no clear"), (0.2, "is better"), (-0.2, "is not better")])
def test_a_model_is_called_better_only_by_a_clear_margin(gain, says):
    """Steady on every patch: 0.03 dB are no difference, 1 dB is one."""
    theirs = np.random.default_rng(0).uniform(0.1, 0.16, 32)
    own, rival = (trainreport._Contender(name, left) for name, left in (("new", theirs * (1 - gain)), ("old", theirs)))
    own.checks = [{"snr_gain_db": 8.0}]
    sentence = trainreport._numbers(own, rival, True)["sentence"]
    assert says in sentence and f"leaves {100 * own.score:.1f} %" in sentence
    own.left = rival.left - 0.02 + 0.2 * np.resize([1.0, -1.0], 32)  # a gain on average, by chance
    assert "no clear difference" in trainreport._numbers(own, rival, True)["sentence"]


def test_a_model_of_which_less_than_no_noise_seems_to_be_left_is_not_called_better():
    """As one that copies the noise, which a further contrast shares."""
    own, rival = (trainreport._Contender(name, np.full(32, left)) for name, left in (("new", -0.2), ("old", 0.3)))
    own.checks = [{"snr_gain_db": 1.0}]
    for numbers in (trainreport._numbers(own, other, True) for other in (rival, None)):
        assert "cannot be told" in numbers["sentence"] and "better" not in numbers["sentence"]
        assert numbers["score"] == pytest.approx(-0.2)


def test_the_score_of_a_model_begun_with_one_that_knew_the_scans_says_so(tmp_path):
    recipe = TrainConfig(steps=2, patch=32)

    def seen_before(name: str, seeds: dict[str, int], recipe: TrainConfig, **more: bool) -> int:
        cases = [Case(scan_name, scan(seed=seed)) for scan_name, seed in seeds.items()]
        return read_card(train(cases, recipe, tmp_path / name, device="cpu", **more)).quality["seen_before"]

    assert seen_before("a.safetensors", {"s": 0}, recipe) == 0
    recipe = recipe.replace(initial=str(tmp_path / "a.safetensors"))
    assert seen_before("b.safetensors", {"s": 0, "t": 1}, recipe) == 1
    assert seen_before("b.safetensors", {"s": 0, "t": 1}, recipe.replace(steps=3), resume=True) == 1
    assert seen_before("c.safetensors", {"u": 2}, recipe) == 0
    own = trainreport._Contender("b", np.ones(4), checks=[{"snr_gain_db": 8.0}])
    said = [trainreport._numbers(own, None, held, before=True)["sentence"] for held in (True, False)]
    assert "may have learnt from" in said[0] and "on its own slices" in said[1]


def test_words_of_others_are_escaped_in_the_report():
    text = webpage.table(("a", "b"), [("<script>", "1 & 2")])
    assert "<script>" not in text and "&lt;script&gt;" in text and "1 &amp; 2" in text
    assert trainreport.svg_curve([{"step": 1, "loss": 2.0}], "loss", "#000") == ""
    curve = trainreport.svg_curve(
        [{"step": 1, "loss": 2.0}, {"step": 3, "loss": None}, {"step": 5, "loss": 1.0}], "loss", "#000"
    )
    assert curve.count(",") == 2 and "step 5" in curve
