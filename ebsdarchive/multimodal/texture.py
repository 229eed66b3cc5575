"""Textures of hexagonal metals: where the c axes of the grains point."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.simulation.rotations import product, uniform_quaternions

__all__ = ["Pole", "Texture"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pole:
    """A preferred direction of the c axis, in the sample's frame.

    Parameters
    ----------
    tilt_deg, azimuth_deg
        From the surface normal, and from x towards y.
    spread_deg
        Standard deviation of the c axes about it, along each of two directions.
    """

    tilt_deg: float
    azimuth_deg: float
    spread_deg: float


@dataclass(frozen=True)
class Texture:
    """Orientations at random, and c axes about a few poles; turns about c are uniform.

    Parameters
    ----------
    random_share
        Of the grains whose orientation follows no pole, 0 … 1.
    poles
        Each with the same share of the others.
    """

    random_share: float = 1.0
    poles: tuple[Pole, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.random_share <= 1:
            raise ArgumentError(f"random_share: expected 0 to 1, found {self.random_share}")
        if self.random_share < 1 and not self.poles:
            raise ArgumentError("poles: expected one at least, found none")

    @classmethod
    def rolled(cls, random_share: float, rng: np.random.Generator) -> Texture:
        """Two poles split from one direction, as rolled titanium has; drawn at random."""
        tilt, spread = rng.uniform(0, 90), rng.uniform(8, 25)
        azimuth = rng.uniform(0, 360)
        return cls(random_share, (Pole(tilt, azimuth, spread), Pole(tilt, azimuth + 180, spread)))

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """(n, 4) orientations, sample to crystal, scalar first."""
        quaternions = uniform_quaternions(n, rng)
        follows = np.flatnonzero(rng.random(n) >= self.random_share)
        if len(follows):
            quaternions[follows] = self._about_poles(len(follows), rng)
        return quaternions

    def _about_poles(self, n: int, rng: np.random.Generator) -> Floats:
        chosen = rng.integers(0, len(self.poles), n)
        angles = np.array([(p.tilt_deg, p.azimuth_deg, p.spread_deg) for p in self.poles])
        tilt, azimuth, spread = np.radians(angles[chosen]).T
        away = rng.standard_normal((2, n)) * spread
        around_c, distance = rng.uniform(0, 2 * pi, n), np.hypot(*away)
        # z to c, in the sample: away from z by the scatter, then to the pole
        scattered = _about("z", np.arctan2(*away), _about("y", distance, _identity(n)))
        c_from_z = _about("z", azimuth, _about("y", tilt, scattered))
        to_sample = product(c_from_z, _about("z", around_c, _identity(n)))
        return to_sample * [1, -1, -1, -1]


def _identity(n: int) -> Floats:
    return np.tile([1.0, 0, 0, 0], (n, 1))


def _about(axis: str, angle: Floats, quaternions: Floats) -> Floats:
    """(n, 4) the rotations, then a turn by (n,) angles in rad about y or z."""
    turn = np.zeros((len(angle), 4))
    turn[:, 0] = np.cos(angle / 2)
    turn[:, "xyz".index(axis) + 1] = np.sin(angle / 2)
    return product(turn, quaternions)
