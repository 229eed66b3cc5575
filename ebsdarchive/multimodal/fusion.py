"""Samples of an observed map and all that is made of them: orientations, light and boundaries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebsdarchive.errors import ArgumentError
from ebsdarchive.multimodal.alignment import fitted_alignment, require_enough
from ebsdarchive.multimodal.edge_maps import (
    BOUNDARY_DEG,
    HIGH_ANGLE_DEG,
    Edges,
    edge_strength,
    edges_of,
)
from ebsdarchive.multimodal.filtering import SamplerOptions
from ebsdarchive.multimodal.fuse_options import FuseOptions
from ebsdarchive.multimodal.grain_alignment import aligned_to_grains
from ebsdarchive.multimodal.map_network import MapConfig, MapNetwork
from ebsdarchive.multimodal.observation import Observation
from ebsdarchive.multimodal.orientation_channels import from_channels
from ebsdarchive.multimodal.posterior_maps import drawn
from ebsdarchive.multimodal.summaries import (
    OrientationSummary,
    light_summary,
    orientation_median,
    orientation_summary,
    spread_about,
    turned_to_neighbours,
    turns_between,
)

__all__ = ["Fusion", "corrected", "edges_between", "fused", "orientations_of"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fusion:
    """What was found of a map.

    Parameters
    ----------
    samples
        (k, c, y, x) in the network's channels; orientations corrected by a network, if that was
        asked for.
    orientation
        Median and spread, in the frame of the image; None of light alone.
    light, light_spread
        (p, y, x) mean and standard deviation; None of orientation alone.
    oriented
        Whether boundaries are those of orientations.
    """

    config: MapConfig
    samples: Tensor
    orientation: OrientationSummary | None
    light: Floats | None
    light_spread: Floats | None
    oriented: bool

    @cached_property
    def edges(self) -> Edges:
        """Of all samples. Raises ArgumentError if the map is too small to have any."""
        median = self.orientation.median if self.orientation and self.oriented else None
        return edges_between(self.config, self.samples, median)


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
    measured = observation.measured[: config.orientation].all(0)
    if options.align == "network":  # before the work begins
        if not config.orientation:
            raise ArgumentError(
                "alignment: expected a model of orientations, found one of light alone"
            )
        require_enough(measured)
    samples = drawn(
        network,
        observation,
        SamplerOptions(options.steps, options.particles, options.moves, options.guidance),
        seed=options.seed,
        numbers=range(options.samples),
        threads=options.threads,
        told=told,
    )
    if options.align == "network":
        samples = corrected(config, samples, observation, options.seed)
    n = config.orientation
    orientation, light, light_spread = None, None, None
    if n:
        orientation = orientations_of(config, samples, observation, options.align == "grains")
    if config.channels > n:
        light, light_spread = light_summary(samples[:, n:].numpy())
    oriented = n > 0 and (bool(measured.any()) or light is None)
    return Fusion(config, samples, orientation, light, light_spread, oriented)


def orientations_of(
    config: MapConfig, samples: Tensor, observation: Observation, to_grains: bool
) -> OrientationSummary:
    """Median and spread of the orientations of samples (k, c, y, x); `to_grains`: with grains
    turned to what was measured in them, those of the median and those of each sample.

    Between two pixels of the median there is a boundary where the median and most samples have one.
    """
    n, group = config.orientation, config.point_group
    each = np.stack([from_channels(sample[:n].numpy(), group) for sample in samples])
    if not to_grains:
        return orientation_summary(each, group)
    median = orientation_median(each, group)
    known = from_channels(observation.values[:n].numpy(), group)
    measured = observation.measured[:n].all(0).numpy()
    turns = [turns_between(q, group) for q in each]
    between = np.mean([np.minimum(turn.degrees, HIGH_ANGLE_DEG) for turn in turns], axis=0)
    own = turns_between(median, group)
    least = replace(own, degrees=np.minimum(own.degrees, between))
    median = aligned_to_grains(median, known, measured, least)
    aligned = [
        aligned_to_grains(q, known, measured, turn) for q, turn in zip(each, turns, strict=True)
    ]
    return OrientationSummary(median, spread_about(median, np.stack(aligned), group))


def corrected(config: MapConfig, samples: Tensor, observation: Observation, seed: int) -> Tensor:
    """(k, c, y, x) samples whose orientations a network corrects that is fitted to measured ones.

    Raises ArgumentError if there are too few of them.
    """
    n = config.orientation
    measured = observation.measured[:n].all(0)
    network = fitted_alignment(samples, observation.values[:n], measured, seed)
    out = samples.clone()
    out[:, :n] = torch.from_numpy(network.aligned(samples)).clamp(-1, 1)
    return out


def edges_between(config: MapConfig, samples: Tensor, median: Floats | None) -> Edges:
    """Boundaries of samples (k, c, y, x) of a network, whose orientations have a median (y, x, 4).

    Of orientations: high-angle boundaries of the median, grains turned as it has them, that most
    samples have too. The light, which went into them, cannot tell grains whose c-axes look alike.
    Without a median where the light changes, above the knee, for nothing says how strong its edges
    are; that is what to take where no orientation was measured.

    Raises ArgumentError if the map is too small to have any.
    """
    n, group = config.orientation, config.point_group
    if median is None:
        return edges_of([edge_strength(sample[n:].numpy()) for sample in samples])

    def strength(quaternions: Floats) -> Floats:
        return np.minimum(turned_to_neighbours(quaternions, group), HIGH_ANGLE_DEG)

    each = [strength(from_channels(sample[:n].numpy(), group)) for sample in samples]
    return edges_of(each, BOUNDARY_DEG, strength(median))
