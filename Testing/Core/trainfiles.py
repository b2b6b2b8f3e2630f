"""What the tests of recorded trainings share: scans on the disk, a recipe of a few steps, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from trainings import noisy_disk, weights

from C2SCore.cli import main

TINY = {"steps": 12, "batch": 4, "patch": 32, "validate_every": 4, "warm_up": 2, "precision": "float32"}
TINY |= {"checkpoint_every": 0.001, "neighbours": 0}


def voxels(seed: int = 0, count: int = 4) -> np.ndarray:
    return noisy_disk(seed, (count, 64, 56))


def write(path: Path, array: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return str(path)


def sessions(folder: Path) -> Path:
    """Two sessions of two contrasts."""
    for n in range(2):
        for c, contrast in enumerate(("T1W", "FLAIR")):
            write(folder / contrast / f"p{n}_{contrast}.nrrd", voxels(10 * n + c))
    return folder


def recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(TINY | changes))
    return path


def stopping_after(count: int):
    """For `cancelled`: true at the question number `count`."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > count

    return stop


def same(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return all(torch.equal(one[name], other[name]) for name in one)


def c2s(*arguments: object) -> int:
    return main([str(a) for a in ("train", *arguments, "--device", "cpu", "--quiet")])
