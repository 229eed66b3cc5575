"""Registered maps of simulated hexagonal metal: what the models are trained and tested on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import radians
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.multimodal.light_channels import LightChannels
from ebsdarchive.multimodal.microstructures import Laguerre, Microstructure, random_section
from ebsdarchive.multimodal.orientation_channels import HEXAGONAL, to_channels
from ebsdarchive.multimodal.perturbations import Perturbation
from ebsdarchive.multimodal.polarised_light import c_axes
from ebsdarchive.multimodal.texture import Texture
from ebsdarchive.simulation.rotations import from_vectors, product

__all__ = ["Family", "SyntheticMap", "SyntheticMaps", "boundaries_of"]

Family = Literal["laguerre", "growth"]

BOXES: dict[Family, float] = {"laguerre": 2.0, "growth": 1.5}  # edge of a volume, in windows


@dataclass(frozen=True)
class SyntheticMap:
    """One window of a specimen whose truth is known.

    Parameters
    ----------
    channels
        float32 (3 + p, ny, nx): orientation, then clean light, in [-1, 1].
    light
        float32 (p, ny, nx): the light as it would be observed.
    grains
        int32 (ny, nx) from 0 on.
    quaternions
        float64 (ny, nx, 4) sample to crystal, scalar first, not reduced; x along a row, y down a
        column.
    boundaries
        bool (ny, nx), see `boundaries_of`.
    """

    channels: npt.NDArray[np.float32]
    light: npt.NDArray[np.float32]
    grains: npt.NDArray[np.int32]
    quaternions: npt.NDArray[np.float64]
    boundaries: npt.NDArray[np.bool_]


class SyntheticMaps:
    """A seeded source without end: the same settings, seed and index give the same map.

    Parameters
    ----------
    family
        Of the microstructures.
    size
        (ny, nx) of a window, or one number for a square.
    seed
        Of everything.
    light
        The channels of polarised light, with their stage angles and metal.
    perturbation
        Of the observed light; None leaves it clean.
    grain_size
        Least and largest mean diameter of the grains of a volume, in pixels.
    spread_deg
        Orientations within a grain lie about so far from its mean at its rim.
    windows_per_volume
        Maps with neighbouring indices that are cut from the same volume.
    """

    def __init__(
        self,
        family: Family = "laguerre",
        size: int | tuple[int, int] = 64,
        *,
        seed: int,
        light: LightChannels,
        perturbation: Perturbation | None = None,
        grain_size: tuple[float, float] = (10.0, 24.0),
        spread_deg: float = 0.5,
        windows_per_volume: int = 32,
    ) -> None:
        if family not in get_args(Family):
            raise ArgumentError(
                f"family: expected one of {', '.join(get_args(Family))}, found {family!r}"
            )
        self.family = family
        self.shape = (size, size) if isinstance(size, int) else size
        if min(self.shape) < 2:
            raise ArgumentError(f"size: expected at least 2 by 2 pixels, found {self.shape}")
        if not 1 <= grain_size[0] <= grain_size[1]:
            raise ArgumentError(
                f"grain_size: expected a least one from 1 on and a largest one, found {grain_size}"
            )
        if windows_per_volume < 1 or seed < 0 or not 0 <= spread_deg < 30:
            raise ArgumentError(
                "windows_per_volume, seed and spread_deg: expected at least 1, at least 0 and "
                f"0 to 30, found {windows_per_volume}, {seed} and {spread_deg}"
            )
        self.seed, self.light, self.perturbation = seed, light, perturbation
        self.grain_size, self.spread_deg = grain_size, spread_deg
        self.windows_per_volume = windows_per_volume
        self._volume = lru_cache(maxsize=4)(self._make_volume)

    def __getitem__(self, index: int) -> SyntheticMap:
        """The map of an index from 0 on."""
        if index < 0:
            raise IndexError(f"expected an index of at least 0, found {index}")
        volume = self._volume(index // self.windows_per_volume)
        cutting, bending, seeing = np.random.default_rng([self.seed, 1, index]).spawn(3)
        section = random_section(volume, self.shape, cutting)
        grains = section.grains
        quaternions = self._bent(section.quaternions, grains, bending)
        series = self.light.series(c_axes(quaternions))
        clean = self.light.encode(series)
        seen = clean
        if self.perturbation is not None:
            seen = self.light.encode(
                self.perturbation.apply(series, self.light.stage_angles_deg, grains, seeing)
            )
        orientation = to_channels(quaternions, HEXAGONAL, grains=grains)
        return SyntheticMap(
            channels=np.concatenate([orientation, clean]),
            light=seen,
            grains=grains,
            quaternions=quaternions,
            boundaries=boundaries_of(grains),
        )

    def __iter__(self) -> Iterator[SyntheticMap]:
        """All maps, from index 0 on, without end."""
        index = 0
        while True:
            yield self[index]
            index += 1

    def _make_volume(self, number: int) -> Microstructure:
        rng = np.random.default_rng([self.seed, 0, number])
        low, high = self.grain_size
        size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        texture = Texture.rolled(float(rng.uniform(0.1, 1.0)), rng)
        edge = max(BOXES[self.family] * max(self.shape), 6 * size)
        if self.family == "growth":
            from ebsdarchive.multimodal.growth import Grown  # numba, for this family only

            return Grown(edge, size, texture, rng)
        return Laguerre(
            edge,
            size,
            texture,
            rng,
            size_spread=float(rng.uniform(0.15, 0.5)),
            stretch=(float(np.exp(rng.uniform(0, 0.7))), 1.0, float(np.exp(-rng.uniform(0, 0.3)))),
        )

    def _bent(
        self,
        means: npt.NDArray[np.float64],
        grains: npt.NDArray[np.int32],
        rng: np.random.Generator,
    ) -> npt.NDArray[np.float64]:
        """(ny, nx, 4) orientations that turn evenly across each grain, about its mean."""
        labels, n = grains.ravel(), len(means)
        count = np.bincount(labels, minlength=n)
        positions = np.indices(grains.shape).reshape(2, -1).T.astype(np.float64)
        centre = np.stack([np.bincount(labels, p, minlength=n) for p in positions.T], 1)
        away = positions - (centre / count[:, None])[labels]
        away /= np.sqrt(count / np.pi)[labels, None]  # in radii of the grain
        turns = rng.standard_normal((n, 2, 3)) * radians(self.spread_deg) / np.sqrt(3)
        vectors = np.einsum("ij,ijk->ik", away, turns[labels])
        return product(means[labels], from_vectors(vectors)).reshape(*grains.shape, 4)


def boundaries_of(grains: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """(ny, nx) where the next pixel to the right or below belongs to another grain."""
    found = np.zeros(grains.shape, bool)
    found[:, :-1] |= grains[:, :-1] != grains[:, 1:]
    found[:-1] |= grains[:-1] != grains[1:]
    return found
