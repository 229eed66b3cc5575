"""Samples of an observed map and all that is made of them: orientations, light and boundaries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebsdarchive.errors import ArgumentError
from ebsdarchive.multimodal.alignment import fitted_alignment
from ebsdarchive.multimodal.edge_maps import Edges, edge_strength, edges_of
from ebsdarchive.multimodal.filtering import SamplerOptions
from ebsdarchive.multimodal.map_network import MapNetwork
from ebsdarchive.multimodal.observation import Observation
from ebsdarchive.multimodal.orientation_channels import from_channels
from ebsdarchive.multimodal.posterior_maps import drawn
from ebsdarchive.multimodal.summaries import (
    OrientationSummary,
    light_summary,
    orientation_summary,
    turned_to_neighbours,
)

__all__ = ["FuseOptions", "Fusion", "fused"]

Floats = npt.NDArray[np.float64]

MOST_SAMPLES = 1000


@dataclass(frozen=True)
class FuseOptions:
    """How samples are drawn, and what becomes of them.

    Parameters
    ----------
    samples
        K.
    steps, particles
        As in `SamplerOptions`.
    seed
        Of everything; sample k follows from it and k.
    align
        Whether an alignment network corrects the orientations of the samples.
    orientation_noise, light_noise
        σ of measured channels, in [-1, 1]; None estimates that of light from its pixels.
    threads
        Samples that are drawn at the same time; without any effect on them.
    """

    samples: int = 4
    steps: int = 50
    particles: int = 2
    seed: int = 0
    align: bool = False
    orientation_noise: float = 0.01
    light_noise: float | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        _ = self.sampler
        for name, most in (("samples", MOST_SAMPLES), ("threads", 1024)):
            if not 1 <= getattr(self, name) <= most:
                raise ArgumentError(
                    f"{name}: expected from 1 to {most}, found {getattr(self, name)}"
                )
        for name in ("orientation_noise", "light_noise"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 10:
                raise ArgumentError(f"{name}: expected from 0 to 10, found {value}")
        if self.seed < 0:
            raise ArgumentError(f"seed: expected at least 0, found {self.seed}")

    @property
    def sampler(self) -> SamplerOptions:
        """For one system of particles."""
        return SamplerOptions(self.steps, self.particles)

    def described(self) -> dict[str, Any]:
        """What the result depends on; plain JSON values."""
        found = asdict(self)
        del found["threads"]
        return found


@dataclass(frozen=True)
class Fusion:
    """What was found of a map.

    Parameters
    ----------
    samples
        (k, c, y, x) in the network's channels; orientations aligned, if that was asked for.
    orientation
        Mean and spread, in the frame of the image; None of light alone.
    light, light_spread
        (p, y, x) mean and standard deviation; None of orientation alone.
    edges
        Of light where there is some, else of orientation: degrees to the next pixels.
    """

    samples: Tensor
    orientation: OrientationSummary | None
    light: Floats | None
    light_spread: Floats | None
    edges: Edges


def fused(
    network: MapNetwork,
    observation: Observation,
    options: FuseOptions,
    told: Callable[[float], None] | None = None,
) -> Fusion:
    """Draw samples and sum them up.

    Raises
    ------
    ArgumentError
        If the observation does not fit the network, or there is too little to align with.
    """
    config = network.config
    samples = drawn(
        network,
        observation,
        options.sampler,
        seed=options.seed,
        numbers=range(options.samples),
        threads=options.threads,
        told=told,
    )
    if options.align:
        samples = _aligned(samples, observation, config.orientation, options.seed)
    n = config.orientation
    orientation, light, light_spread = None, None, None
    if n:
        quaternions = np.stack(
            [from_channels(sample[:n].numpy(), config.point_group) for sample in samples]
        )
        orientation = orientation_summary(quaternions, config.point_group)
    if config.channels > n:
        light, light_spread = light_summary(samples[:, n:].numpy())
        strengths = [edge_strength(sample[n:].numpy()) for sample in samples]
    else:
        strengths = [turned_to_neighbours(q, config.point_group) for q in quaternions]
    return Fusion(samples, orientation, light, light_spread, edges_of(np.stack(strengths)))


def _aligned(samples: Tensor, observation: Observation, channels: int, seed: int) -> Tensor:
    if not channels:
        raise ArgumentError("alignment: expected a model of orientations, found one of light alone")
    measured = observation.measured[:channels].all(0)
    network = fitted_alignment(samples, observation.values[:channels], measured, seed)
    out = samples.clone()
    out[:, :channels] = torch.from_numpy(network.aligned(samples)).clamp(-1, 1)
    return out
