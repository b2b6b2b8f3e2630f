"""The state between two runs of a training: what comes back, and in which shape."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from C2SCore import state
from C2SCore.denoiser import Denoiser


def _optimizer() -> tuple[Denoiser, torch.optim.Optimizer]:
    torch.manual_seed(0)
    denoiser = Denoiser("small", 1)
    return denoiser, torch.optim.AdamW(denoiser.parameters(), lr=1e-3)


def _step(denoiser: Denoiser, optimizer: torch.optim.Optimizer) -> None:
    x = torch.ones(1, 1, 16, 16).cumsum(-1)
    denoiser(x, torch.ones(1)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    denoiser, optimizer = _optimizer()
    _step(denoiser, optimizer)
    path = tmp_path / "state.safetensors"
    state.save_state(path, {"optimizer": state.optimizer_tensors(optimizer)}, {"step": 1})
    return path


def test_moments_come_back_in_the_order_of_their_parameters(stored: Path) -> None:
    """A fused step of AdamW on a GPU refuses moments that lie otherwise in memory than their parameters."""
    denoiser, optimizer = _optimizer()
    groups, facts = state.load_state(stored)
    state.restore_optimizer(optimizer, groups["optimizer"])
    assert facts == {"step": 1}
    again, members = _optimizer()[1], 0
    for parameter in denoiser.parameters():
        for name in ("exp_avg", "exp_avg_sq"):
            moment = optimizer.state[parameter][name]
            assert moment.stride() == parameter.stride()
            members += 1
    assert members == 2 * len(again.param_groups[0]["params"])


def test_a_resumed_step_is_that_of_the_same_run(stored: Path) -> None:
    whole, optimizer = _optimizer()
    _step(whole, optimizer)
    _step(whole, optimizer)
    parts, first = _optimizer()
    _step(parts, first)
    second = torch.optim.AdamW(parts.parameters(), lr=1e-3)
    state.restore_optimizer(second, state.load_state(stored)[0]["optimizer"])
    _step(parts, second)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_what_was_loaded_is_not_the_file_itself(stored: Path) -> None:
    """Windows would refuse to replace the file at the next checkpoint."""
    groups, _ = state.load_state(stored)
    assert groups and str(stored) not in Path("/proc/self/maps").read_text()
