"""Levels of noise that a sampler goes down, and the step between two of them.

x_k = a_k x_0 + b_k z with a_k² = ᾱ and b_k² = 1 - ᾱ of the schedule in `restorers.diffusion`.
Nothing here knows of observations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ebsdarchive.errors import ArgumentError
from ebsdarchive.restorers.diffusion import STEPS, scheduler_of

__all__ = ["NoiseLevels", "Step", "noise_levels", "signal"]


@dataclass(frozen=True)
class NoiseLevels:
    """Levels 0 … n of noise, level 0 without any.

    Parameters
    ----------
    times
        (n + 1,) time steps that the network knows them by; that of level 0 is -1.
    signal
        (n + 1,) float64 ᾱ, falling from 1.
    """

    times: tuple[int, ...]
    signal: Tensor

    @property
    def count(self) -> int:
        """n, the number of steps down."""
        return len(self.times) - 1

    @property
    def relative(self) -> Tensor:
        """(n + 1,) ρ_k = b_k / a_k: noise in units of the clean map."""
        return ((1 - self.signal) / self.signal).sqrt()

    def reached(self, noise: float) -> int:
        """The highest level, of 1 and above, with a ρ of no more than `noise`."""
        return max(1, int((self.relative <= noise).sum()) - 1)

    def ahead(self, k: int) -> float:
        """How far the clean map that is expected moves on within step k, in parts of its way in the
        step before: half the step's length in log a/b over that of the one before (Lu et al. 2022,
        DPM-Solver++ 2M). 0 of the first step, and of the last, which is infinitely long."""
        if k in (1, self.count):
            return 0.0
        logs = -self.relative[k - 1 : k + 2].log()
        return float(0.5 * (logs[0] - logs[1]) / (logs[1] - logs[2]))

    def step(self, k: int) -> Step:
        """From level k to k - 1."""
        above, below = float(self.signal[k]), float(self.signal[k - 1])
        alpha = above / below
        beta = 1 - alpha
        return Step(
            time=self.times[k],
            above=above,
            below=below,
            of_clean=below**0.5 * beta / (1 - above),
            of_noisy=alpha**0.5 * (1 - below) / (1 - above),
            variance=beta * (1 - below) / (1 - above),
        )


@dataclass(frozen=True)
class Step:
    """x_{k-1} ~ N(`of_clean` x̂_0 + `of_noisy` x_k, `variance`); Ho et al. 2020, eq. 6 and 7.

    `above` and `below` are ᾱ of levels k and k - 1.
    """

    time: int
    above: float
    below: float
    of_clean: float
    of_noisy: float
    variance: float

    def mean(self, x: Tensor, epsilon: Tensor, clip: bool) -> Tensor:
        """(n, …) mean of x_{k-1}, given the noise predicted in x_k; `clip` keeps x̂_0 in ± 1."""
        return self.towards(self.clean(x, epsilon), x, clip)

    def clean(self, x: Tensor, epsilon: Tensor) -> Tensor:
        """(n, …) x̂_0, given the noise predicted in x_k."""
        return (x - (1 - self.above) ** 0.5 * epsilon) / self.above**0.5

    def towards(self, clean: Tensor, x: Tensor, clip: bool) -> Tensor:
        """(n, …) mean of x_{k-1}, given x̂_0 and x_k."""
        if clip:
            clean = clean.clamp(-1, 1)
        return self.of_clean * clean + self.of_noisy * x

    def up(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """(n, …) x_k of x_{k-1}, as the diffusion goes."""
        alpha = self.above / self.below
        noise = torch.randn(x.shape, generator=generator)
        return alpha**0.5 * x + (1 - alpha) ** 0.5 * noise


def noise_levels(steps: int) -> NoiseLevels:
    """`steps` levels of noise, at times of the schedule that grow with the square of their number.

    Few steps then lose less of the variance than at even times: of a Gaussian of σ 0.1 and in 50
    steps 22 %, not 54 %.

    Raises
    ------
    ArgumentError
        If there are not so many times.
    """
    if not 2 <= steps <= STEPS:
        raise ArgumentError(f"steps: expected from 2 to {STEPS}, found {steps}")
    number = torch.arange(steps)
    times = ((STEPS - 1) * (number.double() / (steps - 1)).square()).round().long()
    times = torch.maximum(times, number)
    whole = torch.cat([torch.ones(1, dtype=torch.float64), signal()[times]])
    return NoiseLevels((-1, *(int(t) for t in times)), whole)


@cache
def signal() -> Tensor:
    """(1000,) float64 ᾱ at the times of the schedule."""
    found: Tensor = scheduler_of("ddpm", clip=False).alphas_cumprod
    return found.double()
