"""Previews of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from phantom import noisy, phantom

from C2SCore.denoiser import Denoiser
from C2SCore.patches import Case
from C2SCore.preview import write_preview


def _case() -> Case:
    case = Case("scan", noisy(phantom((3, 32, 32)), 60))
    case.prepare("white", {}, None, None)
    return case


def test_source_result_and_what_is_removed(tmp_path: Path) -> None:
    planes = np.load(write_preview(tmp_path / "p.npy", Denoiser("small", 1), _case(), 1, torch.device("cpu")))
    assert planes.shape == (3, 32, 32)
    np.testing.assert_allclose(planes[0] - planes[1], planes[2], atol=1e-3)


def test_a_full_disk_or_a_lost_folder_costs_the_preview_and_no_more(tmp_path: Path, monkeypatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").touch()
    write_preview(tmp_path / "file" / "p.npy", Denoiser("small", 1), _case(), 1, torch.device("cpu"))
    monkeypatch.setattr(np, "save", full)
    write_preview(tmp_path / "p.npy", Denoiser("small", 1), _case(), 1, torch.device("cpu"))
    assert not (tmp_path / "p.npy").exists()
