"""Every study runs on a tiny simulated case and finds what must hold there, so that none of them rots."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_results import read
from phantom import phantom

pytest.importorskip("matplotlib", reason="the benchmarks' figures need matplotlib")
pytest.importorskip("skimage", reason="the benchmarks' scores need scikit-image")


def test_study_of_the_loss_family(script, tmp_path):
    study = script("study_loss")
    tiny = ["--steps", "2", "--seeds", "1", "--slices", "1", "--side", "32", "--patch", "16", "--batch", "2"]
    study.main(["--out", str(tmp_path), *tiny])
    found = read(tmp_path, "study_loss")["losses"]
    assert set(found) == set(study.STUDIED) and all(len(v["psnr"]) == len(study.TAUS) for v in found.values())
    # More noise, less signal: tau = 2 adds four times the variance.
    assert all(v["psnr"][-1] < v["psnr"][0] for v in found.values())


def test_study_of_detail(script, tmp_path):
    tiny = ["--steps", "1", "--slices", "1", "--side", "32", "--patch", "16", "--batch", "2"]
    script("study_detail").main(["--out", str(tmp_path), *tiny])
    forms = read(tmp_path, "study_detail")["forms"]
    # At target 0 there is one network, on the line by definition.
    assert all(found["apart"][0] == 0 < found["apart"][-1] for found in forms.values())


def test_study_of_rician_noise(script, model_file, tmp_path):
    tiny = ["--side", "48", "--snr", "2", "--slices", "1", "--model", str(model_file)]
    script("study_rician").main(["--out", str(tmp_path), *tiny])
    ways = read(tmp_path, "study_rician")["levels"][0]["ways"]
    # Rayleigh: the mean of the noise in air is sqrt(pi / 2) sigma.
    assert ways["noisy"]["bias"]["air"] == pytest.approx(1.2533, abs=0.06)
    assert ways["bias corrected"]["bias"]["air"] < ways["as Gaussian"]["bias"]["air"]


def test_study_of_coloured_noise(script, tmp_path):
    study = script("study_coloured")
    study.main(["--out", str(tmp_path), "--side", "32", "--steps", "1", "--slices", "1"])
    cases = {case["title"]: case for case in read(tmp_path, "study_coloured")["cases"]}
    assert cases["not interpolated"]["white_found"] and not cases["both doubled"]["white_found"]


def test_study_of_the_spectrum(script, tmp_path):
    script("study_spectrum").main(["--out", str(tmp_path), "--side", "128", "--snr", "10"])
    cells = {(cell["way"], cell["kind"]): cell for cell in read(tmp_path, "study_spectrum")["cells"]}
    assert cells["as acquired", "magnitude"]["white_found"]
    for way in ("zero-filled 2 x", "Hamming", "linear 2 x"):
        cell = cells[way, "magnitude"]
        assert cell["misplaced"] < 0.15 < cell["white"] and not cell["white_found"]


def test_study_of_filtered_images(script, tmp_path, fast_peers, monkeypatch):
    study = script("study_filtered")
    kept = {way: study.storing.WAYS[way] for way in ("as acquired", "Hamming, zero-filled 2 x")}
    monkeypatch.setattr(study.storing, "WAYS", kept)
    study.main(["--out", str(tmp_path), "--side", "96", "--slices", "1", "--snr", "10"])
    cells = {cell["way"]: cell for cell in read(tmp_path, "study_filtered")["cells"]}
    assert set(cells) == set(kept) and "slices of each: 1;" in (tmp_path / "study_filtered.md").read_text(
        encoding="utf-8"
    )
    for cell in cells.values():
        assert cell["level"] == pytest.approx(1, abs=0.2)
        assert cell["ways"][study.MEASURED]["psnr_mask"]["mean"] > cell["ways"][study.NOISY]["psnr_mask"]["mean"] + 2


def test_zero_filling_interpolates(script):
    import numpy as np

    angle = 2 * np.pi * np.arange(8) / 8
    wave = np.cos(angle)[None, :, None] + np.sin(angle)[None, None, :]
    fine = script("storing").zero_filled(wave, (2, 1))
    assert fine.shape == (1, 16, 8)
    assert np.allclose(fine[:, ::2], wave, atol=1e-6)
    assert np.allclose(fine[0, 1] - fine[0, 1].mean(), np.sin(angle), atol=1e-6)


def test_study_of_trust(script, model_file, tmp_path, fast_peers):
    tiny = ["--side", "64", "--diameters", "3", "--contrasts", "4", "--model", str(model_file)]
    script("study_trust").main(["--out", str(tmp_path), *tiny])
    values = read(tmp_path, "study_trust")
    # This model is not trained and takes nothing away: neither noise nor lesion.
    assert values["pure_noise"]["ours"] == pytest.approx(1, abs=0.02)
    assert values["lesions"][0]["count"] > 0 and values["lesions"][0]["kept"]["ours"] == pytest.approx(1, abs=0.02)
    # A blur wider than the finest detail is told from noise, however little the model does.
    assert values["smoothing"][0]["residual_detail_correlation"] < values["smoothing"][6]["residual_detail_correlation"]
    assert values["smoothing"][6]["title"] == "blurred by 1.5 pixels"


def test_study_of_noise_maps(script, model_file, tmp_path, fast_peers):
    tiny = ["--side", "64", "--slices", "2", "--snr", "8", "--model", str(model_file)]
    script("study_maps").main(["--out", str(tmp_path), *tiny])
    cells = read(tmp_path, "study_maps")["cells"]
    assert len(cells) == 2 and (tmp_path / "study_maps.png").is_file()
    for cell in cells:
        # The noise is stronger where it should be, and NLM in BM3D's place is better there for knowing so.
        assert cell["ways"]["noisy"]["psnr_weak"]["mean"] > cell["ways"]["noisy"]["psnr_strong"]["mean"] + 3
        assert cell["gain"]["BM3D"]["psnr_strong"]["mean"] > 0.1


def test_noise_maps_vary_by_their_ratio(script):
    study = script("study_maps")
    for shape in study.SHAPES.values():
        drawn = shape((33, 41))
        assert drawn.shape == (33, 41)
        assert drawn.max() / drawn.min() == pytest.approx(study.RATIO, rel=0.01)


def test_study_of_masked_scans(script, tmp_path, fast_peers):
    study = script("study_masked")
    study.main(["--out", str(tmp_path), "--side", "64", "--slices", "2", "--snr", "10"])
    cells = read(tmp_path, "study_masked")["cells"]
    assert [cell["noise"] for cell in cells] == ["gaussian", "rician"]
    for ways in (cell["ways"] for cell in cells):
        assert set(ways) == {study.WHOLE, study.OURS, study.PLAIN, study.BM3D}
        assert ways[study.OURS]["rim"] < ways[study.PLAIN]["rim"] - 0.2
        assert abs(ways[study.OURS]["bias"]) < abs(ways[study.PLAIN]["bias"])
    assert cells[0]["rim_pixels"] > 100
    (defaced,) = read(tmp_path, "study_masked")["defaced"]
    assert defaced["noise"] == "rician" and abs(defaced["defaced"] - defaced["whole"]) < 0.3


def test_study_of_wrong_levels(script, model_file, tmp_path, fast_peers):
    study = script("study_sigma")
    tiny = ["--steps", "2", "--slices", "1", "--side", "48", "--patch", "16", "--batch", "2", "--trained", "0.5"]
    study.main(["--out", str(tmp_path), "--model", str(model_file), *tiny])
    ways = read(tmp_path, "study_sigma")["ways"]
    assert ways["BM3D"]["loss"][0] > 1  # NLM in its place, told half the noise
    assert all(way["loss"][way["factors"].index(1)] == 0 for way in ways.values())
    assert ways[study.THROUGHOUT]["factors"] == [0.5, 1]


def test_range_of_small_losses(script):
    edge = script("study_sigma")._edge
    factors, loss = [0.5, 0.8, 1.0, 1.2, 1.5], [0.1, 0.3, 0.0, 0.1, 0.15]
    assert edge(factors, loss, -1) == 1.0 and edge(factors, loss, 1) == 1.5


TINY_TRAINING = ["--steps", "2", "--patch", "16", "--batch", "2", "--slices", "1"]


def test_study_of_neighbours(script, model_file, clean_file, tmp_path):
    study = script("study_neighbours")
    study.main([str(clean_file), "--out", str(tmp_path), "--model", str(model_file), *TINY_TRAINING])
    thin, thick = read(tmp_path, "study_neighbours")["cells"]
    assert set(thin["ways"]) == {"noisy", study.WITHOUT, study.WITH, study.HIDDEN, study.MARK, study.MARK_ALONE}
    # The same noisy slice is scored, whatever lies beside it.
    assert thin["ways"]["noisy"]["psnr"]["slices"] == pytest.approx(thick["ways"]["noisy"]["psnr"]["slices"], abs=0.5)
    assert thin["ways"][study.WITHOUT] != thick["ways"][study.WITHOUT]


def test_study_of_contrasts(script, tmp_path, fast_peers):
    study = script("study_contrasts")
    study.main(["--out", str(tmp_path), "--side", "48", *TINY_TRAINING])
    methods = read(tmp_path, "study_contrasts")["methods"]
    assert set(methods) == {study.PRODUCT, *study.COMPARED}
    for method in methods.values():
        places = [(cell["helpers"], cell["shift"]) for cell in method["cells"]]
        assert places == [(0, 0), *((n, shift) for n in (1, 2) for shift in study.SHIFTS)]


def test_helpers_reach_the_network_in_training_and_in_use(script):
    """A helper that is the truth itself is found: with it, supervised training learns what it cannot know alone."""
    import dataclasses

    learning, losses = script("learning"), script("losses")
    scan = learning.simulate("head", phantom((4, 48, 48)), 2.0, 0)
    told = dataclasses.replace(scan, helpers=(scan.clean,))
    rows, method = script("common").spread(4, 2), losses.METHODS["Supervised"]
    found = []
    for case in (scan, told):
        net = learning.learn(method, [case], learning.Budget(60, 16, 4), 0)
        image = learning.apply(net, method, case.noisy, case.sigma, rows, helpers=case.helpers)
        found.append(learning.score(case, image, rows)["psnr"].mean())
    assert found[1] > found[0] + 1


def test_heads_of_one_seed_have_one_anatomy_in_every_contrast(script):
    import numpy as np

    head = script("phantoms").head
    first, second = head((6, 64, 64)), head((6, 64, 64), contrast=1)
    assert np.array_equal(first > 0, second > 0) and not np.allclose(first, second)
    edges = [np.hypot(*np.gradient(v, axis=(1, 2)))[:, 16:48, 16:48].ravel() for v in (first, second)]
    assert np.corrcoef(*edges)[0, 1] > 0.3


def test_study_of_data(script, model_file, tmp_path, fast_peers):
    script("study_data").main(["--out", str(tmp_path), "--side", "32", "--model", str(model_file), *TINY_TRAINING])
    values = read(tmp_path, "study_data")
    assert values["amounts"] == ["one slice of first kind", "one scan of first kind", "3 scans of first kind"]
    first, other, fine = values["used_on"].values()
    assert set(first["less"]) == {*values["amounts"], "one scan of other contrast", "one scan of finer"}
    assert set(other["less"]) == set(fine["less"]) == {f"one scan of {kind}" for kind in values["kinds"]}


def test_study_of_time(script, model_file, tmp_path):
    study = script("study_time")
    tiny = ["--side", "48", "--validate-every", "1", *TINY_TRAINING, "--steps", "3"]
    study.main(["--out", str(tmp_path), *tiny, "--starts", "nothing", str(model_file)])
    runs = read(tmp_path, "study_time")["runs"]
    assert [(run["noise"], run["start"]) for run in runs] == [(n, s) for n in study.NOISES for s in ("nothing", "tiny")]
    for run in runs:
        assert [point["step"] for point in run["points"]] == [1, 2, 3]
        assert run["best"]["psnr"] >= run["picked"]["psnr"] and run["picked_below_best"] >= 0


def test_stopping_at_every_validation_does_not_change_a_training(script, tmp_path):
    import torch

    from C2SCore import config, model
    from C2SCore.patches import Case
    from C2SCore.state import load_state
    from C2SCore.training import train

    study = script("study_time")
    clean = phantom((4, 48, 48))
    truth, scan, mask = study.white(clean, 8.0, 0)
    recipe = config.preset("quick").replace(initial="", minutes=0, steps=4, validate_every=2, patch=16, batch=2)
    points = study._checkpoints(Case("a", scan), recipe, "nothing", truth, mask, [1, 2])
    seen = []
    case = Case("a", scan)
    out = train([case], recipe, tmp_path / "a.safetensors", emit=seen.append)
    values = [m.values["validation"] for m in seen if type(m).__name__ == "Curve"]
    assert [point["validation"] for point in points] == pytest.approx(values, rel=1e-5)
    average = load_state(out.with_suffix(".training") / "state.safetensors")[0]["average"]
    assert all(torch.isfinite(v).all() for v in average.values()) and model.load(out).denoiser.neighbours == 1
    psnr = study._psnr(truth[1:3], study._estimate(average, recipe, case, [1, 2]), mask[1:3])
    assert points[-1]["psnr"] == pytest.approx(psnr, abs=1e-3)


def test_stored_images_are_band_limited_and_windowed(script):
    import numpy as np

    truth, scan, mask = script("study_time").stored(script("phantoms").head((4, 64, 64)), 8.0, 0)
    assert scan.min() == 0 and scan.max() == 255 and np.array_equal(scan, np.round(scan))
    assert mask.any() and not mask[(scan == 0) | (scan == 255)].any()
    power = (np.abs(np.fft.fft(scan - truth, axis=2)) ** 2).mean(axis=(0, 1))
    outside = np.abs(np.fft.fftfreq(64)) > 0.42
    assert power[outside].mean() < 0.3 * power[~outside].mean()


def test_study_of_isotropic_voxels(script, tmp_path, fast_peers):
    main = script("study_isotropic").main
    main(["--out", str(tmp_path), "--side", "32", "--slab", "24", "--snr", "10", "--minutes", "1", "--steps", "2"])
    (cell,) = read(tmp_path, "study_isotropic")["cells"]
    assert cell["ours_over"]["ours, slice by slice"]["mean"] > 0
    assert set(cell["seconds"]) == set(cell["ways"]) - {"noisy"}
    assert {"own model", "own model, both ways"} <= set(cell["ours_over"])


def test_study_of_thickness(script, tmp_path):
    study = script("study_thickness")
    study.main(["--out", str(tmp_path), "--side", "32", "--times", "1", "2", "--snr", "10"])
    values = read(tmp_path, "study_thickness")
    thin, thick = values["cells"]
    seen = "saw head in training"
    assert not values["seen_by_model"] and seen not in study._text(values)
    assert seen in study._text(values | {"seen_by_model": True})
    assert thin["gain"]["mean"] > thick["gain"]["mean"]
    ramp = np.arange(10, dtype=np.float32)[:, None, None]
    assert np.allclose(study.thicker(ramp, 2).ravel(), [0.5, 2.5, 4.5, 6.5, 8.5])
    assert np.allclose(study.thicker(ramp, 2.5).ravel(), [0.8, 3.2, 5.8, 8.2])


def test_study_of_ghosts(script, model_file, tmp_path, fast_peers):
    study = script("study_ghosts")
    study.main(["--out", str(tmp_path), "--slices", "2", "--contrasts", "3", "--model", str(model_file)])
    cells = read(tmp_path, "study_ghosts")["cells"]
    assert {(c["kind"], c["noise"]) for c in cells} == {
        (k, n) for k in ("ghost", "discs") for n in ("gaussian", "rician")
    }
    assert all(-0.5 < kept < 2 for c in cells for kept in c["kept"].values())
    clean = np.zeros((2, 96, 96), dtype=np.float32)
    clean[:, 40:60, 40:60] = 100.0
    ghost, discs = (study.laid_into(clean, kind, 5.0) for kind in ("ghost", "discs"))
    assert np.median(ghost[ghost > 0]) == pytest.approx(5.0) and not ghost[:, 36:64, 36:64].any()
    assert set(np.unique(discs)) == {0.0, 5.0} and not discs[:, 36:64, 36:64].any()


def test_study_of_a_pair(script, model_file, tmp_path, fast_peers):
    script("study_pair").main(["--out", str(tmp_path), "--side", "64", "--slices", "4", "--model", str(model_file)])
    values = read(tmp_path, "study_pair")
    assert values["pair_sigma"] * values["snr"] > 0 and values["snr"] == pytest.approx(15, rel=0.1)
    for found in values["ways"].values():
        assert found["psnr"] == pytest.approx(found["true_psnr"], abs=0.3)
        assert len(found["slices"]) == 8 and {less["n"] for less in found["less_noise_left_than"].values()} == {4}
    # The gain of the second repetition is found.
    gains = [place["gain"] for place in values["places"]]
    assert sum(gains[:4]) / 4 == pytest.approx(1 / 1.03, abs=0.015)
    assert sum(gains[4:]) / 4 == pytest.approx(1.03, abs=0.015)


def test_corrected_error_of_a_moved_repetition(script):
    import numpy as np

    rng = np.random.default_rng(0)
    clean = phantom((1, 96, 96), 3)[0].astype(np.float64)
    other = np.roll(clean, (2, -3), axis=(0, 1)) + 5 * rng.standard_normal(clean.shape)
    source = clean + 5 * rng.standard_normal(clean.shape)
    mask = np.zeros(clean.shape, dtype=bool)
    mask[20:76, 20:76] = True
    place = script("study_pair").Place(source, other, mask, undo=True)
    assert place.movement == pytest.approx((2, -3), abs=0.1)
    assert place.noise == pytest.approx(25, rel=0.3)
    assert place.score(clean, None)["error"] == pytest.approx(0, abs=3)
