"""Denoising diffusion conditioned on a noisy measurement: schedule, loss and samplers.

Forward, x_t = sqrt(ᾱ_t) x_0 + sqrt(1 - ᾱ_t) ε with ᾱ_t = Π (1 - β_s) and β linear from 1e-4 to 0.02
over T = 1000 steps; the network learns ε (Ho, Jain & Abbeel 2020, DDPM). Backward, all T steps or
few of them with noise (DDPM), or few without (DDIM: Song, Meng & Ermon 2021). Schedules are those
of diffusers. x_0 is a flattened clean pattern of even contrast over `RANGE`, the condition the
flattened measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor
from torch.nn import functional

from ebsdarchive.errors import ArgumentError
from ebsdarchive.restorers import networks
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.flattening import Flattened, flatten
from ebsdarchive.restorers.networks import Batch, padded
from ebsdarchive.restorers.unet import UNet, UNetConfig

__all__ = [
    "SAMPLERS",
    "Samples",
    "build",
    "checkpoint_of",
    "generators",
    "load",
    "loss",
    "noise_loss",
    "repeated",
    "restore_flattened",
    "sample",
    "scheduler_of",
]

METHOD, VERSION = "ddpm", "1"
SAMPLERS = {"ddpm": 1000, "ddim": 20}  # with the number of steps that each takes if not told
STEPS = 1000  # T
BETA_FIRST, BETA_LAST = 1e-4, 0.02
RANGE = 3.0  # flattened values, of a standard deviation of 1, that ± 1 stand for


class Samples(NamedTuple):
    """Mean (n, sy, sx) of samples, and their standard deviation (n, sy, sx), None of one."""

    mean: Tensor
    deviation: Tensor | None


def scheduler_of(sampler: str, clip: bool) -> Any:
    """A scheduler of diffusers, with the noise schedule and the step of `sampler`; `clip` keeps its
    estimates of x_0 within ± 1."""
    if sampler not in SAMPLERS:
        raise ArgumentError(f"sampler: expected {' or '.join(SAMPLERS)}, found {sampler!r}")
    kind: Any = DDPMScheduler if sampler == "ddpm" else DDIMScheduler
    return kind(
        num_train_timesteps=STEPS,
        beta_start=BETA_FIRST,
        beta_end=BETA_LAST,
        beta_schedule="linear",
        prediction_type="epsilon",
        clip_sample=clip,
    )


def noise_loss(
    predict: Callable[[Tensor, Tensor], Tensor],
    x_0: Tensor,
    weight: Tensor,
    generator: torch.Generator,
    power: int = 1,
) -> Tensor:
    """|| ε - ε(x_t, t) ||² of uniform times, a mean over what `weight` (…, like x_0) counts.

    `predict` takes x_t (n, …) and t (n,). Of a `power` above 1, times are those of uniform numbers
    to that power: more of them at little noise.
    """
    t = torch.randint(STEPS, (len(x_0),), generator=generator, device=x_0.device)
    if power > 1:
        t = (STEPS * ((t + 0.5) / STEPS) ** power).long()
    epsilon = torch.randn(x_0.shape, generator=generator, device=x_0.device)
    x_t = scheduler_of("ddpm", clip=False).add_noise(x_0, epsilon, t)
    error = (epsilon - predict(x_t, t)).square() * weight
    return error.sum() / weight.expand_as(error).sum().clamp_min(1)


def loss(module: UNet, batch: Batch, generator: torch.Generator) -> Tensor:
    """Mean square error of the predicted noise over lit pixels (Ho et al. 2020, eq. 14)."""
    measured = flatten(batch.noisy, batch.mask)
    x_0 = _in_range(measured.evened(batch.clean), module)
    condition = _in_range(measured.values, module)
    lit = measured.lit.to(x_0)[:, None]
    weight = functional.pad(lit, (0, x_0.shape[3] - lit.shape[3], 0, x_0.shape[2] - lit.shape[2]))
    return noise_loss(lambda x_t, t: module(x_t, condition, t), x_0, weight, generator)


def _in_range(values: Tensor, module: UNet) -> Tensor:
    """(n, sy, sx) flattened values as images (n, 1, …) within ± 1, of sizes that fit."""
    return padded((values / RANGE).clamp(-1, 1)[:, None], module.multiple)


def generators(seed: int, indices: Sequence[int], repeat: int = 0) -> list[torch.Generator]:
    """A random stream for each pattern of a scan, by its index: noise does not depend on how the
    scan is cut into blocks, nor on the device."""
    seeds = [np.random.SeedSequence([seed, index, repeat]).generate_state(2) for index in indices]
    return [torch.Generator().manual_seed(int(a) << 32 | int(b)) for a, b in seeds]


@torch.no_grad()
def sample(
    predict: Callable[[Tensor, Tensor], Tensor],
    shape: tuple[int, ...],
    sampler: str,
    steps: int,
    streams: list[torch.Generator],
    device: torch.device | str = "cpu",
    clip: bool = True,
) -> Tensor:
    """Draw x_0 (n, …) from noise; `predict` takes x_t (n, …) and t (n,).

    Parameters
    ----------
    shape
        Of x_0, with n in front.
    steps
        Times that the network is asked, evenly over 1 … T.
    streams
        One random stream on the CPU for each of the n.
    """
    if not 1 <= steps <= STEPS:
        raise ArgumentError(f"steps: expected from 1 to {STEPS}, found {steps}")
    scheduler = scheduler_of(sampler, clip)
    scheduler.set_timesteps(steps)
    x = torch.stack([torch.randn(shape[1:], generator=stream) for stream in streams]).to(device)
    for t in scheduler.timesteps:
        epsilon = predict(x, torch.full((len(x),), int(t), device=x.device))
        x = scheduler.step(epsilon, t, x, generator=streams).prev_sample
    return torch.as_tensor(x)


def repeated(draw: Callable[[int], Tensor], samples: int) -> Samples:
    """Mean and spread of `samples` draws; `draw` takes the number of the draw."""
    if samples < 1:
        raise ArgumentError(f"samples: expected at least 1, found {samples}")
    first = draw(0)
    if samples == 1:
        return Samples(first, None)
    mean, squares = first, torch.zeros_like(first)  # Welford 1962: one draw is held at a time
    for k in range(1, samples):
        x = draw(k)
        change = x - mean
        mean = mean + change / (k + 1)
        squares = squares + change * (x - mean)
    return Samples(mean, (squares / (samples - 1)).sqrt())


@torch.no_grad()
def restore_flattened(
    module: UNet,
    measured: Flattened,
    sampler: str,
    steps: int,
    samples: int,
    streams: Callable[[int], list[torch.Generator]],
) -> Samples:
    """Samples in the flattened form, of even contrast; `streams` gives those of the k-th."""
    sy, sx = measured.values.shape[1:]
    condition = _in_range(measured.values, module)

    def draw(k: int) -> Tensor:
        x_0 = sample(
            lambda x_t, t: module(x_t, condition, t),
            tuple(condition.shape),
            sampler,
            steps,
            streams(k),
            condition.device,
        )
        return RANGE * x_0[:, 0, :sy, :sx]

    return repeated(draw, samples)


def build(config: Mapping[str, Any]) -> UNet:
    """A network with fresh weights."""
    return UNet(networks.read_config(UNetConfig, config, METHOD))


def checkpoint_of(module: UNet, card: Mapping[str, Any]) -> Checkpoint:
    """The network at rest; DDIM samples with the same."""
    return networks.checkpoint_of(module, METHOD, VERSION, card)


def load(checkpoint: Checkpoint) -> UNet:
    """The network of a checkpoint. Raises FormatError if it does not fit."""
    return networks.loaded(build, checkpoint, VERSION)
