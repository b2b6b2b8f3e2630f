"""The noise-conditioned residual U-Net.

Most of its time goes into 3x3 convolutions of 64 or more channels: pixels are unshuffled 2x2 into channels at the door,
skips are added and not concatenated, and between two convolutions there is one modulation and one ReLU, both in place
where autograd allows.
"""

from __future__ import annotations

import itertools
import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EMBEDDING = 64
HEADS = 8  # of the attention


@dataclass(frozen=True)
class NetworkSize:
    """Channels and residual blocks of each scale, finest first; `attention` at the coarsest."""

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    attention: bool = False


SIZES = {
    "small": NetworkSize((48, 64, 64), (1, 1, 1)),
    "base": NetworkSize((64, 96, 128), (1, 2, 2)),
    "large": NetworkSize((96, 128, 192), (2, 2, 2), attention=True),
}


class NoiseEmbedding(nn.Module):
    """`c_noise` (N,) to a feature vector (N, EMBEDDING): a few sines and cosines, then two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.frequencies: Tensor
        self.register_buffer("frequencies", 2.0 ** torch.arange(-3.0, 2.0), persistent=False)
        features = 1 + 2 * len(self.frequencies)  # c_noise itself, sines and cosines
        self.layers = nn.Sequential(
            nn.Linear(features, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING), nn.SiLU()
        )

    def forward(self, c_noise: Tensor) -> Tensor:
        angles = c_noise[:, None] * self.frequencies * math.pi
        return self.layers(torch.cat([c_noise[:, None], angles.sin(), angles.cos()], dim=1))


class ResidualBlock(nn.Module):
    """x + conv(relu(scale * conv(x) + shift)), scale and shift from the noise embedding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(EMBEDDING, 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        nn.init.kaiming_normal_(self.conv1.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.conv2.weight, nonlinearity="linear")
        self.conv2.weight.data.mul_(0.1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        y = self.conv1(x)
        scale, shift = self.modulation(embedding).to(y.dtype)[:, :, None, None].chunk(2, dim=1)
        y = torch.addcmul(shift, y, 1 + scale)
        return self.conv2(F.relu(y, inplace=True)).add_(x)


class NoiseConditionedAttention(nn.Module):
    """Channel attention whose queries depend on the noise level: linear in the number of pixels, so any slice size
    fits.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.project = nn.Conv2d(channels, channels, 1)
        self.temperature = nn.Linear(EMBEDDING, HEADS)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = self.qkv(x).reshape(n, 3, HEADS, c // HEADS, h * w).unbind(1)
        scale = F.softplus(self.temperature(embedding)).to(q.dtype)[:, :, None, None]
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2) * scale).softmax(dim=-1)
        return x + self.project((weights.to(v.dtype) @ v).reshape(n, c, h, w))


class Scale(nn.Module):
    """The blocks of one scale, one after the other."""

    def __init__(self, channels: int, blocks: int, attention: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([ResidualBlock(channels) for _ in range(blocks)])
        if attention:
            self.blocks.append(NoiseConditionedAttention(channels))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, embedding)
        return x


class UNet(nn.Module):
    """Noise estimate in units of its standard deviation.

    forward(u (N, C, H, W) in units of the noise, c_noise (N,)) -> (N, 1, H, W); any H, W >= 1.
    """

    def __init__(self, size: NetworkSize, in_channels: int = 1) -> None:
        super().__init__()
        widths, blocks = size.widths, size.blocks
        self.multiple = 2 ** len(widths)
        self.embedding = NoiseEmbedding()
        self.head = nn.Conv2d(4 * in_channels, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList([Scale(c, n) for c, n in zip(widths[:-1], blocks[:-1])])
        self.downs = nn.ModuleList([nn.Conv2d(a, b, 2, stride=2, bias=False) for a, b in itertools.pairwise(widths)])
        self.middle = Scale(widths[-1], 2 * blocks[-1], size.attention)
        self.ups = nn.ModuleList(
            [nn.ConvTranspose2d(b, a, 2, stride=2, bias=False) for a, b in itertools.pairwise(widths)]
        )
        self.decoders = nn.ModuleList([Scale(c, n) for c, n in zip(widths[:-1], blocks[:-1])])
        self.tail = nn.Conv2d(widths[0], 4, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, u: Tensor, c_noise: Tensor) -> Tensor:
        height, width = u.shape[-2:]
        u = pad_to_multiple(u, self.multiple)
        # The door stays in float32: u reaches hundreds of noise units, which bfloat16 would round by tenths of sigma.
        fast = _autocast_enabled(u.device.type)
        with torch.autocast(u.device.type, enabled=False) if fast else nullcontext():
            x = self.head(F.pixel_unshuffle(u.float(), 2).contiguous(memory_format=order_in_memory(u.device.type)))
            embedding = self.embedding(c_noise.float())
        if fast:
            x = x.to(torch.bfloat16)
        skips = []
        for encoder, down in zip(self.encoders, self.downs):
            x = encoder(x, embedding)
            skips.append(x)
            x = down(x)
        x = self.middle(x, embedding)
        for decoder, up in zip(reversed(self.decoders), reversed(self.ups)):
            x = decoder(up(x).add_(skips.pop()), embedding)
        # The noise is a few units at most: bfloat16 rounds it by thousandths of sigma.
        return F.pixel_shuffle(self.tail(x).float(), 2)[..., :height, :width]


def order_in_memory(kind: str) -> torch.memory_format:
    """Of images and weights on a kind of device: channels last, which convolutions like. Not on a Mac's GPU, where
    PyTorch before 2.4, the last for Intel, computes `addcmul` and Adam's steps wrongly in any order but the plain one.
    """
    return torch.contiguous_format if kind == "mps" else torch.channels_last


def _autocast_enabled(kind: str) -> bool:
    if kind not in ("cpu", "cuda"):  # nothing else runs in bfloat16 here, and torch 2.4 fails where it is asked of mps
        return False
    try:
        return torch.is_autocast_enabled(kind)
    except TypeError:  # torch < 2.4 has one function per device
        return torch.is_autocast_cpu_enabled() if kind == "cpu" else torch.is_autocast_enabled()


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad right and bottom to a multiple: by reflection where the image is large enough, else by its last pixels."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not bottom and not right:
        return x
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(x, (0, right, 0, bottom), mode=mode)
