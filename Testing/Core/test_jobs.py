"""The jobs that ship, in the worker that ships: files in, files and numbers out."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from phantom import noisy, phantom
from test_worker import Caller

from C2SCore import events
from C2SCore.card import Card
from C2SCore.denoiser import Denoiser
from C2SCore.denoising import with_detail
from C2SCore.model import load, save
from C2SCore.noise import frame_limit

RECIPE = {"network": "small", "neighbours": 0, "patch": 32, "batch": 2, "steps": 20, "validate_every": 10, "warm_up": 2}


@pytest.fixture(scope="module")
def caller():
    made = Caller("-m", "C2SCore.worker")
    yield made
    made.process.stdin.close()
    made.process.wait(20)


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """A noisy phantom, sigma 50, as a file of the exchange; its folder has a blank and an umlaut."""
    path = tmp_path_factory.mktemp("Ordner ü 1") / "source.npy"
    np.save(path, noisy(phantom((4, 64, 64)), 50.0))
    return path


def end(caller: Caller, job: events.Job) -> tuple[events.Message, list[events.Message]]:
    caller.send(job)
    said = caller.until(events.ENDINGS, 120)
    return said[-1], [m for m in said[:-1] if getattr(m, "job", "") == job.job]


def test_noise(caller, scan):
    done, _ = end(caller, events.NoiseJob("n", str(scan)))
    assert isinstance(done, events.Done), done
    assert done.numbers["sigma"] == pytest.approx(50, rel=0.5)  # fine structure on few pixels counts as noise
    assert done.numbers["snr"] == pytest.approx(done.numbers["signal"] / done.numbers["sigma"])


def test_check_names_device_and_versions(caller):
    done, _ = end(caller, events.CheckJob("c", "cpu"))
    assert done.numbers["device"] == "cpu" and done.numbers["threads"] >= 1 and done.numbers["torch"]


def test_denoise_with_a_model_kept_between_jobs(caller, scan, tmp_path):
    model = tmp_path / "tiny.safetensors"
    save(model, Denoiser("small", 0, 0), Card("tiny"))
    path = str(tmp_path / "out.npy")
    order = events.DenoiseJob("d", str(scan), path, str(model), sigma=50.0, noise="gaussian", device="cpu")
    done, said = end(caller, order)
    assert isinstance(done, events.Done), done
    out = np.load(tmp_path / "out.npy")
    assert out.shape == (4, 64, 64) and out.dtype == np.float32
    assert done.numbers["sigma"] == pytest.approx(50) and done.numbers["device"] == "cpu" and done.numbers["verdict"]
    assert {"measure", "denoise"} <= {m.stage for m in said if isinstance(m, events.Progress)}
    assert list(tmp_path.glob("*.part")) == []
    # Another model under the same name must be seen: the cache knows the file, not the name.
    other = Denoiser("small", 0, 0)
    other.network.tail.weight.data.normal_(std=0.05)
    save(model, other, Card("tiny"))
    done, _ = end(caller, order)
    assert not np.allclose(np.load(tmp_path / "out.npy"), out)


def test_failures_say_what_is_wrong(caller, scan, tmp_path):
    holes = tmp_path / "holes.npy"
    np.save(holes, np.full((4, 64, 64), np.nan, np.float32))
    for job, text in (
        (events.NoiseJob("0", str(holes)), "The volume has NaN or infinite voxels"),
        (events.DenoiseJob("1", str(scan), "x.npy", "nobody"), "no model 'nobody'"),
        (events.NoiseJob("2", str(tmp_path / "gone.npy")), "gone.npy"),
        (events.DenoiseJob("3", str(scan), str(tmp_path / "no" / "x.npy"), device="abacus"), "abacus"),
    ):
        failed, _ = end(caller, job)
        assert isinstance(failed, events.Failed) and text in failed.message


def test_evidence_with_and_without_a_reference(caller, scan, tmp_path):
    clean = tmp_path / "clean.npy"
    np.save(clean, phantom((4, 64, 64)))
    done, _ = end(caller, events.EvidenceJob("e", str(scan), str(clean), 50.0))
    assert done.numbers["noise_before"] == pytest.approx(50) and "psnr_after" not in done.numbers
    pytest.importorskip("skimage")
    done, _ = end(caller, events.EvidenceJob("e", str(scan), str(scan), 50.0, str(clean)))
    assert done.numbers["psnr_before"] == done.numbers["psnr_after"]
    peak = 20 * np.log10(np.ptp(np.load(clean)) / 50)
    assert done.numbers["psnr_before"] == pytest.approx(peak, abs=4)
    assert 0 < done.numbers["ssim_before"] < 1


@pytest.mark.parametrize("level", ["number", "map"])
def test_evidence_at_every_detail_is_that_of_the_run(caller, scan, tmp_path, level):
    """The slider changes what is kept and not what the evidence is about: the estimate that the model made."""
    source = np.load(scan)
    sigma = np.full_like(source, 50) * np.linspace(0.6, 1.4, 64, dtype=np.float32)
    np.save(tmp_path / "map.npy", sigma)
    told = 50.0 if level == "number" else str(tmp_path / "map.npy")
    out = str(tmp_path / "out.npy")
    for detail in (0.0, 0.3, 0.8, 1.0):
        run = events.DenoiseJob("d", str(scan), out, sigma=told, noise="gaussian", device="cpu", detail=detail)
        expected = end(caller, run)[0].numbers
        shown = tmp_path / "shown.npy"
        np.save(shown, with_detail(source, np.load(out), detail))
        numbers = end(caller, events.EvidenceJob("e", str(scan), str(shown), told, detail=detail))[0].numbers
        for key in ("snr_gain_db", "noise_before", "noise_after", "removed", "residual_edge_correlation"):
            if detail < 1 or key != "residual_edge_correlation":
                assert numbers[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-3), (detail, key)
        assert numbers["verdict"] == expected["verdict"]
    assert numbers["snr_gain_db"] == 0


def test_frames_of_a_series_bound_the_level_and_a_constant_one_comes_back(caller, scan, tmp_path):
    source = np.load(scan)
    for name, frame in (("a", source), ("b", noisy(phantom((4, 64, 64)), 20.0)), ("flat", 7 + 0 * source)):
        np.save(tmp_path / f"{name}.npy", frame)
    a, b, flat, out = (str(tmp_path / f"{name}.npy") for name in ("a", "b", "flat", "out"))
    order = events.DenoiseJob("d", a, out, noise="gaussian", device="cpu", series=True)
    limit = frame_limit(source, [np.load(b)])
    assert 20 < limit < 45
    first, _ = end(caller, dataclasses.replace(order, beside=(b,)))
    assert first.numbers["sigma"] == pytest.approx(limit) and first.numbers["sigma_bounded"]
    none, _ = end(caller, order)
    assert none.numbers["sigma"] == pytest.approx(50, rel=0.1) and not none.numbers["sigma_bounded"]
    constant, _ = end(caller, dataclasses.replace(order, source=flat, uncertainty=str(tmp_path / "u.npy")))
    assert constant.numbers["verdict"] == "clean" and np.array_equal(np.load(out), np.load(flat))
    assert not np.load(tmp_path / "u.npy").any()


def test_inspect_goes_on_after_a_scan_that_cannot_be_read(caller, scan, tmp_path):
    good, bad = tmp_path / "gut ü.nii.gz", tmp_path / "bad.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.load(scan)), str(good))
    bad.write_bytes(b"no image")
    thumbnails = tmp_path / "thumbnails"
    thumbnails.mkdir()
    done, said = end(caller, events.InspectJob("i", (str(bad), str(good)), str(thumbnails)))
    assert isinstance(done, events.Done)
    first, second = (m for m in said if isinstance(m, events.Inspected))
    assert first.problem and first.path == str(bad) and not first.shape
    assert second.problem == "" and second.shape == (4, 64, 64) and second.snr > 1 and second.frames == 1
    picture = sitk.GetArrayFromImage(sitk.ReadImage(second.thumbnail))
    assert max(picture.shape) <= 64 and picture.std() > 10


def test_scans_are_shown_with_the_level_that_a_training_takes(caller, tmp_path):
    """Fine anatomy is noise to a filter, but not to the bundled model; and what was seen is not measured again."""
    clean = phantom((4, 128, 128))
    fine = np.random.default_rng(5).normal(0, 25, (1, 128, 128)).astype(np.float32) * (clean > 0)  # in every slice
    np.save(tmp_path / "s.npy", noisy(clean + fine, 40.0))
    kept = tmp_path / "measured.jsonl"
    done, said = end(caller, events.InspectJob("i", (str(tmp_path / "s.npy"),), measured=str(kept)))
    assert isinstance(done, events.Done)
    (seen,) = (m for m in said if isinstance(m, events.Inspected))
    assert seen.sigma == pytest.approx(40, rel=0.15)
    before = kept.read_text()
    recipe = {**RECIPE, "steps": 2}
    job = events.TrainJob("t", str(tmp_path / "m.safetensors"), ({"target": str(tmp_path / "s.npy")},), "", recipe)
    (tmp_path / "m.training").mkdir()
    (tmp_path / "m.training" / "measured.jsonl").write_text(before)
    assert isinstance(end(caller, job)[0], events.Done)
    assert (tmp_path / "m.training" / "measured.jsonl").read_text() == before


def test_train_pauses_goes_on_and_writes_a_model(caller, scan, tmp_path):
    """From an array and from a file on another grid; curve, preview and progress carry the job's name."""
    out = tmp_path / "mine.safetensors"
    case = {"name": "one", "target": str(scan), "sigma": 50.0}
    job = events.TrainJob("t", str(out), (case,), "", RECIPE, {"note": "hello"})
    caller.send(job, events.PauseJob("t", True))
    while not (isinstance(message := caller.next(60), events.Progress) and message.stage == "paused"):
        assert isinstance(message, (events.Progress, events.Log)), message
    time.sleep(0.5)
    assert not out.exists()
    caller.send(events.PauseJob("t", False))
    said = caller.until(events.ENDINGS, 120)
    assert isinstance(said[-1], events.Done), said[-1]
    assert Path(said[-1].paths["model"]) == out
    curves = [m for m in said if isinstance(m, events.Curve)]
    assert {10, 20} <= {c.step for c in curves} and {c.job for c in curves} == {"t"}
    previews = [m for m in said if isinstance(m, events.Preview)]
    assert np.load(previews[-1].path).shape == (3, 64, 64)
    card = load(out).card
    assert card.note == "hello" and card.trained_on == ("one",)


