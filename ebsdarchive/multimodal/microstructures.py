"""Microstructures in three dimensions and plane sections through them: first family, Laguerre.

Grain sizes are lognormal, grains may be stretched, and orientations follow a texture, as in the
synthetic volumes of DREAM.3D. Nothing is put on voxels: the cell of any point is that of the seed
of least power, found exactly by a tree in four dimensions, so that a section costs its own points
only. Lengths are in pixels of the sections.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.multimodal.texture import Texture
from ebsdarchive.simulation.rotations import product, uniform_quaternions

__all__ = ["Laguerre", "Microstructure", "Section", "random_section"]

Floats = npt.NDArray[np.float64]

PACKING_ROUNDS = 16
ROUNDS_PER_SEARCH = 4


class Microstructure(Protocol):
    """A periodic box of grains, each of one orientation."""

    edge: float
    """Of the cubic box that repeats."""

    quaternions: Floats
    """(g, 4) of the grains, sample to crystal, in the frame of the box."""

    def grain_at(self, points: Floats) -> npt.NDArray[np.int32]:
        """(n,) grain at (n, 3) positions x, y, z."""
        ...


@dataclass(frozen=True)
class Section:
    """A plane window cut from a volume.

    Parameters
    ----------
    grains
        (ny, nx) int32 from 0 on, those in the window only.
    quaternions
        (g, 4) of them, in the frame of the window: x along a row, y down a column, z into the
        specimen.
    """

    grains: npt.NDArray[np.int32]
    quaternions: Floats


class Laguerre:
    """A Laguerre tessellation of spheres of lognormal radii, pushed apart before they grow.

    Parameters
    ----------
    edge
        Of the box.
    grain_size
        Diameter of the sphere of the mean grain's volume.
    size_spread
        Standard deviation of the logarithm of the diameters.
    stretch
        Lengths of a grain along x, y and z in units of its mean.
    """

    def __init__(
        self,
        edge: float,
        grain_size: float,
        texture: Texture,
        rng: np.random.Generator,
        *,
        size_spread: float = 0.35,
        stretch: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        if not 0 < grain_size <= edge:
            raise ArgumentError(
                f"grain_size: expected above 0 to {edge} (edge), found {grain_size}"
            )
        if size_spread < 0 or min(stretch) <= 0:
            raise ArgumentError(
                f"size_spread and stretch: expected at least 0 and above 0, "
                f"found {size_spread} and {stretch}"
            )
        count = max(1, round(edge**3 / (pi / 6 * grain_size**3)))
        self.edge = edge
        self.quaternions = texture.sample(count, rng)
        self._stretch = np.array(stretch) / np.prod(stretch) ** (1 / 3)
        self._box = edge / self._stretch  # in which the grains are not stretched
        radii = np.exp(size_spread * rng.standard_normal(count))
        radii *= (np.prod(self._box) / (4 / 3 * pi * np.sum(radii**3))) ** (1 / 3)
        self.radii = np.sort(radii)[::-1]
        self._seeds = _pushed_apart(rng.random((count, 3)) * self._box, self.radii, self._box)
        self._tree, self._grain = self._lifted()

    def grain_at(self, points: Floats) -> npt.NDArray[np.int32]:
        """(n,) grain at (n, 3) positions: that of the least |p − s|² − r²."""
        p = (np.asarray(points, np.float64) / self._stretch) % self._box
        return self._grain[self._tree.query(np.column_stack([p, np.zeros(len(p))]))[1]]

    def _lifted(self) -> tuple[Any, npt.NDArray[np.int32]]:
        """A tree whose nearest point is the seed of least power, and (m,) the seeds' grains.

        Seeds near a face of the box are repeated beyond the opposite one.
        """
        from scipy.spatial import cKDTree

        reach = min(0.5, 2.5 * float(self.radii[0] / self._box.min()))
        seeds, grain = self._seeds, np.arange(len(self._seeds), dtype=np.int32)
        for axis in range(3):
            step = np.zeros(3)
            step[axis] = self._box[axis]
            low = seeds[:, axis] < reach * self._box[axis]
            high = seeds[:, axis] > (1 - reach) * self._box[axis]
            seeds = np.concatenate([seeds, seeds[low] + step, seeds[high] - step])
            grain = np.concatenate([grain, grain[low], grain[high]])
        power = self.radii[grain] ** 2
        return cKDTree(np.column_stack([seeds, np.sqrt(power.max() - power)])), grain


def random_section(
    volume: Microstructure, shape: tuple[int, int], rng: np.random.Generator
) -> Section:
    """A window of ny by nx points, one length unit apart, in a plane of any place and direction."""
    from scipy.spatial.transform import Rotation

    ny, nx = shape
    to_box = uniform_quaternions(1, rng)  # turns the window's frame into the box's
    along_x, along_y = Rotation.from_quat(np.roll(to_box[0], -1)).as_matrix().T[:2]
    y, x = np.mgrid[:ny, :nx].reshape(2, -1, 1)
    points = rng.random(3) * volume.edge + x * along_x + y * along_y
    present, grains = np.unique(volume.grain_at(points), return_inverse=True)
    own = volume.quaternions[present]
    return Section(
        grains.reshape(shape).astype(np.int32), product(own, np.broadcast_to(to_box, own.shape))
    )


def _pushed_apart(seeds: Floats, radii: Floats, box: Floats) -> Floats:
    """(g, 3) positions of the spheres after those that overlap have moved from each other.

    The cells then have about the volumes of their spheres, which they would not at random places.
    """
    for number in range(PACKING_ROUNDS):
        if number % ROUNDS_PER_SEARCH == 0:
            seeds = seeds % box
            pairs = _near_pairs(seeds, radii, box)
        step, distance = _between(seeds, pairs, box)
        i, j = pairs.T
        overlap = np.clip(radii[i] + radii[j] - distance, 0, None)
        push = step * (overlap / np.maximum(distance, 1e-9))[:, None]
        share = (radii[j] ** 3 / (radii[i] ** 3 + radii[j] ** 3))[:, None]
        moves = np.stack(  # the lighter one of a pair moves further
            [
                np.bincount(i, 0.5 * (share * push)[:, axis], len(seeds))
                - np.bincount(j, 0.5 * ((1 - share) * push)[:, axis], len(seeds))
                for axis in range(3)
            ],
            axis=1,
        )
        length = np.linalg.norm(moves, axis=1, keepdims=True)
        seeds = seeds + moves * np.minimum(1, 0.5 * radii[:, None] / np.maximum(length, 1e-9))
    return seeds % box


def _near_pairs(seeds: Floats, radii: Floats, box: Floats) -> npt.NDArray[np.int64]:
    """(m, 2) spheres that overlap or could meet soon; radii fall, so the second is the smaller."""
    from scipy.spatial import cKDTree

    soon = float(np.median(radii))
    reach = np.minimum(2 * radii + soon, 0.49 * float(box.min()))
    found = cKDTree(seeds, boxsize=box).query_ball_point(seeds, reach)
    first = np.repeat(np.arange(len(seeds)), [len(near) for near in found])
    pairs = np.column_stack([first, np.concatenate(found).astype(np.int64)])
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    gap = _between(seeds, pairs, box)[1] - radii[pairs].sum(axis=1)
    return pairs[gap < soon]


def _between(seeds: Floats, pairs: npt.NDArray[np.int64], box: Floats) -> tuple[Floats, Floats]:
    """(m, 3) the shortest way from the second to the first of each pair, and its length."""
    step = seeds[pairs[:, 0]] - seeds[pairs[:, 1]]
    step -= box * np.round(step / box)
    return step, np.linalg.norm(step, axis=1)
