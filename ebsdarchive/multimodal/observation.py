"""What was measured of a map, and the same at every level of noise.

y_0 = M x_0 + n, where M picks values and n has a standard deviation σ that may differ from value to
value. A value measured with noise σ is the map's own at the level where the diffusion has just as
much, ρ_τ = σ. From there it is diffused to the levels above with noise that it shares with the
particles, y_k = a_k y_0 + (b_k² - a_k² σ²)^½ M z, and stands for M x_k exactly. The first level
below τ has a likelihood of variance b² short of a² σ²; further down, nothing is left to be learned
from the measurement. So every bit of it is used once.

Dou & Song (2024) keep the variance a_k² σ² at all levels, as if each had been measured anew: right
for σ = 0, where both agree, and too sure of itself else (`published`, for comparison).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebsdarchive.errors import ArgumentError
from ebsdarchive.multimodal.schedule import NoiseLevels

__all__ = ["Observation", "ObservedPath", "diffused"]


@dataclass(frozen=True)
class Observation:
    """Measured values of a map.

    Parameters
    ----------
    values
        (c, y, x), or any other shape of a map, float32; what is not measured may be anything
        finite.
    measured
        bool of the same shape: M.
    noise
        σ of the values, float32, of a shape that fits; 0 where exact.
    """

    values: Tensor
    measured: Tensor
    noise: Tensor

    def __post_init__(self) -> None:
        if self.values.shape != self.measured.shape:
            raise ArgumentError(
                f"observation: expected a mask of shape {tuple(self.values.shape)}, found "
                f"{tuple(self.measured.shape)}"
            )
        if not bool(torch.isfinite(self.values).all()):
            raise ArgumentError(
                "observation: expected finite values, found others; leave out what is not known"
            )
        if not bool((self.noise >= 0).all()):
            raise ArgumentError("observation: expected noise of at least 0, found less")


@dataclass(frozen=True)
class ObservedPath:
    """An observation at levels 0 … n, in units of the clean map: y_k / a_k.

    Parameters
    ----------
    values
        (n + 1, …) float32.
    variance
        (n + 1, …) float32 of the likelihood N(y_k / a_k; M x_k / a_k, …) as far as the levels above
        have not said it; infinite where the level says nothing more.
    measured
        bool (…).
    remaining
        (n + 1, …) float32, of a shape that fits: as `variance`, of what is measured, of each level
        by itself.
    """

    values: Tensor
    variance: Tensor
    measured: Tensor
    remaining: Tensor

    def alone(self, k: int) -> Tensor:
        """(…) variance of the likelihood of a level by itself: all that was measured."""
        return torch.where(self.measured, self.remaining[k], torch.inf)


def diffused(
    observation: Observation,
    levels: NoiseLevels,
    generator: torch.Generator,
    published: bool = False,
) -> ObservedPath:
    """An observation at every level of noise.

    Parameters
    ----------
    generator
        Draws the shared noise; forward in time, so that one level follows from that below it.
    published
        The likelihoods of Dou & Song.
    """
    shape = (levels.count + 1, *[1] * observation.values.ndim)
    relative = levels.relative.square().float().reshape(shape)  # ρ_k²
    own = observation.noise.expand(observation.values.shape).square()  # σ²
    reached = relative if published else torch.maximum(relative, own)
    added = torch.diff(reached, dim=0).expand(-1, *observation.values.shape).clamp_min(0).sqrt()
    noise = torch.randn((levels.count, *observation.values.shape), generator=generator)
    rise = (noise * added).cumsum(0)
    values = torch.cat([observation.values[None], observation.values + rise])
    remaining = own.expand_as(values) if published else (own - relative).clamp_min(0)
    variance = remaining.expand_as(values).clone()
    if not published:
        above = torch.cat([relative[1:], torch.full_like(relative[:1], torch.inf)])
        variance[(above < own).expand_as(values)] = torch.inf
    variance[:, ~observation.measured] = torch.inf
    return ObservedPath(values, variance, observation.measured, remaining)
