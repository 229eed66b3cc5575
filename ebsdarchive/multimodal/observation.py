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
        (n + 1, …) float32: the one tensor that is as large as the map times the levels.
    relative
        (n + 1,) float32 ρ_k².
    observation
        At level 0.
    published
        The likelihoods of Dou & Song.
    """

    values: Tensor
    relative: Tensor
    observation: Observation
    published: bool

    def variance(self, k: int) -> Tensor:
        """(…) float32 of the likelihood N(y_k / a_k; M x_k / a_k, …) of level k as far as the
        levels above have not said it; infinite where it says nothing more."""
        found = self.alone(k)
        if not self.published and k + 1 < len(self.relative):
            own = self.observation.noise.square().expand(found.shape)
            found[self.relative[k + 1] < own] = torch.inf
        return found

    def alone(self, k: int) -> Tensor:
        """(…) variance of the likelihood of a level by itself: all that was measured."""
        own = self.observation.noise.square()
        remaining = own if self.published else (own - self.relative[k]).clamp_min(0)
        return torch.where(self.observation.measured, remaining, torch.inf)

    def exact(self, k: int) -> Tensor:
        """(…) 0 where a level's value is known exactly, infinite elsewhere: for a sampler that has
        the rest of what was measured from somewhere else."""
        return torch.where(self.alone(k) == 0, 0.0, torch.inf)


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
    relative = levels.relative.square().float()  # ρ_k²
    own = observation.noise.square()  # σ²
    values = torch.empty(levels.count + 1, *observation.values.shape)
    rise = values[1:].normal_(generator=generator)
    below = relative[0] if published else torch.maximum(relative[0], own)
    for k, step in enumerate(rise, start=1):
        reached = relative[k] if published else torch.maximum(relative[k], own)
        step *= (reached - below).clamp_min(0).sqrt()
        below = reached
    rise.cumsum_(0).add_(observation.values)
    values[0] = observation.values
    return ObservedPath(values, relative, observation, published)
