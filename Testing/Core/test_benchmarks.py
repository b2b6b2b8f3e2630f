"""Every benchmark runs on a tiny simulated case and writes what it promises, so that none of them rots."""

from __future__ import annotations

import pytest
from benchmark_results import read
from phantom import make_scan, noisy, phantom

from C2SCore import files

pytest.importorskip("matplotlib", reason="the benchmarks' figures need matplotlib")
pytest.importorskip("skimage", reason="the benchmarks' scores need scikit-image")


def test_speed(script, model_file, tmp_path, fast_peers):
    main = script("speed").main
    tiny = ["--sizes", "small", "--side", "32", "--rounds", "2", "--memory-size", "3", "40", "40"]
    main(["--out", str(tmp_path), "--model", str(model_file), *tiny])
    values = read(tmp_path, "speed")
    assert 0 < values["forward"]["small"]["ratio"] < 2
    assert 0 < values["train"]["small"]["ratio"] < 2
    assert values["volume"]["times_faster_than"]["BM3D"] > 0
    assert values["imports"]["torch"] is False
    assert values["memory"]["volume_bytes"] == 4 * 3 * 40 * 40


def test_training_memory(script, tmp_path):
    script("training_memory").main(["--scans", "2", "--steps", "2", "--out", str(tmp_path)])
    stages = read(tmp_path, "training_memory")["stages"]
    assert stages[-1]["stage"] == "Done"
    assert 2**26 < stages[-1]["bytes"] < 2**33


def test_operations_of_a_convolution_are_counted(script):
    import torch

    count = script("throughput").count_operations
    forward = torch.nn.Conv2d(3, 5, 3, padding=1), torch.ones(2, 3, 8, 8)
    assert count(*forward) == (2 * 9 * 3 * 5 * 2 * 64, 2 * 9 * 3 * 5 * 2 * 64)
    # Transposed: every input pixel meets every weight.
    back = torch.nn.ConvTranspose2d(3, 5, 2, stride=2), torch.ones(1, 3, 4, 4)
    assert count(*back)[0] == 2 * 4 * 3 * 5 * 16


def test_simulated(script, model_file, clean_file, tmp_path, fast_peers):
    main = script("simulated").main
    cache = tmp_path / "cache.npz"
    case = ["--snr", "10", "--slices", "2", "--cache", str(cache)]
    main([str(clean_file), "--out", str(tmp_path), "--model", str(model_file), *case])
    values = read(tmp_path, "simulated")
    assert [(c["noise"], c["snr"]) for c in values["cells"]] == [("gaussian", 10), ("rician", 10)]
    scored = values["cells"][0]["methods"]
    # The model is not trained, so it returns the noisy scan; NLM in BM3D's place is better.
    assert scored["BM3D"]["psnr"]["mean"] > scored["ours, true sigma"]["psnr"]["mean"] + 1
    assert len(scored["noisy"]["psnr"]["slices"]) == 2
    assert values["cells"][0]["gain"]["ours, automatic sigma"]["psnr"]["mean"] < 0
    assert (tmp_path / "simulated.png").stat().st_size > 1000 and cache.is_file()


def test_single_scan(script, model_file, clean_file, tmp_path, fast_peers):
    main = script("single_scan").main
    steps = ["--steps", "2", "--slices", "2", "--starts", "nothing", str(model_file), "--model", str(model_file)]
    main([str(clean_file), "--out", str(tmp_path), *steps])
    cell = read(tmp_path, "single_scan")["cells"][0]
    adapted = f"{model_file.stem}, adapted to the scan"
    assert {"trained on the scan", adapted} == set(cell["gain"]) - {"default model"}
    assert cell["training"]["trained on the scan"]["steps"] == 2


def test_real_scans(script, model_file, tmp_path):
    scan = make_scan(shape=(4, 64, 64))
    source = files.write(scan, tmp_path / "real.nii.gz")
    script("real_scans").main(
        [str(source), "--out", str(tmp_path), "--models", f"mine={model_file}", "--images", str(tmp_path / "images")]
    )
    cell = read(tmp_path, "real_scans")["cells"][0]
    assert cell["model"] == "mine" and cell["sigma"] > 0
    assert abs(cell["synthetic_noise"]["residual_edge_correlation"]) < 0.1
    assert files.read_one(tmp_path / "images" / "real_mine.nii.gz").voxels.shape == scan.voxels.shape


def test_real_scans_by_every_row(script, model_file, tmp_path, fast_peers):
    source = files.write(make_scan(shape=(3, 48, 48)), tmp_path / "real.nii.gz")
    compare = script("real_compare")
    tiny = ["--methods", "C2S, ours", "--steps", "2", "--patch", "16", "--batch", "2", "--model", str(model_file)]
    compare.main([str(source), "--out", str(tmp_path), "--images", str(tmp_path / "images"), *tiny])
    values = read(tmp_path, "real_compare")
    rows = {"NLM", "C2S, ours", compare.PRODUCT, compare.BUNDLED}
    assert rows < {cell["method"] for cell in values["cells"]} and not set(compare.ROWS) & set(compare.WITH_MORE)
    assert (tmp_path / "images" / "real_C2S_ours_product.nii.gz").is_file()


def test_phantom_has_tissue_and_air_and_goes_on_through_the_slices(script):
    import numpy as np

    head = script("phantoms").head((8, 64, 64))
    assert head.min() == 0 and 900 < head.max() < 2000 and (head < 1).mean() > 0.2
    other = script("phantoms").head((8, 64, 64), 1)
    middle = (slice(20, 44), slice(20, 44))  # without the skull, which all have
    same, different = (np.corrcoef(head[3][middle].ravel(), v[middle].ravel())[0, 1] for v in (head[4], other[3]))
    assert same > different + 0.3


