"""K samples of a map, given what was measured of it: independent systems, each with its own seed.

A sample follows from the seed and its number alone, so that any of them can be drawn anywhere, in
any order. Guided ones begin with what was measured nearest, and noise. What samples share and where
they differ is in `summaries`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional

from ebsdarchive.errors import ArgumentError
from ebsdarchive.multimodal.filtering import SamplerOptions, filtered
from ebsdarchive.multimodal.map_network import MapNetwork
from ebsdarchive.multimodal.observation import Observation
from ebsdarchive.multimodal.windows import Tiled
from ebsdarchive.restorers.diffusion import generators

__all__ = ["drawn", "nearest_measured"]


@torch.no_grad()
def drawn(
    network: MapNetwork,
    observation: Observation,
    options: SamplerOptions,
    *,
    seed: int,
    numbers: Sequence[int],
    threads: int = 1,
    told: Callable[[float], None] | None = None,
) -> Tensor:
    """Samples of a map (k, c, y, x), as many as there are `numbers`.

    Parameters
    ----------
    observation
        (c, y, x) in the network's channels, of any size.
    seed, numbers
        What the samples follow from; each sample from the seed and its own number.
    threads
        Samples that are drawn at the same time.
    told
        Is told the part done, 0 … 1.

    Raises
    ------
    ArgumentError
        If the channels are others than the network's.
    """
    c, ny, nx = observation.values.shape
    if c != network.config.channels:
        raise ArgumentError(f"observation: expected {network.config.channels} channels, found {c}")
    if len(numbers) < 1:
        raise ArgumentError("samples: expected at least 1, found none")
    whole = _enlarged(observation, network.config.window)
    shape = (whole.values.shape[1], whole.values.shape[2])
    tiled = Tiled(network, network.config.window, shape)
    done = [0.0] * len(numbers)
    begin = nearest_measured(whole) if options.guidance else None

    def draw(place: int) -> Tensor:
        (stream,) = generators(seed, [numbers[place]])

        def step(part: float) -> None:
            done[place] = part
            if told is not None:
                told(sum(done) / len(numbers))

        found = filtered(tiled, whole, options, stream, step, begin)
        return found.one(stream)[:, :ny, :nx]

    with ThreadPoolExecutor(max(1, threads)) as pool:
        return torch.stack(list(pool.map(draw, range(len(numbers)))))


def nearest_measured(observation: Observation) -> Tensor | None:
    """(c, y, x) an observation with the values of the nearest measured pixel where it has none;
    None if nothing is measured of a channel."""
    found = observation.values.clone()
    for values, measured in zip(found, observation.measured, strict=True):
        if not bool(measured.any()):
            return None
        there = distance_transform_edt(
            ~measured.numpy(), return_distances=False, return_indices=True
        )
        values.copy_(values[tuple(torch.from_numpy(axis).long() for axis in there)])
    return found


def _enlarged(observation: Observation, window: int) -> Observation:
    """Of at least a window: what is added below and to the right is not measured."""
    _, ny, nx = observation.values.shape
    below, right = max(0, window - ny), max(0, window - nx)
    room = (0, right, 0, below)
    noise = observation.noise.expand(observation.values.shape)
    return Observation(
        functional.pad(observation.values, room),
        functional.pad(observation.measured, room),
        functional.pad(noise, room),
    )
