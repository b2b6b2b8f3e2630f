"""How much of a machine's convolution throughput the networks reach: operations counted, times taken side by side."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from C2SCore import config
from C2SCore.denoiser import Denoiser
from C2SCore.device import autocast, fast_bfloat16
from C2SCore.inference import SlicePass
from C2SCore.patches import Case
from C2SCore.training import train

CONVOLUTIONS = ((64, 256), (128, 128), (256, 64))  # channels and side: three large ones with equally many operations
RECIPES = {"small": "quick", "base": "standard", "large": "paper"}  # the preset that trains a network of that size
WARM_UP = {"cpu": 3, "cuda": 12}  # steps of a training that are not counted; a GPU's are recorded in the first ones


def fast_dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if fast_bfloat16(device.type) else torch.float32


def timed(function: Callable[[], object], device: torch.device) -> float:
    """Seconds that one call takes, the device's queue included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


class References:
    """The large channels_last 3 x 3 convolutions that set the scale, in the device's fast dtype."""

    def __init__(self, device: torch.device) -> None:
        self.device, dtype = device, fast_dtype(device)
        images = 4 if device.type == "cpu" else 64
        self.calls: list[tuple[int, float, nn.Conv2d, Tensor]] = []
        for channels, side in CONVOLUTIONS:
            layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False, device=device, dtype=dtype).to(
                memory_format=torch.channels_last
            )
            x = torch.randn(images, channels, side, side, device=device, dtype=dtype).contiguous(
                memory_format=torch.channels_last
            )
            self.calls.append((channels, 2.0 * 9 * channels**2 * images * side**2, layer.requires_grad_(False), x))

    def rates(self) -> np.ndarray:
        """Operations per second of each now."""
        return np.array(
            [count / timed(lambda layer=layer, x=x: layer(x), self.device) for _, count, layer, x in self.calls]
        )


@dataclass
class Measured:
    """Seconds of every round and, beside each, the rates of the references in that round."""

    operations: float
    seconds: list[float] = field(default_factory=list)
    references: list[np.ndarray] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)  # seconds of the convolutions with nothing between them

    def report(self) -> dict[str, object]:
        """Medians over the rounds; `ratio` is against the fastest of the references, the strictest reading; `bound` is
        what it would be if nothing but the network's convolutions took time (0: not measured).
        """
        rate = self.operations / np.array(self.seconds)
        reference = np.stack(self.references)
        channels = [str(c) for c, _ in CONVOLUTIONS]
        alone = np.array(self.alone or [np.inf] * len(rate))
        return {
            "gflop": self.operations / 1e9,
            "seconds": float(np.median(self.seconds)),
            "gflop_per_s": float(np.median(rate)) / 1e9,
            "reference_gflop_per_s": dict(zip(channels, (np.median(reference, axis=0) / 1e9).tolist())),
            "ratio": float(np.median(rate / reference.max(axis=1))),
            "bound": float(np.median(self.operations / alone / reference.max(axis=1))),
            "ratio_to_each": dict(zip(channels, np.median(rate[:, None] / reference, axis=0).tolist())),
            "rounds": len(self.seconds),
        }


