"""One step of a training: the optimizer's, and that of the averaged weights.

On a GPU a step is hundreds of small operations, which take ten times as long to start as to run. So after a few steps
it is recorded as a CUDA graph, and replayed from then on.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from C2SCore.config import TrainConfig
from C2SCore.corruption import Example
from C2SCore.denoiser import Denoiser
from C2SCore.objective import recipe_loss

FIRST = 3  # steps before recording: libraries set themselves up, the optimizer makes its moments


class Stepper:
    """Moves the weights of `denoiser` down the gradient of the recipe's loss, and those of `average` towards them."""

    def __init__(self, denoiser: Denoiser, average: Denoiser, config: TrainConfig, device: torch.device) -> None:
        self.denoiser, self.average, self.config, self.device = denoiser, average, config, device
        gpu = device.type == "cuda"
        # What changes from step to step lies in the GPU's memory there, where a recorded step finds it.
        self.optimizer = torch.optim.AdamW(
            denoiser.parameters(),
            lr=torch.tensor(config.learning_rate, device=device) if gpu else config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True if gpu else None,
            capturable=gpu,
        )
        self._blend = torch.zeros((), device=device) if gpu else None
        self._until = float(FIRST)  # steps that are still taken operation by operation
        self._recorded: tuple[torch.cuda.CUDAGraph, Example, Tensor] | None = None

    def step(self, example: Example, rate: float, decay: float) -> Tensor:
        """One step at a learning rate, averaging with `decay`; returns the loss, which a GPU may still be working
        at.
        """
        for group in self.optimizer.param_groups:
            if self._blend is None:
                group["lr"] = rate
            else:
                group["lr"].fill_(rate)
        if self._blend is None:
            return self._step(example, 1 - decay)
        self._blend.fill_(1 - decay)
        example = _weighted(example)
        if self._recorded is None and self._until <= 0:
            self._record(example, self._blend)
        if self._recorded is None:
            self._until -= 1
            return self._aside(example, self._blend)
        graph, kept, loss = self._recorded
        for old, new in zip(_tensors(kept), _tensors(example)):
            old.copy_(new)
        graph.replay()
        return loss.clone()

    def _step(self, example: Example, blend: float | Tensor) -> Tensor:
        loss = recipe_loss(self.denoiser, example, self.config, self.device).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.denoiser.parameters()):
                mean.lerp_(now, blend)
        return loss.detach()

    def _aside(self, example: Example, blend: Tensor) -> Tensor:
        """A step on a stream of its own, as those before a recording have to be."""
        stream, current = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            loss = self._step(example, blend)
        current.wait_stream(stream)
        return loss

    def _record(self, example: Example, blend: Tensor) -> None:
        """Record a step without taking it; where that cannot be, they go on operation by operation."""
        kept = replace(
            example,
            x_t=[x.clone() for x in example.x_t],
            **{name: value.clone() for name, value in vars(example).items() if isinstance(value, Tensor)},
        )
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                loss = self._step(kept, blend)
        except RuntimeError:  # what an older torch or driver cannot record, or too little memory
            self._until = math.inf
        else:
            self._recorded = graph, kept, loss


def _weighted(example: Example) -> Example:
    """The same with a weight, which only some batches have."""
    return example if example.weight is not None else replace(example, weight=torch.ones_like(example.x_d))


def _tensors(example: Example) -> list[Tensor]:
    return [*example.x_t, *(value for value in vars(example).values() if isinstance(value, Tensor))]
