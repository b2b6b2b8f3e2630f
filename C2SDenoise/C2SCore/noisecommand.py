"""`c2s noise`: how strong is the noise, and of which kind?"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from C2SCore import calibration, files, noise, scan, spacing
from C2SCore.device import choose_device
from C2SCore.errors import UserError
from C2SCore.jobfiles import check_image_name, check_outputs
from C2SCore.modellevels import bundled
from C2SCore.noisemap import span
from C2SCore.scan import Scan
from C2SCore.terminal import told
from C2SCore.tissue import signal_level
from C2SCore.writing import check_writable


def measure(
    paths: Sequence[str], repetitions: bool, map_path: str = "", debug: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows (scan, name, sigma, signal, snr, kind), and the scans that failed (scan, error).

    With `repetitions`, all frames of all scans repeat each other and give one row; anything wrong raises `UserError`.
    `map_path`: where the noise map of one scan is written, in its unit. `debug` shows where an error arose.
    """
    if map_path and (repetitions or len(paths) != 1):
        raise UserError("A noise map is written of one scan, without --repetitions. Give one scan.")
    if map_path:
        check_image_name(map_path)
        check_outputs(paths, [map_path])
        check_writable(map_path)
    if repetitions:
        return [_from_repetitions(paths)], []
    # The default model helps to tell fine anatomy from noise, as it does when it denoises.
    passes = bundled(choose_device())
    rows, failed = [], []
    for path in paths:
        try:
            maps, frames = [], files.read(path)
            limits = noise.frame_limits([frame.voxels for frame in frames])  # as when they are denoised
            series = not all(map(scan.is_constant, frames))
            for frame, limit in zip(frames, limits):
                if series and scan.is_constant(frame):
                    rows.append(_row(str(path), frame.name, 0.0, float(frame.voxels.max()), "constant"))
                    maps.append(frame.with_voxels(np.zeros_like(frame.voxels)))
                    continue
                scan.check(frame)
                axis = spacing.slice_axis(frame.spacing, frame.voxels.shape)
                slices = np.ascontiguousarray(np.moveaxis(frame.voxels, axis, 0))
                found = calibration.measure(slices, None, "auto", passes)
                found = found.lowered(limit) if found.sigma > limit else found
                rows.append(_from_image(str(path), frame, found))
                if map_path:
                    wide = found.levels if found.levels.ndim == 3 else found.levels[:, None, None]
                    whole = np.broadcast_to(wide, slices.shape).astype(np.float32)
                    maps.append(frame.with_voxels(np.moveaxis(whole, 0, axis)))
            if map_path:
                files.write(maps, map_path)
        except Exception as error:  # one scan must not stop the others
            failed.append({"scan": str(path), "error": told(error)})
            if debug:
                traceback.print_exc()
    return rows, failed


def _from_image(path: str, frame: Scan, found: calibration.Measured) -> dict[str, Any]:
    kind = "rician" if found.magnitude else "gaussian"
    kind += ", white" if found.spectrum.white else ", band-limited"
    if found.levels.ndim == 3:
        kind += f", {span(found.levels[len(found.levels) // 2]):.1f}-fold over the plane"
    return _row(path, frame.name, found.sigma, found.signal, kind)


def _from_repetitions(paths: Sequence[str]) -> dict[str, Any]:
    frames = [frame for path in paths for frame in files.read(path)]
    if len(frames) < 2:
        raise UserError(f"{paths[0]} has one frame; repetitions are two or more. Give a 4-D scan, or several scans.")
    for frame in frames:
        scan.check(frame)
        if not scan.same_grid(frame, frames[0]):
            raise UserError(f"{frame.name} and {frames[0].name} have different grids; they must share one.")
    if any(np.array_equal(a.voxels, b.voxels) for a, b in pairwise(frames)):
        raise UserError("Two of the repetitions are the same image; each must be a scan of its own. Check the names.")
    sigma = float(np.median([noise.pair_sigma(a.voxels, b.voxels) for a, b in pairwise(frames)]))
    mean = np.mean([f.voxels for f in frames], axis=0)
    return _row(str(paths[0]), frames[0].name, sigma, signal_level(mean), f"{len(frames)} repetitions")


def _row(path: str, name: str, sigma: float, signal: float, kind: str) -> dict[str, Any]:
    return {
        "scan": path,
        "name": name,
        "sigma": float(sigma),
        "signal": float(signal),
        "snr": float(signal / sigma) if sigma > 0 else float("inf"),
        "kind": kind,
    }
