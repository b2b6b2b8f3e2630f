"""What the core's tests share: small scans and a small model on disk."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from phantom import make_scan, phantom

from C2SCore import files
from C2SCore.scan import Scan

BENCHMARKS = Path(__file__).resolve().parents[1] / "Benchmarks"

# The same cases everywhere, and no clock: a busy machine fails nothing.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _own_models_folder(tmp_path_factory, monkeypatch):
    """No test sees or touches the models of the person who runs it."""
    monkeypatch.setenv("C2S_MODELS_DIR", str(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="session")
def model_file(tmp_path_factory) -> Path:
    """A model of the smallest kind, not trained: enough wherever quality is not the question."""
    from C2SCore import model
    from C2SCore.card import Card
    from C2SCore.denoiser import Denoiser

    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    return model.save(path, Denoiser("small", 1, 0), Card("tiny", sigma_range=(0.01, 0.3)))


@pytest.fixture(scope="session")
def contrast_model_file(tmp_path_factory) -> Path:
    """The same, reading one further contrast."""
    from C2SCore import model
    from C2SCore.card import Card
    from C2SCore.denoiser import Denoiser

    path = tmp_path_factory.mktemp("model") / "contrast.safetensors"
    return model.save(path, Denoiser("small", 0, 1), Card("contrast", sigma_range=(0.01, 0.3), auxiliary=("T2",)))


@pytest.fixture
def scan_file(tmp_path) -> Path:
    """`scan0.nii.gz`, 16-bit integers."""
    return files.write(make_scan(), tmp_path / "scan0.nii.gz", np.int16)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three scans, one of them broken, in two folders."""
    place = tmp_path / "in"
    files.write(make_scan(0), place / "a.nii.gz")
    files.write(make_scan(1), place / "deep" / "c.nrrd")
    (place / "b.nii.gz").write_bytes((place / "a.nii.gz").read_bytes()[:500])
    return place


@pytest.fixture
def one_thread(monkeypatch):
    """Here and in the processes that the test starts: sums depend on how many threads share them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


@pytest.fixture
def quick(monkeypatch):
    """Trainings of a few steps, whatever the preset."""
    from C2SCore import config

    tiny = config.TrainConfig(steps=3, minutes=0.0, patch=16, batch=2, validate_every=3, warm_up=0)
    monkeypatch.setattr(config, "preset", lambda name: tiny)


@pytest.fixture
def script(monkeypatch):
    """Import a benchmark as if it were run from its own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]


@pytest.fixture
def clean_file(tmp_path) -> Path:
    return files.write(Scan(phantom((4, 48, 48)), name="clean"), tmp_path / "clean.nii.gz")


@pytest.fixture
def fast_peers(script, monkeypatch):
    """BM3D and BM4D take seconds a slice: NLM stands in, so that the rest of a script is tested."""
    peers = script("peers")
    monkeypatch.setattr(peers, "bm3d", peers.nlm)
    monkeypatch.setattr(peers, "bm4d", peers.nlm)
    monkeypatch.setattr(peers, "bm3d_of_spectrum", lambda volume, sigma, power: peers.nlm(volume, sigma))
