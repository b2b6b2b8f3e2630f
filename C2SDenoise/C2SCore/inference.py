"""A denoiser over many slices: in batches, in tiles where slices are large, on smaller ones or the CPU where memory
ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from C2SCore.denoiser import Denoiser, on_device
from C2SCore.device import autocast
from C2SCore.errors import out_of_memory
from C2SCore.tiling import OVERLAP, blend

CPU_PIXELS = 2**19  # per pass: larger slices are tiled
CPU_GATHERED = 2**18  # up to which several slices share a pass: the caches hold more of smaller passes
GPU_PIXELS = 2**24
SMALLEST_TILE = 4 * OVERLAP


@dataclass
class SlicePass:
    """Runs h on stacks of slices and adapts to the memory that there is.

    `pixels` is the largest pass; it only ever shrinks. `say` gets one sentence for every change.
    """

    denoiser: Denoiser
    device: torch.device
    say: Callable[[str], None] = lambda text: None
    pixels: int = 0
    precision: str = "auto"

    def __post_init__(self) -> None:
        self.pixels = self.pixels or (CPU_PIXELS if self.device.type == "cpu" else GPU_PIXELS)
        self.denoiser = on_device(self.denoiser, self.device)

    def slices_per_pass(self, height: int, width: int) -> int:
        """How many slices fit one pass (at least 1: larger slices are tiled)."""
        gathered = min(self.pixels, CPU_GATHERED) if self.device.type == "cpu" else self.pixels
        return max(1, gathered // (height * width))

    def run(self, x: Tensor, sigma: Tensor, aux: Tensor | None, sigma_data: Tensor) -> Tensor:
        """h of x (N, 1, H, W), on the device of x; sigma (N,) or (N, 1, H, W), aux (N, A, H, W) or None, sigma_data
        (N,).
        """
        while True:
            try:
                return self._run(x, sigma, aux, sigma_data)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            # Outside the handler, so that the failed pass and its memory are gone.
            self._shrink(x.shape[-2] * x.shape[-1])

    def run_turned(
        self, x: Tensor, sigma: Tensor, aux: Tensor | None, sigma_data: Tensor, window: tuple[slice, slice]
    ) -> Tensor:
        """h of the image; in `window` (rows, columns) the mean with h of the image turned by 90 degrees, turned back:
        the same task seen twice.
        """

        def turned(v: Tensor) -> Tensor:
            return torch.rot90(v[..., window[0], window[1]], 1, (-2, -1))

        level = sigma if sigma.dim() == 1 else turned(sigma)
        upright = self.run(x, sigma, aux, sigma_data)
        again = self.run(turned(x), level, None if aux is None else turned(aux), sigma_data)
        upright[..., window[0], window[1]].add_(torch.rot90(again, -1, (-2, -1))).mul_(0.5)
        return upright

    def _run(self, x: Tensor, sigma: Tensor, aux: Tensor | None, sigma_data: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        step = self.slices_per_pass(height, width)
        if height * width <= self.pixels:
            parts = [self._pass(x, sigma, aux, sigma_data, slice(n, n + step)) for n in range(0, len(x), step)]
            return torch.cat(parts)
        tile = max(SMALLEST_TILE, int(self.pixels**0.5) // 16 * 16)

        def one(rows: slice, columns: slice) -> Tensor:
            near = None if aux is None else aux[..., rows, columns]
            level = sigma if sigma.dim() == 1 else sigma[..., rows, columns]
            parts = [self._pass(x[..., rows, columns], level, near, sigma_data, slice(n, n + 1)) for n in range(len(x))]
            return torch.cat(parts)

        return blend(one, (len(x), 1, height, width), tile).to(x.device)

    def _pass(self, x: Tensor, sigma: Tensor, aux: Tensor | None, sigma_data: Tensor, rows: slice) -> Tensor:
        with torch.no_grad(), autocast(self.device, self.precision):
            given = [None if v is None else v[rows].to(self.device) for v in (x, sigma, aux, sigma_data)]
            return self.denoiser(*given).float().to(x.device)

    def _shrink(self, slice_pixels: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.pixels > SMALLEST_TILE**2:
            self.pixels = max(SMALLEST_TILE**2, min(self.pixels, 2 * slice_pixels) // 2)
            self.say(f"Memory ran out: going on with at most {self.pixels} pixels at a time.")
        elif self.device.type != "cpu":
            self.say(
                f"Memory of {self.device} ran out even for small tiles: going on with the processor, which is slower."
            )
            self.device, self.pixels = torch.device("cpu"), CPU_PIXELS
            self.denoiser = on_device(self.denoiser, self.device)
        else:
            raise MemoryError(
                f"A tile of {SMALLEST_TILE} x {SMALLEST_TILE} pixels does not fit the memory that is "
                "left. Close other programs."
            )
