"""The models last used: loading one costs more than denoising a slice."""

from __future__ import annotations

from pathlib import Path

from C2SCore import model
from C2SCore.card import find_model
from C2SCore.model import Model

KEPT = 2  # the default, with which noise is measured, and the one that is chosen

_models: dict[tuple[Path, int, int, str], Model] = {}  # by path, time and size of the file, and device


def load_kept(name: str | Path, device: str = "cpu") -> Model:
    """The model by name or file, loaded again only where its file has changed."""
    path = find_model(name).resolve()
    state = path.stat()
    key = (path, state.st_mtime_ns, state.st_size, device)
    kept = _models.pop(key, None)
    if kept is None:
        while len(_models) >= KEPT:  # the oldest goes before the new one comes
            _models.pop(next(iter(_models)))
        kept = model.load(path, device)
    _models[key] = kept  # last, as the one used last
    return kept