def count_operations(module: nn.Module, *inputs: Tensor) -> tuple[float, float]:
    """Operations (a multiplication with its addition is 2) of the convolutions in one forward pass, and of the first.

    Counted by hooks; linear layers, activations and attention products are left out, so the ratios are lower bounds.
    """
    counts: list[float] = []

    def hook(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        places = given[0] if isinstance(layer, nn.ConvTranspose2d) else made
        counts.append(2.0 * layer.weight.numel() * places.shape[0] * places.shape[2] * places.shape[3] / layer.groups)

    hooks = [m.register_forward_hook(hook) for m in _convolutions(module)]
    with torch.no_grad():
        module(*inputs)
    for handle in hooks:
        handle.remove()
    return sum(counts), counts[0]


def _convolutions(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]


class Alone:
    """The convolutions that `call` makes of a module, one after the other, on random images of the same shapes."""

    def __init__(self, module: nn.Module, call: Callable[[], object], device: torch.device) -> None:
        self.device = device
        self.calls: list[tuple[nn.Module, Tensor]] = []
        images: dict[tuple[object, ...], Tensor] = {}

        def hook(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            x = given[0]
            image = images.setdefault((x.shape, x.dtype), torch.randn_like(x))
            self.calls.append((copy.deepcopy(layer).to(x.dtype), image))

        hooks = [m.register_forward_hook(hook) for m in _convolutions(module)]
        call()
        for handle in hooks:
            handle.remove()
        for layer, _ in self.calls:
            layer._forward_hooks.clear()  # the copies have theirs

    def seconds(self) -> float:
        def one_after_the_other() -> None:
            with torch.no_grad():
                for layer, image in self.calls:
                    layer(image)

        return timed(one_after_the_other, self.device)


def forward_ratios(
    sizes: Sequence[str], device: torch.device, side: int, rounds: int, slices: int = 0
) -> dict[str, dict[str, object]]:
    """A forward pass as inference runs it: slices of side x side pixels, by default as many as one pass takes."""
    references = References(device)
    measured, calls, alone = {}, {}, {}
    for size in sizes:
        denoiser = Denoiser(size, 1).eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
        count = slices or SlicePass(denoiser, device).slices_per_pass(side, side)
        x, aux = torch.randn(count, 1, side, side, device=device), torch.randn(count, 2, side, side, device=device)
        level, power = torch.ones(count, device=device), torch.full((count,), 5.0, device=device)
        one, _ = count_operations(denoiser, x[:1], level[:1], aux[:1], power[:1])
        measured[size] = Measured(one * count)

        def call(denoiser: Denoiser = denoiser, given: tuple[Tensor, ...] = (x, level, aux, power)) -> Tensor:
            with torch.no_grad(), autocast(device):
                return denoiser(*given)

        calls[size] = call
        alone[size] = Alone(denoiser, call, device)
        alone[size].seconds()
    references.rates()
    for _ in range(rounds):
        for size in sizes:
            before = references.rates()
            measured[size].seconds.append(timed(calls[size], device))
            measured[size].references.append((before + references.rates()) / 2)
            measured[size].alone.append(alone[size].seconds())
    return {size: values.report() for size, values in measured.items()}


def training_ratio(
    size: str, device: torch.device, volume: np.ndarray, rounds: int, **changes: object
) -> dict[str, object]:
    """A whole step of `train` with the size's own recipe, from drawing patches to averaging weights.

    Between two steps the loop asks whether it was cancelled: there the references run. A backward pass counts twice a
    forward one, less the gradient of the first layer's input, which nobody needs. `changes` go to the recipe.
    """
    warm_up = WARM_UP.get(device.type, 3)
    recipe = config.preset(RECIPES[size]).replace(
        steps=rounds + warm_up, minutes=0, validation=0, validate_every=10**6, network=size, initial=""
    )
    recipe = recipe.replace(**changes)
    patches = recipe.batch * (2 if recipe.loss.antithetic else 1)
    denoiser = Denoiser(size, recipe.neighbours)
    forward, first = count_operations(denoiser, torch.randn(1, 1, recipe.patch, recipe.patch), torch.ones(1))
    measured = Measured(patches * (3 * forward - first))
    references = References(device)
    left = [0.0]
    calls = [0]

    def between() -> bool:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        calls[0] += 1
        rates = references.rates()
        if calls[0] > 2 + warm_up:  # one call while the scan is prepared, then one before every step
            measured.seconds.append(now - left[0])
            measured.references.append(rates)
        left[0] = time.perf_counter()
        return False

    with tempfile.TemporaryDirectory() as folder:
        train(
            [Case("phantom", volume)], recipe, Path(folder) / "step.safetensors", device=device.type, cancelled=between
        )
    return measured.report() | {"patches": patches, "patch": recipe.patch}
