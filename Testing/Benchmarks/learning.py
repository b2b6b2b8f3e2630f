"""One training loop for every loss: the same network, patches, augmentation, steps and seeds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import common
import numpy as np
import torch
from losses import H, Method, Sample
from torch import Tensor

from C2SCore.denoiser import Denoiser, measure_sigma_data
from C2SCore.device import autocast, choose_device
from C2SCore.patches import Case, PatchSampler
from C2SCore.tensors import to_array, to_tensor
from C2SCore.tissue import foreground, signal_level

BLIND = 0.15  # of sigma_data: what a network is told that must not know the level


@dataclass(frozen=True)
class Budget:
    """How long and how large a training is."""

    steps: int
    patch: int = 64  # pixels
    batch: int = 8  # patches; each loss passes them through the network twice
    size: str = "small"
    learning_rate: float = 1.5e-3
    ema: float = 0.998


@dataclass(frozen=True)
class Simulated:
    """A clean scan (K, J, I) in units of its tissue signal, two noisy ones, and their sigma in that unit."""

    name: str
    clean: np.ndarray
    noisy: np.ndarray
    again: np.ndarray
    sigma: float
    helpers: tuple[np.ndarray, ...] = ()  # other noisy contrasts of the same anatomy, in any unit

    @cached_property
    def mask(self) -> np.ndarray:
        return foreground(self.clean)

    @property
    def peak(self) -> float:
        return float(np.ptp(self.clean))


def simulate(name: str, clean: np.ndarray, snr: float, seed: int, kind: str = "gaussian") -> Simulated:
    clean = (clean / signal_level(clean)).astype(np.float32)
    noisy, again = (common.add_noise(clean, 1 / snr, kind, 2 * seed + n) for n in (0, 1))
    return Simulated(name, clean, noisy, again, 1 / snr)


class Patches:
    """Samples from simulated scans, by the product's own sampler: the same patches for every loss, given a seed."""

    def __init__(self, scans: Sequence[Simulated], budget: Budget, seed: int, neighbours: int = 0) -> None:
        self.cases = []
        for scan in scans:
            # The second image and the truth travel as contrasts: cut, flipped and turned alike.
            case = Case(scan.name, scan.noisy, [scan.again, scan.clean, *scan.helpers], scan.sigma)
            case.prepare("white")
            case.scales = (case.signal, case.signal, *case.scales[2:])
            self.cases.append(case)
        self.sampler = PatchSampler(self.cases, budget.patch, neighbours)
        self.batch = budget.batch
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, device: torch.device, progress: float) -> tuple[Sample, Tensor, Tensor | None]:
        """A sample, sigma_data (N,) of its slices, and what helps (N, A, P, P), if anything does: the slices above and
        below, then other contrasts.
        """
        batch = self.sampler.draw(self.batch, self.rng)
        x, others = to_tensor(batch.x).to(device), to_tensor(batch.contrasts).to(device)
        sigma = to_tensor(batch.sigma_d).to(device)
        sample = Sample(x[:, :1], others[:, :1], others[:, 1:2], sigma, self.generator, progress)
        aux = torch.cat([x[:, 1:], others[:, 2:]], dim=1)
        return sample, to_tensor(batch.sigma_data).to(device), aux if aux.shape[1] else None


def learn(
    method: Method,
    scans: Sequence[Simulated],
    budget: Budget,
    seed: int,
    device: str = "auto",
    watch: Callable[[int, Denoiser], None] | None = None,
) -> Denoiser:
    """The averaged network after `budget.steps` steps; `watch` sees it after every step."""
    target = choose_device(device)
    torch.manual_seed(seed)
    denoiser = (
        Denoiser(budget.size, method.neighbours, len(scans[0].helpers))
        .to(target, memory_format=torch.channels_last)
        .train()
    )
    average = copy.deepcopy(denoiser).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=budget.learning_rate, weight_decay=0.0)
    patches = Patches(scans, budget, seed, method.neighbours)
    for step in range(budget.steps):
        for group in optimizer.param_groups:
            group["lr"] = budget.learning_rate * _schedule(step, budget.steps)
        sample, sigma_data, aux = patches.draw(target, step / budget.steps)
        precision = "float32" if method.exact else "auto"
        loss = method.loss(_network(denoiser, sigma_data, target, precision, aux, method.blind), sample)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(denoiser.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            decay = min(budget.ema, (1 + step) / (10 + step))
            for mean, now in zip(average.parameters(), denoiser.parameters()):
                mean.lerp_(now, 1 - decay)
        if watch is not None:
            watch(step + 1, average)
    return average


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up over a twentieth of the steps, then half a cosine down to 1 %."""
    rise = min(1.0, (step + 1) / (steps / 20 + 1))
    return rise * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)


def _network(
    denoiser: Denoiser,
    sigma_data: Tensor | None,
    device: torch.device,
    precision: str,
    aux: Tensor | None = None,
    blind: bool = False,
) -> H:
    """h(x, sigma) for losses: sigma_data and what helps (`aux`) are those of the slices, however often a loss repeats
    their patches. A blind network is told one share of the signal, whatever sigma is.
    """

    def h(x: Tensor, sigma: Tensor) -> Tensor:
        if sigma_data is None:
            power = measure_sigma_data(x, sigma.reshape(-1, 1, 1, 1))
        else:
            power = sigma_data.repeat(len(x) // len(sigma_data))
        sigma = BLIND * power if blind else sigma
        beside = None if aux is None else aux.repeat(len(x) // len(aux), 1, 1, 1)
        with autocast(device, precision):
            return denoiser(x, sigma, beside, power).float()

    return h


def apply(
    denoiser: Denoiser,
    method: Method,
    noisy: np.ndarray,
    sigma: float,
    rows: np.ndarray,
    seed: int = 0,
    helpers: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Denoise the slices `rows` of a volume (K, J, I) as the method does, in float32; `helpers`: other contrasts."""
    device = next(denoiser.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    scales = [float(np.sqrt(np.mean(np.square(other, dtype=np.float64)))) for other in helpers]
    planes = []
    with torch.no_grad():
        for row in rows:
            x = to_tensor(noisy[row][None, None].astype(np.float32)).to(device)
            beside = []
            if denoiser.neighbours:
                beside = [noisy[k] if 0 <= k < len(noisy) else np.zeros_like(noisy[row]) for k in (row - 1, row + 1)]
            beside += [other[row] / scale for other, scale in zip(helpers, scales)]
            aux = to_tensor(np.stack(beside)[None].astype(np.float32)).to(device) if beside else None
            h = _network(denoiser, None, device, "float32", aux, method.blind)
            planes.append(to_array(method.infer(h, x, x.new_tensor([sigma]), generator).cpu())[0, 0])
    return np.stack(planes)


def score(scan: Simulated, image: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """PSNR and SSIM of the slices `rows`, of which `image` holds the estimates."""
    return common.scores(scan.clean[rows], image, scan.mask[rows], scan.peak)
