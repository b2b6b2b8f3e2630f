"""The `c2s` command as a user meets it: outputs, exit codes, and errors on one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commandline import c2s
from phantom import make_scan

from C2SCore import cli, files
from C2SCore.scan import same_grid

# ---- denoise -------------------------------------------------------------------------------------------------------


def test_denoise_writes_everything_on_the_same_grid(scan_file, model_file, tmp_path, capsys):
    out, residual, deviation, report = (tmp_path / n for n in ("o.nii.gz", "r.nrrd", "u.mha", "report.json"))
    code = c2s(
        "denoise", scan_file, "-o", out, "--model", model_file, "--sigma", 60, "--residual", residual,
        "--uncertainty", deviation, "--report", report, "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    source, denoised, removed, uncertainty = (files.read_one(p) for p in (scan_file, out, residual, deviation))
    assert all(same_grid(source, other) for other in (denoised, removed, uncertainty))
    np.testing.assert_allclose(denoised.voxels + removed.voxels, source.voxels, atol=1e-2)
    assert (uncertainty.voxels >= 0).all()
    assert denoised.dtype == np.float32
    numbers = json.loads(report.read_text())
    assert numbers["sigma"] == 60
    assert numbers["verdict"] in ("noise", "anatomy", "clean")
    assert len(numbers["frames"]) == 1
    assert "SNR" in capsys.readouterr().out


def test_source_dtype_and_detail(scan_file, model_file, tmp_path):
    whole, all_, report = tmp_path / "whole.nrrd", tmp_path / "all.nii.gz", tmp_path / "report.json"
    assert c2s("denoise", scan_file, "-o", whole, "--model", model_file, "--dtype", "source", "--quiet") == 0
    assert files.read_one(whole).dtype == np.int16
    assert c2s("denoise", scan_file, "-o", all_, "--model", model_file, "--detail", 1, "--report", report) == 0
    assert json.loads(report.read_text())["snr_gain_db"] == 0
    np.testing.assert_allclose(files.read_one(all_).voxels, files.read_one(scan_file).voxels, atol=1e-3)


def test_json_is_all_there_is_on_standard_output(scan_file, model_file, tmp_path, capsys):
    assert c2s("denoise", scan_file, "-o", tmp_path / "o.nrrd", "--model", model_file, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["failed"] == []
    assert printed["scans"][0]["output"] == str(tmp_path / "o.nrrd")


def test_several_scans_into_a_folder_and_one_of_them_bad(scan_file, model_file, tmp_path, capsys):
    bad = tmp_path / "bad.nrrd"
    bad.write_bytes(b"NRRD0004\n")
    out = tmp_path / "out"
    code = c2s(
        "denoise", bad, scan_file, "-o", out, "--model", model_file, "--residual", out, "--report", out, "--quiet"
    )
    assert code == 1
    assert sorted(p.name for p in out.iterdir()) == ["scan0.json", "scan0.nii.gz", "scan0_residual.nii.gz"]
    told = capsys.readouterr()
    assert "bad.nrrd" in told.err
    assert "1 of 2 scans denoised" in told.out


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_no_fault_of_one_scan_stops_the_others(debug, scan_file, model_file, tmp_path, capsys, monkeypatch):
    read = files.read

    def fail(path):
        if "bad" in str(path):
            raise MemoryError("too large")
        return read(path)

    monkeypatch.setattr(files, "read", fail)
    bad = files.write(make_scan(1), tmp_path / "bad.nrrd")
    last = files.write(make_scan(1), tmp_path / "bad_too.nrrd")
    run = ("denoise", bad, scan_file, last, "-o", tmp_path / "out", "--model", model_file, "--quiet", *debug)
    assert c2s(*run, "--json") == 1
    told = capsys.readouterr()
    assert [len(v) for v in json.loads(told.out).values()] == [1, 2]
    assert "bad.nrrd: MemoryError: too large" in told.err
    assert ("Traceback" in told.err) == bool(debug)
    assert c2s(*run) == 1
    assert "1 of 3 scans denoised" in capsys.readouterr().out
    assert c2s("noise", bad, scan_file, "--json", *debug) == 1
    told = capsys.readouterr()
    assert [len(v) for v in json.loads(told.out).values()] == [1, 1]
    assert ("Traceback" in told.err) == bool(debug)


def test_names_that_the_console_cannot_show(scan_file, model_file, tmp_path):
    named = scan_file.rename(tmp_path / "\u6f22 \U0001f600.nii.gz")
    for json_too in ([], ["--json"]):
        words = ["denoise", named, "-o", tmp_path / "out/", "--model", model_file, *json_too]
        run = subprocess.run(
            [sys.executable, "-m", "C2SCore", *map(str, words)],
            env=_environment() | {"PYTHONIOENCODING": "cp1252"},
            capture_output=True,
            text=True,
            encoding="cp1252",
        )
        assert run.returncode == 0, run.stderr
        if json_too:
            assert json.loads(run.stdout)["scans"][0]["scan"] == str(named)
        else:
            assert "\\u6f22" in run.stdout


def test_four_dimensions_frame_by_frame(model_file, tmp_path):
    series = files.write([make_scan(0), make_scan(1)], tmp_path / "series.nii.gz")
    report = tmp_path / "report.json"
    assert c2s("denoise", series, "-o", tmp_path / "o.nii.gz", "--model", model_file, "--report", report) == 0
    frames = files.read(tmp_path / "o.nii.gz")
    assert len(frames) == 2
    assert len(json.loads(report.read_text())["frames"]) == 2
    single = files.write(make_scan(1), tmp_path / "single.nii.gz")
    assert c2s("denoise", single, "-o", tmp_path / "s.nii.gz", "--model", model_file) == 0
    np.testing.assert_allclose(frames[1].voxels, files.read_one(tmp_path / "s.nii.gz").voxels, rtol=1e-4, atol=1e-2)


def test_contrast_on_another_grid_is_resampled_and_said(scan_file, contrast_model_file, tmp_path, capsys):
    other = make_scan(1, shape=(3, 20, 24))
    matrix = other.ijk_to_ras @ np.diag([2.0, 2, 1, 1])
    contrast = files.write(type(other)(other.voxels, (2, 2, 3), matrix, "t2"), tmp_path / "t2.nrrd")
    run = ("denoise", scan_file, "-o", tmp_path / "o.nrrd", "--model", contrast_model_file, "--aux")
    assert c2s(*run, contrast) == 0
    assert "t2 was resampled to the grid of scan0" in capsys.readouterr().out
    far = files.write(type(other)(other.voxels, (2, 2, 3), matrix + np.eye(4, k=3) * 900, "far"), tmp_path / "far.nrrd")
    (tmp_path / "o.nrrd").unlink()
    assert c2s(*run, far) == 1
    assert "do not overlap" in capsys.readouterr().err
    assert c2s(*run[:-1]) == 1
    assert "other contrasts" in capsys.readouterr().err
    assert not (tmp_path / "o.nrrd").exists()


def test_noise_map(scan_file, model_file, tmp_path):
    source = files.read_one(scan_file)
    level = files.write(source.with_voxels(np.full(source.voxels.shape, 60)), tmp_path / "map.nrrd")
    for name, sigma in (("map", level), ("number", 60)):
        run = ("denoise", scan_file, "-o", tmp_path / f"{name}_o.nrrd", "--model", model_file)
        assert c2s(*run, "--sigma", sigma) == 0
    a, b = (files.read_one(tmp_path / f"{name}_o.nrrd").voxels for name in ("map", "number"))
    np.testing.assert_allclose(a, b, rtol=0.02, atol=2)


def test_noise_map_of_every_frame(model_file, tmp_path, capsys, quick):
    scans = [make_scan(0), make_scan(1)]
    series = files.write(scans, tmp_path / "series.nii.gz")
    maps = [s.with_voxels(np.full(s.voxels.shape, level)) for s, level in zip(scans, (40, 80))]
    levels = files.write(maps, tmp_path / "map.nii.gz")
    report = tmp_path / "report.json"
    run = ("denoise", series, "-o", tmp_path / "o.nii.gz", "--model", model_file, "--report", report, "--sigma")
    assert c2s(*run, levels, "--adapt", 0.01) == 0
    assert [frame["sigma"] for frame in json.loads(report.read_text())["frames"]] == [40, 80]
    assert c2s(*run, files.write([*maps, maps[0]], tmp_path / "three.nii.gz")) == 1
    assert "has 3 frames, the scan 2" in capsys.readouterr().err


def test_adapting_changes_the_result(scan_file, model_file, tmp_path, quick):
    for name, minutes in (("plain", 0), ("adapted", 0.01)):
        run = ("denoise", scan_file, "-o", tmp_path / f"{name}.nrrd", "--model", model_file, "--adapt", minutes)
        assert c2s(*run, "--sigma", 60, "--quiet") == 0
    plain, adapted = (files.read_one(tmp_path / f"{n}.nrrd").voxels for n in ("plain", "adapted"))
    assert not np.allclose(plain, adapted)


# ---- what must be refused ------------------------------------------------------------------------------------------


def write_nan(path: Path) -> Path:
    scan = make_scan()
    scan.voxels[1, 2, 3] = np.nan
    return files.write(scan, path)


def write_constant(path: Path) -> Path:
    return files.write(make_scan().with_voxels(np.full((3, 40, 48), 5)), path)


BAD_SCANS = {
    "missing": (lambda path: path, "does not exist"),
    "empty": (lambda path: path.write_bytes(b"") and path, "0 bytes"),
    "words": (lambda path: path.write_text("not voxels") and path, "cannot be read"),
    "nan": (write_nan, "NaN"),
    "constant": (write_constant, "every voxel is 5"),
}


@pytest.mark.parametrize("kind", BAD_SCANS)
def test_bad_scans_give_one_clear_line_and_no_files(kind, model_file, tmp_path, capsys):
    make, rule = BAD_SCANS[kind]
    path = tmp_path / "in.nrrd"
    make(path)
    before = sorted(tmp_path.iterdir())
    assert c2s("denoise", path, "-o", tmp_path / "o.nrrd", "--model", model_file, "--quiet") == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert rule in lines[0]
    assert "Traceback" not in lines[0]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--model", "nobody"], "no model 'nobody'"),
        (["--device", "abacus"], "abacus"),
        (["--detail", "2"], "detail is 2"),
        (["--sigma", "-3"], "sigma is -3"),
        (["--sigma", "nan"], "sigma is nan"),
        (["--adapt", "-1"], "minutes of adaptation"),
        (["--residual", "OUT"], "two outputs"),
        (["-o", "SCAN"], "is an input"),
        (["-o", "/proc/c2s/o.nrrd"], "cannot be written"),
        (["--noise", "pink"], "pink"),
        (["--uncertainty", "u.png"], "must end in"),
    ],
)
def test_wrong_usage_is_code_two(arguments, rule, scan_file, model_file, tmp_path, capsys):
    names = {"OUT": tmp_path / "o.nrrd", "SCAN": scan_file, "u.png": tmp_path / "u.png"}
    given = [names.get(a, a) for a in arguments]
    code = c2s("denoise", scan_file, "-o", tmp_path / "o.nrrd", "--model", model_file, *given)
    assert (code, rule in capsys.readouterr().err) == (2, True)
    assert [p.name for p in tmp_path.iterdir()] == ["scan0.nii.gz"]


def test_several_scans_need_a_folder_and_different_names(scan_file, model_file, tmp_path, capsys):
    other = files.write(make_scan(1), tmp_path / "scan1.nrrd")
    assert c2s("denoise", scan_file, other, "-o", tmp_path / "o.nrrd", "--model", model_file) == 2
    assert "Name a folder" in capsys.readouterr().err
    assert c2s("denoise", scan_file, scan_file, "-o", tmp_path / "out", "--model", model_file) == 2
    assert "names must differ" in capsys.readouterr().err


def test_one_contrast_for_several_scans_is_refused(scan_file, contrast_model_file, tmp_path, capsys):
    other = files.write(make_scan(1), tmp_path / "other.nrrd")
    run = ("denoise", scan_file, other, "-o", tmp_path / "out", "--model", contrast_model_file, "--aux", scan_file)
    assert c2s(*run) == 2
    assert "one by one" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["denoise", "batch"])
def test_an_output_without_a_name_is_refused(command, scan_file, capsys):
    assert c2s(command, scan_file, "-o", "") == 2
    assert "has no name" in capsys.readouterr().err


def test_pickled_and_truncated_models_are_refused(scan_file, model_file, tmp_path, capsys):
    import pickle

    (tmp_path / "evil.safetensors").write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    (tmp_path / "cut.safetensors").write_bytes(model_file.read_bytes()[:-100])
    for name in ("evil", "cut"):
        run = ("denoise", scan_file, "-o", tmp_path / "o.nrrd", "--model", tmp_path / f"{name}.safetensors")
        assert c2s(*run) == 2
        assert f"{name}.safetensors" in capsys.readouterr().err


def test_debug_shows_where(tmp_path, capsys):
    assert c2s("noise", tmp_path / "missing.nrrd") == 1
    assert "Traceback" not in capsys.readouterr().err
    assert c2s("evaluate", "--image", tmp_path / "a", "--reference", tmp_path / "b", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


# ---- the other commands --------------------------------------------------------------------------------------------


def test_batch_command(scan_file, model_file, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    scan_file.rename(tmp_path / "in" / "a.nii.gz")
    run = ("batch", tmp_path / "in", "-o", tmp_path / "out", "--model", model_file)
    assert c2s(*run) == 0
    assert "1 of 1 scans denoised" in capsys.readouterr().out
    (tmp_path / "in" / "b.nrrd").write_bytes(b"")
    assert c2s(*run, "--resume", "--json") == 1
    told = capsys.readouterr()
    assert [row["state"] for row in json.loads(told.out)] == ["skipped", "failed"]
    assert "b.nrrd is empty" in told.err


def test_evaluate(tmp_path, capsys):
    reference = make_scan(sigma=0)
    files.write(reference, tmp_path / "r.nrrd")
    files.write(reference.with_voxels(reference.voxels + 100), tmp_path / "i.nrrd")
    files.write(reference.with_voxels(reference.voxels > 0), tmp_path / "m.nrrd", np.uint8)
    run = ("evaluate", "--image", tmp_path / "i.nrrd", "--reference", tmp_path / "r.nrrd")
    assert c2s(*run, "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["psnr"] == pytest.approx(20 * np.log10(np.ptp(reference.voxels) / 100), abs=0.01)
    assert c2s(*run, "--mask", tmp_path / "m.nrrd") == 0
    inside = reference.voxels[reference.voxels > 0]
    assert f"PSNR {20 * np.log10(np.ptp(inside) / 100):.2f} dB" in capsys.readouterr().out
    small = reference.with_voxels(np.where(reference.voxels > 0, 0.2, 0))
    assert c2s(*run, "--mask", files.write(small, tmp_path / "small.nrrd")) == 0
    assert f"PSNR {20 * np.log10(np.ptp(inside) / 100):.2f} dB" in capsys.readouterr().out
    assert c2s("evaluate", "--image", write_nan(tmp_path / "nan.nrrd"), "--reference", tmp_path / "r.nrrd") == 2
    assert "NaN" in capsys.readouterr().err
    assert c2s("evaluate", "--image", tmp_path / "r.nrrd", "--reference", tmp_path / "r.nrrd", "--json") == 0
    assert json.loads(capsys.readouterr().out)["psnr"] is None  # infinite, which JSON does not know


def test_noise_of_scans_and_of_repetitions(tmp_path, capsys):
    scans = []
    for seed in (1, 2):
        clean = make_scan(0, shape=(4, 96, 96), sigma=0)
        noise = np.random.default_rng(seed).normal(0, 50, clean.voxels.shape)
        scans.append(files.write(clean.with_voxels(clean.voxels + noise), tmp_path / f"r{seed}.nrrd"))
    assert c2s("noise", *scans, "--repetitions", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["scans"]
    assert row["sigma"] == pytest.approx(50, rel=0.1)
    assert c2s("noise", *scans) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert c2s("noise", scans[0], "--repetitions") == 2
    assert "one frame" in capsys.readouterr().err
    assert c2s("noise", scans[0], "--map", tmp_path / "map.nrrd") == 0
    assert files.read_one(tmp_path / "map.nrrd").voxels == pytest.approx(row["sigma"], rel=0.15)
    assert c2s("noise", scans[0], "--map", tmp_path / "map.png") == 2
    assert "must end in" in capsys.readouterr().err
    assert c2s("noise", *scans, "--map", tmp_path / "both.nrrd") == 2
    assert "Give one scan" in capsys.readouterr().err
    flat = files.read_one(scans[0]).with_voxels(7 + 0 * files.read_one(scans[0]).voxels)
    series = files.write([files.read_one(scans[0]), flat], tmp_path / "series.nii")
    assert c2s("noise", series, "--map", tmp_path / "series_map.nii", "--json") == 0
    assert [r["sigma"] == 0 for r in json.loads(capsys.readouterr().out)["scans"]] == [False, True]
    assert c2s("denoise", series, "-o", tmp_path / "d.nii", "--sigma", tmp_path / "series_map.nii") == 0
    capsys.readouterr()
    assert c2s("noise", flat_file := files.write(flat, tmp_path / "flat.nrrd")) == 1
    assert f"{flat_file}" in capsys.readouterr().err
    assert c2s("noise", scans[0], tmp_path / "missing.nrrd", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (len(told["scans"]), len(told["failed"])) == (1, 1)


def test_models_come_and_go(model_file, tmp_path, capsys):
    assert c2s("models", "import", model_file, "--name", "ours") == 0
    assert c2s("models", "list", "--json") == 0
    listed = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert ("ours", False) in [(e["name"], e["bundled"]) for e in listed]
    assert c2s("models", "show", "ours") == 0
    assert "sigma_range" in capsys.readouterr().out
    assert c2s("models", "export", "ours", tmp_path / "copy.safetensors") == 0
    assert (tmp_path / "copy.safetensors").read_bytes() == model_file.read_bytes()
    assert c2s("models", "remove", "ours") == 0
    assert c2s("models", "remove", "ours") == 2
    assert "c2s: " in capsys.readouterr().err


def test_usage():
    assert c2s() == 2
    assert c2s("dance") == 2
    assert c2s("--help") == 0
    assert c2s("--version") == 0


def test_light_commands_do_not_load_torch():
    code = (
        "import sys; from C2SCore import cli\n"
        "cli.main(['models', 'list'])\n"
        "assert 'torch' not in sys.modules and 'SimpleITK' not in sys.modules, 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=_environment(), capture_output=True)


def test_module_can_be_run():
    run = subprocess.run(
        [sys.executable, "-m", "C2SCore", "--version"], env=_environment(), capture_output=True, text=True
    )
    assert (run.returncode, run.stdout.split()[0]) == (0, "C2SDenoise")


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}


def test_json_is_no_fault_where_standard_output_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert c2s("models", "list", "--json") == 0