def test_train_on_files_with_another_contrast_on_another_grid_from_a_model(caller, scan, tmp_path):
    image = sitk.GetImageFromArray(np.load(scan))
    sitk.WriteImage(image, str(tmp_path / "t1.nrrd"))
    sitk.WriteImage(sitk.Resample(image, (50, 50, 4), sitk.Transform(), sitk.sitkLinear), str(tmp_path / "flair.nrrd"))
    initial = tmp_path / "initial.safetensors"
    save(initial, Denoiser("small", 0, 1), Card("initial", auxiliary=("FLAIR",)))
    case = {"target": str(tmp_path / "t1.nrrd"), "auxiliary": [str(tmp_path / "flair.nrrd")]}
    config = {k: v for k, v in RECIPE.items() if k != "neighbours"}  # taken from the model to start from
    out = tmp_path / "pair.safetensors"
    done, _ = end(caller, events.TrainJob("t", str(out), (case,), "quick", config, initial=str(initial), device="cpu"))
    assert isinstance(done, events.Done), done
    assert load(out).denoiser.contrasts == 1


def test_a_training_is_cancelled(caller, scan, tmp_path):
    out = tmp_path / "never.safetensors"
    config = {**RECIPE, "steps": 100000, "validate_every": 100000}
    caller.send(events.TrainJob("t", str(out), ({"target": str(scan)},), "", config))
    while not isinstance(message := caller.next(60), events.Progress) or message.stage != "train":
        pass
    caller.send(events.CancelJob("t"))
    assert isinstance(caller.until(events.ENDINGS, 30)[-1], events.Cancelled)
    assert not out.exists()
