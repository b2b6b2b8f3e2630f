"""The one contract that everything else uses of a network: h(x, sigma, aux)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from C2SCore.network import SIZES, UNet, order_in_memory

# Signal over noise of a slice, as the network is told it. An empty slice has less than training ever shows, and there a
# network invents; one with hardly any noise has more, and there it takes anatomy many times as strong as that noise.
LEAST_RATIO, MOST_RATIO = 0.5, 100.0


class Denoiser(nn.Module):
    """h(x, sigma, aux): the estimate of x_0 = E[x_0 | x at noise level sigma].

    The network works in units of the noise, h = x - sigma F(x / sigma, c_noise), and c_noise = log(sigma_data / sigma)
    is the only other thing that it is told of the level, so h(a x, a sigma) = a h(x, sigma) for every a > 0 whatever
    the weights are. sigma_data is the root mean square of the noise-free slice (Karras et al. 2022 name it so),
    estimated as sqrt(mean x^2 - sigma^2).

    Parameters
    ----------
    size : "small", "base" or "large".
    neighbours : 0 or 1, slices on either side that come first among the auxiliary channels, in the unit of x.
    contrasts : number of other contrasts after them, each scaled to a root mean square of 1 by the caller.
    """

    def __init__(self, size: str = "small", neighbours: int = 0, contrasts: int = 0) -> None:
        super().__init__()
        self.size, self.neighbours, self.contrasts = size, neighbours, contrasts
        self.network = UNet(SIZES[size], 1 + 2 * neighbours + contrasts)
        on_device(self, "cpu")

    @property
    def auxiliary_channels(self) -> int:
        return 2 * self.neighbours + self.contrasts

    def forward(self, x: Tensor, sigma: Tensor, aux: Tensor | None = None, sigma_data: Tensor | None = None) -> Tensor:
        """Denoise a batch.

        x (N, 1, H, W); sigma (N,) or (N, 1, H, W) > 0 in the unit of x; aux (N, A, H, W), or None for zeros; sigma_data
        (N,): None measures it on x, which is right for whole slices; tiles of one slice should share the slice's.
        Returns the shape of x.
        """
        sigma = sigma.reshape(-1, 1, 1, 1) if sigma.dim() == 1 else sigma
        if sigma_data is None:
            sigma_data = measure_sigma_data(x, sigma)
        mean_sigma = sigma.mean(dim=(1, 2, 3))
        ratio = (sigma_data / mean_sigma).clamp(min=LEAST_RATIO, max=MOST_RATIO)
        u = x / sigma
        if self.auxiliary_channels:
            if aux is None:
                aux = x.new_zeros(x.shape[0], self.auxiliary_channels, *x.shape[2:])
            near, other = aux[:, : 2 * self.neighbours], aux[:, 2 * self.neighbours :]
            u = torch.cat([u, near / sigma, other * ratio[:, None, None, None]], dim=1)
        return x - sigma * self.network(u, ratio.log())


def with_contrasts(denoiser: Denoiser, contrasts: int) -> Denoiser:
    """A copy that reads `contrasts` other contrasts; new ones begin with no influence, so the output is the same at
    first.
    """
    wider = Denoiser(denoiser.size, denoiser.neighbours, contrasts)
    weights = dict(denoiser.state_dict())
    head = weights["network.head.weight"]
    # Pixels were unshuffled channel by channel, so those of the new contrasts come last.
    weights["network.head.weight"] = torch.cat(
        [head, head.new_zeros(len(head), wider.network.head.in_channels - head.shape[1], 3, 3)], 1
    )
    wider.load_state_dict(weights)
    return wider


def measure_sigma_data(x: Tensor, sigma: Tensor) -> Tensor:
    """Root mean square of the signal, (N,), under the noise of x (N, 1, H, W) at level sigma (N, 1, 1 or H, 1 or W)."""
    return (x.square().mean(dim=(1, 2, 3)) - sigma.square().mean(dim=(1, 2, 3))).clamp(min=0).sqrt()


def on_device(denoiser: Denoiser, device: torch.device | str) -> Denoiser:
    """The denoiser itself, moved to a device, its weights in the order in memory that is right there."""
    denoiser.to(device, memory_format=order_in_memory(torch.device(device).type))  # type: ignore[call-overload]
    return denoiser
