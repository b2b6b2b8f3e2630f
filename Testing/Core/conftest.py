"""What the core's tests share: small scans and a small model on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from phantom import make_scan

from C2SCore import files

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
def one_thread(monkeypatch):
    """Here and in the processes that the test starts: sums depend on how many threads share them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)
