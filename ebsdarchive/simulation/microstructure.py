"""Grains: a Laguerre tessellation of the scan with known orientations and boundaries.

All lengths are in steps along x. Knows nothing about patterns.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, radians, sqrt

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid
from ebsdarchive.simulation.rotations import from_vectors, product, uniform_quaternions
from ebsdarchive.simulation.substructure import Cells, Twins

__all__ = ["Microstructure", "Tessellation", "own_weight", "polycrystal"]

NEIGHBOURS = 6
POINTS_AT_ONCE = 1 << 17
NEGLIGIBLE = 1e-3


@dataclass(frozen=True)
class Microstructure:
    """What is true at each of the n points of a simulated scan.

    Parameters
    ----------
    quaternions
        (n, 4) orientation at the point, sample to crystal, scalar first.
    grain_id
        (n,) int32, from 0.
    cell_id
        (n,) int32 dislocation cell, unique within a grain; 0 where there are none.
    is_twin
        (n,) bool, inside a twin lamella of the grain.
    boundary_distance
        (n,) float32 distance to the nearest boundary of a grain or twin in steps; infinite where
        there is none.
    mixed_points
        (m,) ascending indices of the points whose pattern holds a share of a second grain, or
        of what is behind a twin boundary.
    mixed_weights
        (m,) float32 share of the point's own orientation, 0.5 … 1.
    mixed_quaternions
        (m, 4) second orientation, continued to the point.
    tessellation
        The grains, without twins, at any position.
    """

    quaternions: npt.NDArray[np.float64]
    grain_id: npt.NDArray[np.int32]
    cell_id: npt.NDArray[np.int32]
    is_twin: npt.NDArray[np.bool_]
    boundary_distance: npt.NDArray[np.float32]
    mixed_points: npt.NDArray[np.int64]
    mixed_weights: npt.NDArray[np.float32]
    mixed_quaternions: npt.NDArray[np.float64]
    tessellation: Tessellation


def polycrystal(
    grid: Grid,
    grains: int,
    seed: int,
    gradient_deg: float = 1.0,
    mixing_width: float = 0.4,
    *,
    cell_size: float | None = None,
    cell_spread_deg: float = 1.0,
    twin_fraction: float = 0.0,
) -> Microstructure:
    """Fill a grid with randomly oriented grains.

    Cells and twins have random numbers of their own: with the same seed the grains stay the same.

    Parameters
    ----------
    grains
        Number of grains, each with one point at least.
    gradient_deg
        Spread of the orientations in a grain: each point lies within half of it of the grain's
        mean orientation, not counting cells and twins.
    mixing_width
        Standard deviation of the interaction volume in steps, see `own_weight`. Walls of cells are
        not mixed.
    cell_size, cell_spread_deg
        Mean size in steps of dislocation cells and mean disorientation between neighbouring ones;
        None for `cell_size` leaves them out. See `Cells`.
    twin_fraction
        Share of the grains with one or two twin lamellae; for cubic crystals. See `Twins`.

    Raises
    ------
    ArgumentError
        If there are more grains than points, or a number is out of its range.
    """
    _require_sensible(
        grains, grid.size, seed, twin_fraction, cell_size,
        gradient_deg=gradient_deg, mixing_width=mixing_width, cell_spread_deg=cell_spread_deg,
    )  # fmt: skip
    rng = np.random.default_rng([seed, 0])
    points = grid.positions() * (1.0, grid.row_distance)  # both in steps along x
    seeds = points[rng.choice(grid.size, grains, replace=False)]
    tessellation = Tessellation.random(seeds, rng)
    grain_id, neighbour, distance = tessellation.at(points)
    field = _RotationField(points, seeds, grain_id, radians(gradient_deg / 2), rng)
    mean = uniform_quaternions(grains, rng)
    cells = twins = None
    cell_id, is_twin = np.zeros(grid.size, np.int32), np.zeros(grid.size, bool)
    if cell_size is not None:
        cells_rng = np.random.default_rng([seed, 3])
        cells = Cells(points, grains, cell_size, cell_spread_deg, cells_rng)
        cell_id = cells.cell_id(points, grain_id)
    beside_twin = is_twin
    if twin_fraction > 0:
        twins_rng = np.random.default_rng([seed, 4])
        twins = Twins(points, grain_id, mean, twin_fraction, twins_rng)
        depth = twins.depth(points, grain_id)
        is_twin, beside_twin = depth > 0, np.abs(depth) < distance
        neighbour = np.where(beside_twin, grain_id, neighbour)
        distance = np.minimum(distance, np.abs(depth))

    def orientations(
        at: npt.NDArray[np.float64], grain: npt.NDArray[np.int32], across_twin: npt.NDArray
    ) -> npt.NDArray[np.float64]:
        """(k, 4) what the grains have at the positions, or behind their twin boundary there."""
        quaternions = product(field.at(at, grain), mean[grain])
        if cells is not None:
            quaternions = cells.turn(quaternions, at, grain)
        if twins is not None:
            quaternions = twins.turn(quaternions, grain, (twins.depth(at, grain) > 0) ^ across_twin)
        return quaternions

    weight = own_weight(distance, mixing_width)
    mixed = np.flatnonzero(weight < 1 - NEGLIGIBLE)
    return Microstructure(
        quaternions=orientations(points, grain_id, np.zeros_like(is_twin)),
        grain_id=grain_id,
        cell_id=cell_id,
        is_twin=is_twin,
        boundary_distance=distance.astype(np.float32),
        mixed_points=mixed,
        mixed_weights=weight[mixed].astype(np.float32),
        mixed_quaternions=orientations(points[mixed], neighbour[mixed], beside_twin[mixed]),
        tessellation=tessellation,
    )


def own_weight(distance: npt.ArrayLike, width: float) -> npt.NDArray[np.float64]:
    """Share of its own grain in the pattern of a point at `distance` from a straight boundary.

    The interaction volume is a Gaussian of standard deviation `width`: 1/2 at the boundary, 0.84
    one width away from it.
    """
    from scipy.special import ndtr

    distance = np.asarray(distance, dtype=np.float64)
    return ndtr(distance / width) if width > 0 else np.ones_like(distance)


def _require_sensible(
    grains: int, n: int, seed: int, twin_fraction: float, cell_size: float | None, **lengths: float
) -> None:
    if not 1 <= grains <= n:
        raise ArgumentError(f"grains: expected 1 to {n} (points), found {grains}")
    for name, value in lengths.items():
        if not 0 <= value < np.inf:
            raise ArgumentError(f"{name}: expected a number of at least 0, found {value}")
    if cell_size is not None and not 1 <= cell_size < np.inf:
        raise ArgumentError(f"cell_size: expected a number of at least 1, found {cell_size}")
    if not 0 <= twin_fraction <= 1:
        raise ArgumentError(f"twin_fraction: expected a number from 0 to 1, found {twin_fraction}")
    if seed < 0:
        raise ArgumentError(f"seed: expected an integer of at least 0, found {seed}")


@dataclass(frozen=True)
class Tessellation:
    """Laguerre cells: a cell holds the points whose power |p - s|² - w is smallest for its seed s.

    Parameters
    ----------
    seeds
        (g, 2) positions, both axes in steps along x.
    weights
        (g,) w.
    """

    seeds: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]

    @classmethod
    def random(cls, seeds: npt.NDArray[np.float64], rng: np.random.Generator) -> Tessellation:
        """Cells of different sizes around the seeds, each of which lies in its own cell."""
        from scipy.spatial import cKDTree

        if len(seeds) == 1:
            return cls(seeds, np.zeros(1))
        to_next = cKDTree(seeds).query(seeds, k=2)[0][:, 1]
        # no weight exceeds the square of the distance to the next seed
        return cls(seeds, (0.9 * rng.random(len(seeds)) * to_next) ** 2)

    def at(
        self, points: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """(n, 2) points, both axes in steps along x, to cell, cell beyond, and distance.

        Each (n,): the cell of the point, the one behind its nearest boundary, and the distance to
        that; infinite where there is one cell only.
        """
        from scipy.spatial import cKDTree

        n_seeds = len(self.seeds)
        if n_seeds == 1:
            none = np.zeros(len(points), np.int32)
            return none, none, np.full(len(points), np.inf)
        # with sqrt(w_max - w) as a third coordinate, the least power is that of the nearest seed
        tree = cKDTree(np.column_stack([self.seeds, np.sqrt(self.weights.max() - self.weights)]))
        cell = np.empty(len(points), np.int32)
        neighbour = np.empty(len(points), np.int32)
        distance = np.empty(len(points))
        for start in range(0, len(points), POINTS_AT_ONCE):
            part = slice(start, start + POINTS_AT_ONCE)
            flat = np.column_stack([points[part], np.zeros(len(points[part]))])
            far, near = tree.query(flat, k=min(n_seeds, NEIGHBOURS))
            between = np.linalg.norm(self.seeds[near[:, 1:]] - self.seeds[near[:, :1]], axis=2)
            to_boundary = (far[:, 1:] ** 2 - far[:, :1] ** 2) / (2 * between)
            closest = to_boundary.argmin(axis=1)[:, None]
            cell[part] = near[:, 0]
            neighbour[part] = np.take_along_axis(near[:, 1:], closest, axis=1)[:, 0]
            distance[part] = np.take_along_axis(to_boundary, closest, axis=1)[:, 0]
        return cell, neighbour, distance


class _RotationField:
    """A smooth small rotation in each grain: linear in one direction plus one slow wave.

    Centred and scaled so that its mean over the grain's points is zero and its largest angle is
    `largest` (rad).
    """

    def __init__(
        self,
        points: npt.NDArray[np.float64],
        seeds: npt.NDArray[np.float64],
        grain_id: npt.NDArray[np.int32],
        largest: float,
        rng: np.random.Generator,
    ) -> None:
        n_grains = len(seeds)
        self._seeds = seeds
        self._radius = sqrt(len(points) / (pi * n_grains))
        angle = rng.uniform(0, 2 * pi, (2, n_grains, 1))
        self._along, self._wave = np.concatenate([np.cos(angle), np.sin(angle)], axis=2)
        self._wave *= rng.uniform(0.5, 1.0, (n_grains, 1)) * pi
        self._phase = rng.uniform(0, 2 * pi, n_grains)
        axes = rng.standard_normal((2, n_grains, 3))
        self._linear_axis, wave_axis = axes / np.linalg.norm(axes, axis=2, keepdims=True)
        self._wave_axis = 0.4 * wave_axis
        self._centre = np.zeros((n_grains, 3))
        self._scale = np.ones((n_grains, 1))
        vectors = self._vectors(points, grain_id)
        count = np.bincount(grain_id, minlength=n_grains)
        for axis in range(3):
            total = np.bincount(grain_id, vectors[:, axis], minlength=n_grains)
            self._centre[:, axis] = total / count
        span = np.zeros(n_grains)
        np.maximum.at(span, grain_id, np.linalg.norm(vectors - self._centre[grain_id], axis=1))
        self._scale[:, 0] = largest / np.where(span > 0, span, np.inf)

    def at(
        self, points: npt.NDArray[np.float64], grain_id: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float64]:
        """(n, 4) unit quaternions of the rotation that the grains have at the points."""
        return from_vectors(self._vectors(points, grain_id))

    def _vectors(
        self, points: npt.NDArray[np.float64], grain_id: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float64]:
        """(n, 3) rotation vectors, axis times angle."""
        r = (points - self._seeds[grain_id]) / self._radius
        linear = (self._along[grain_id] * r).sum(axis=1, keepdims=True)
        wave = np.sin((self._wave[grain_id] * r).sum(axis=1) + self._phase[grain_id])[:, None]
        vectors = linear * self._linear_axis[grain_id] + wave * self._wave_axis[grain_id]
        return (vectors - self._centre[grain_id]) * self._scale[grain_id]
