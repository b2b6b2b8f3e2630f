"""One volume through the network: its slices with their neighbours in the network's domain, and back to its unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from C2SCore import rician
from C2SCore.background import tissue_box, tissue_window
from C2SCore.calibration import Measured
from C2SCore.errors import Cancelled, out_of_memory
from C2SCore.inference import SlicePass
from C2SCore.masked import filled
from C2SCore.tensors import shared, to_array, to_tensor

Progress = Callable[[str, int, int], None]  # stage, done, total

LARGEST_STEP = 64  # slices at a time
PROBES = 4  # pairs of passes for the uncertainty
PROBE_STEP = 0.1  # of sigma


class VolumePass:
    """A volume (K, J, I), the other contrasts on its grid, what was measured of it, and the network."""

    def __init__(self, voxels: np.ndarray, others: Sequence[np.ndarray], found: Measured, passes: SlicePass) -> None:
        self.voxels, self.found, self.passes = voxels, found, passes
        self.levels, self.magnitude = found.levels, found.magnitude
        self.neighbours = passes.denoiser.neighbours
        self.holed = bool((voxels == 0).any())  # otherwise nothing can have been cut away
        # Where slices are made ready, and brought back to the scan's unit.
        self.home = passes.device if passes.device.type == "cuda" else torch.device("cpu")
        self.kept: Tensor | None = None  # the volume on the GPU: slices along any axis need nothing of the processor
        # The root mean square of a contrast is its unit.
        self.contrasts = [a / (float(np.sqrt(np.mean(np.square(a, dtype=np.float64)))) or 1.0) for a in others]

    def estimate(self, progress: Progress, cancelled: Callable[[], bool]) -> np.ndarray:
        """The volume without noise, (K, J, I)."""
        result = np.empty_like(self.voxels)
        for rows in self._steps("denoise", progress, cancelled):
            # Empty space is flat: it gains nothing by being seen twice.
            window = tissue_window(self.voxels[rows])
            run = partial(self.passes.run_turned, window=window)
            result[rows] = to_array(self._where_it_fits(partial(self._denoised, rows, run)))
        return result

    def estimate_along_each(self, progress: Progress, cancelled: Callable[[], bool]) -> np.ndarray:
        """The volume without noise, (K, J, I), where voxels are as thick as wide: mean over the slices along K, along J
        and along I, which see what the others do not.
        """
        result = np.empty_like(self.voxels)
        mean = self._where_it_fits(
            lambda: shared(result) if self.home.type == "cpu" else torch.empty(result.shape, device=self.home)
        )
        box = tissue_box(self.voxels)  # beyond it, slices along K suffice
        counts = [len(self.voxels), *(len(range(*box[axis].indices(self.voxels.shape[axis]))) for axis in (1, 2))]
        for axis in range(3):
            work = self._along(axis, box) if axis else self
            for rows in work._steps("denoise", progress, cancelled, sum(counts[:axis]), sum(counts)):
                values = work._where_it_fits(partial(work._denoised, rows, work.passes.run))
                if work.home != self.home:  # the GPU's memory has ended: leave all of it to the network
                    self.home, self.kept = work.home, None
                mean = mean.to(work.home)
                part = (mean[box].movedim(axis, 0) if axis else mean)[rows]
                part.add_(values) if axis else part.copy_(values)
        mean[box].div_(3)
        return result if mean.data_ptr() == result.ctypes.data else to_array(mean)

    def _along(self, axis: int, box: tuple[slice, slice, slice]) -> VolumePass:
        """The part in `box`, its slices along another axis; nothing is copied."""
        levels = np.broadcast_to(_wide(self.levels), self.voxels.shape)

        def turned(volume: np.ndarray) -> np.ndarray:
            return np.moveaxis(volume[box], axis, 0)

        work = copy(self)
        work.voxels, work.contrasts = turned(self.voxels), [turned(c) for c in self.contrasts]
        work.kept = None if self.kept is None else self.kept[box].movedim(axis, 0)
        even = self.levels.ndim == 1 and np.ptp(self.levels) == 0
        work.levels = np.full(len(work.voxels), self.levels[0]) if even else turned(levels)
        work.found = replace(self.found, independent_slices=self.found.spectrum.white)
        return work

    def _where_it_fits(self, work: Callable[[], Tensor]) -> Tensor:
        """What `work` makes; if memory ends on the GPU, made with the slices on the processor from here on."""
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if self.home.type == "cpu" or not out_of_memory(error):
                raise
        # The network makes do with the memory that there is by itself; what is around it has to leave the GPU to it.
        # Outside the handler, so that what it had taken there is free.
        self.home, self.kept = torch.device("cpu"), None
        return work()

    def _denoised(self, rows: slice, run: Callable[..., Tensor]) -> Tensor:
        """Slices `rows`, (N, J, I), in the scan's unit, as `run` of `passes` denoises them."""
        return self._in_unit(rows, run(*self._tensors(rows)))

    def _in_unit(self, rows: slice, values: Tensor) -> Tensor:
        """Slices `rows`, (N, J, I), in the scan's unit, from the network's (N, 1, J, I)."""
        if not self.magnitude:
            return values[:, 0]
        return rician.restore(values[:, 0]) * self._sent(_wide(self.levels[rows]))

    def uncertainty(self, estimate: np.ndarray, progress: Progress, cancelled: Callable[[], bool]) -> np.ndarray:
        """Standard deviation of x_0 given x_d, (K, J, I), in the scan's unit, as slices along K tell it.

        Of `estimate_along_each` it is an upper bound: the square error of a mean of estimates is the mean of theirs
        less their variance. Probes of that mean would not show it: z (dh/dx z) is linear in h.
        """
        result, generator = np.empty_like(self.voxels), torch.Generator().manual_seed(0)
        for rows in self._steps("uncertainty", progress, cancelled):
            part = partial(self._uncertainty_of_slices, rows, estimate[rows], generator)
            result[rows] = to_array(self._where_it_fits(part))
        return result

    def _steps(
        self, stage: str, progress: Progress, cancelled: Callable[[], bool], before: int = 0, total: int = 0
    ) -> Iterator[slice]:
        """Some slices at a time; `before` of `total` (0: those of this volume) were done already."""
        count = len(self.voxels)
        step = min(self.passes.slices_per_pass(*self.voxels.shape[1:]), LARGEST_STEP)
        for first in range(0, count, step):
            if cancelled():
                raise Cancelled
            rows = slice(first, min(first + step, count))
            yield rows
            progress(stage, before + rows.stop, total or count)

    def _tensors(self, rows: slice) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """For slices `rows`, what the network reads: images (N, 1, J, I), levels (N,) or (N, 1, J, I), the slices
        beside and the other contrasts (N, A, J, I), sigma_data (N,).
        """
        first, last = max(rows.start - 1, 0), min(rows.stop + 1, len(self.voxels))
        levels = self.levels[first:last]
        own = range(rows.start - first, rows.stop - first)
        part = self.voxels[first:last]
        shown = filled(part, levels, first, self.magnitude) if self.holed else part
        source = self._kept_slices(first, last)
        block = source if shown is part else self._sent(shown)
        power = source[own.start : own.stop].square().mean(dim=(1, 2))
        if self.magnitude:
            block = rician.stabilise(block.abs_().div_(self._sent(_wide(levels))))
        near = 2 * self.neighbours
        aux = torch.zeros(len(own), near + len(self.contrasts), *block.shape[1:], device=self.home)
        if near and self.found.independent_slices:
            for channel, shift in enumerate((-1, 1)):
                for n, k in enumerate(own):
                    if 0 <= k + shift < len(block):
                        aux[n, channel] = block[k + shift]
        for channel, other in enumerate(self.contrasts, near):
            aux[:, channel] = self._sent(other[rows])
        level = levels[own.start : own.stop]
        noise = self._sent(np.square(level) if level.ndim == 1 else np.square(level).mean(axis=(1, 2)))
        sigma_data = (power - (2 if self.magnitude else 1) * noise).clamp(min=0).sqrt()
        images = block[own.start : own.stop, None]
        beside = aux if aux.shape[1] else None
        if self.magnitude:
            return images, torch.ones(len(own), device=self.home), beside, sigma_data / noise.sqrt()
        return images, self._sent(level if level.ndim == 1 else level[:, None]), beside, sigma_data

    def _kept_slices(self, first: int, last: int) -> Tensor:
        """These slices of the volume where slices are made ready; a copy."""
        if self.home.type == "cpu":
            return self._sent(self.voxels[first:last])
        if self.kept is None:
            self.kept = self._sent(self.voxels)
        return self.kept[first:last].clone(memory_format=torch.contiguous_format)

    def _sent(self, array: np.ndarray) -> Tensor:
        """The array where slices are made ready, float32; a copy."""
        return to_tensor(array).to(self.home)

    def _uncertainty_of_slices(self, rows: slice, estimate: np.ndarray, generator: torch.Generator) -> Tensor:
        """Standard deviation of x_0 given x_d, (N, J, I), in the scan's unit.

        Second-order Tweedie: Cov[x_0 | x_d] = sigma_d^2 Sigma dh/dx; the diagonal of (dh/dx) Sigma is the mean of z
        (dh/dx z) over z ~ N(0, Sigma), here over PROBES antithetic finite differences and a neighbourhood of 5 x 5
        pixels.
        """
        x, sigma, aux, sigma_data = self._tensors(rows)
        level = sigma.reshape(-1, 1, 1, 1) if sigma.dim() == 1 else sigma
        power = self._sent(self.found.spectrum.power(*x.shape[-2:])).expand(len(x), -1, -1)
        total = torch.zeros_like(x)
        passes = self.passes
        full = SlicePass(passes.denoiser, passes.device, passes.say, passes.pixels, "float32")
        run = partial(full.run, sigma=sigma, aux=aux, sigma_data=sigma_data)
        for _ in range(PROBES):
            white = torch.randn(power.shape, generator=generator).to(x.device)
            z = torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real[:, None]
            step = PROBE_STEP * level * z
            total += z * (run(x + step) - run(x - step)) / (2 * PROBE_STEP * level)
        mean = torch.nn.functional.avg_pool2d(total / PROBES, 5, stride=1, padding=2, count_include_pad=False)
        deviation = (mean.clamp(min=0, max=1).sqrt() * level)[:, 0]
        if self.magnitude:
            # The slope of the inverse carries a deviation from the stabilised domain to the scan's.
            wide = self._sent(_wide(self.levels[rows]))
            deviation = deviation * rician.inverse_slope(self._sent(estimate) / wide) * wide
        return deviation


def _wide(levels: np.ndarray) -> np.ndarray:
    return levels if levels.ndim == 3 else levels[:, None, None]