def test_anatomy_of_a_phantom_is_independent_of_the_noise_of_its_seed(script):
    import numpy as np

    head = script("phantoms").head((12, 64, 64))
    noise = script("common").add_noise(np.zeros_like(head), 1.0, "gaussian", 0)
    # Folds and texture are a random field: were it made of the same numbers, neighbouring means would agree with it.
    sums = [v[:, 16:48, 16:48].reshape(12, 8, 4, 8, 4).mean(axis=(2, 4)).ravel() for v in (head, noise)]
    assert abs(np.corrcoef(*sums)[0, 1]) < 0.1


def test_paired_difference(script):
    import numpy as np

    paired = script("common").paired
    found = paired(np.array([1.0, 2.0, 3.1, np.nan]), np.array([0.5, 1.4, 2.6, 9.0]))
    assert found["n"] == 3 and abs(found["mean"] - 0.5333) < 1e-3 and found["p"] < 0.01


def test_slices_are_spread(script):
    spread = script("common").spread
    assert spread(10, 2).tolist() == [2, 7]
    assert spread(3, 0).tolist() == [0, 1, 2] and spread(3, 5).tolist() == [0, 1, 2]


def test_scores_of_known_noise(script):
    import numpy as np

    clean = phantom((2, 64, 64))
    found = script("common").scores(clean, noisy(clean, 10.0), clean > 0, 1000.0)
    # 20 log10(1000 / 10)
    assert np.allclose(found["psnr"], 40, atol=0.3) and np.allclose(found["psnr_mask"], 40, atol=0.4)
    assert ((0.3 < found["ssim"]) & (found["ssim"] < 1)).all()


def test_compare(script, model_file, tmp_path, fast_peers, monkeypatch):
    compare = script("compare")
    monkeypatch.setitem(compare.SHAPES, "quick", (4, 48, 48))
    monkeypatch.setitem(compare.peers.PEERS, "BM3D", compare.peers.nlm)
    monkeypatch.setitem(compare.BUDGETS, "quick", compare.Budget(2, patch=16, batch=2))
    compare.main(["--out", str(tmp_path), "--seeds", "1", "--slices", "2", "--model", str(model_file)])
    level = read(tmp_path, "compare")["levels"][0]
    assert set(script("losses").METHODS) < set(level["rows"])
    assert len(level["rows"]["SURE"]["seeds_psnr"]) == 1
    assert level["rows"]["Median filter"]["psnr"]["mean"] > level["rows"]["Noisy"]["psnr"]["mean"]
    assert "## What it shows" in (tmp_path / "compare.md").read_text(encoding="utf-8")


EXACT = ("Noise2Noise", "Supervised", "SURE", "C2S, ours", "C2S, paper, without detail refinement", "Ambient DSM")


@pytest.mark.parametrize("name", EXACT)
def test_a_loss_is_least_at_the_best_estimator(script, name):
    """White Gaussian x_0 of variance 4 and noise of level 1: E[x_0 | x] = 4 x / (4 + sigma^2)."""
    import torch

    losses = script("losses")
    generator = torch.Generator().manual_seed(0)
    x_0 = 2 * torch.randn(64, 1, 64, 64, generator=generator)
    x_d, x_2 = (x_0 + torch.randn(x_0.shape, generator=generator) for _ in range(2))

    def value(shrink: float) -> float:
        draws = torch.Generator().manual_seed(1)
        sample = losses.Sample(x_d, x_2, x_0, torch.ones(64), draws)
        return float(losses.METHODS[name].loss(lambda x, s: 4 * x / (4 + shrink * s.reshape(-1, 1, 1, 1) ** 2), sample))

    assert value(1.0) < min(value(0.7), value(1.4))


@pytest.mark.parametrize("name", ["Noisier2Noise", "Recorrupted2Recorrupted"])
def test_averaged_inference_finds_the_best_estimator(script, name):
    """With the exact minimiser of their losses, both return E[x_0 | x_t] averaged over what was added."""
    import torch

    losses = script("losses")
    x = torch.full((1, 1, 200, 200), 3.0)
    added = 1 + losses.NOISIER**2  # level of x_t squared, for data at level 1
    slope = (4 + 1) / (4 + added) if name == "Noisier2Noise" else 4 / (4 + added)
    estimate = losses.METHODS[name].infer(lambda x, s: slope * x, x, torch.ones(1), torch.Generator().manual_seed(0))
    assert estimate.mean() == pytest.approx(3 * 4 / (4 + added), abs=0.02)


def test_hidden_pixels_do_not_see_themselves(script):
    import torch

    losses = script("losses")
    x = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[0, 0, 5, 7] += 100
    before, after = (losses.infer_noise2self(lambda v, s: v, v, torch.ones(1), torch.Generator()) for v in (x, changed))
    assert before[0, 0, 5, 7] == after[0, 0, 5, 7] and before[0, 0, 5, 8] != after[0, 0, 5, 8]


def test_a_blind_network_does_not_look_at_the_level(script):
    import numpy as np
    import torch

    learning, methods = script("learning"), script("losses").METHODS
    clean = phantom((2, 48, 48))
    denoiser = learning.Denoiser("small").eval()
    torch.nn.init.normal_(denoiser.network.tail.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    told, blind = methods["C2S, ours"], methods["C2S, paper, without time conditioning"]
    for method, same in ((told, False), (blind, True)):
        low, high = (learning.apply(denoiser, method, clean, sigma, np.array([1])) for sigma in (0.1, 20.0))
        assert np.allclose(low, high, rtol=1e-3, atol=1e-3 * clean.max()) is same
