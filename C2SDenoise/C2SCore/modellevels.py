"""Noise levels as the bundled model sees them.

A high-pass filter takes fine anatomy for noise, by 15 % at an SNR of 8 and by 60 % at 20 in a T2-weighted head, and
what learns with such a level smooths too much. The bundled model knows anatomy; see `calibration`.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
import torch

from C2SCore import calibration, emptyspace, noisemap, refining
from C2SCore.card import find_model
from C2SCore.inference import SlicePass
from C2SCore.measuring import source_text
from C2SCore.modelcache import load_kept

MODEL = "default"


def bundled(device: torch.device) -> SlicePass:
    """The bundled model, to look at a scan with."""
    return SlicePass(load_kept(MODEL, str(device)).denoiser, device)


class ModelLevels:
    """Called with a volume (K, J, I): sigma of every slice, (K,), in the scan's unit. Loads the model when needed."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @cached_property
    def mark(self) -> str:
        """Changes with the model and with the code that asks it."""
        digest = hashlib.blake2b(find_model(MODEL).read_bytes(), digest_size=8)
        for module in (calibration, emptyspace, noisemap, refining):
            digest.update(source_text(module).encode())
        return digest.hexdigest()

    @cached_property
    def _passes(self) -> SlicePass:
        return bundled(self._device)

    def __call__(self, volume: np.ndarray) -> np.ndarray:
        found = calibration.measure(volume, None, "auto", self._passes)
        # A training takes one level for a slice; a map's median stands for all of them.
        return np.full(len(volume), found.sigma) if found.levels.ndim == 3 else found.levels.astype(np.float64)
