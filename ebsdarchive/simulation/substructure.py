"""What is inside a grain: dislocation cells of deformed metals, and annealing twins.

Lengths are in steps along x, positions (x, y). Both classes know, at any point, what any grain has
there or would have if it went on to it. Knows nothing about the grains' shapes and patterns.
"""

from __future__ import annotations

from math import pi, radians, sqrt

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.scan import Phase
from ebsdarchive.simulation.rotations import from_vectors, product

__all__ = ["Cells", "Twins", "require_cubic"]

CUBIC_GROUPS = ("23", "m-3", "432", "-43m", "m-3m")
FIRST_CUBIC = 195  # space group P23; all cubic ones follow
TWIN_ANGLE = radians(60.0)
TWIN_AXES = np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / sqrt(3)
ONE_LAMELLA = ((0.3, 0.7), (0.12, 0.35))  # centre and width, in parts of the grain's extent
TWO_LAMELLAE = (((0.2, 0.35), (0.06, 0.2)), ((0.65, 0.8), (0.06, 0.2)))


class Cells:
    """A Voronoi tessellation of cells of even orientation; a wall between two is sharp.

    There is one endless tapestry of cells, with a seed at random in each square of `cell_size`, and
    each grain shows another part of it.

    Parameters
    ----------
    points
        (n, 2) positions of the scan, which the tapestry must not be smaller than.
    n_grains
        Number of grains.
    cell_size
        Mean distance between seeds.
    spread_deg
        Mean disorientation between neighbouring cells.
    """

    def __init__(
        self,
        points: npt.NDArray[np.float64],
        n_grains: int,
        cell_size: float,
        spread_deg: float,
        rng: np.random.Generator,
    ) -> None:
        from scipy.spatial import cKDTree

        across, down = np.ceil(np.ptp(points, axis=0) / cell_size).astype(int) + 1
        corners = np.stack(np.meshgrid(np.arange(across), np.arange(down)), axis=-1).reshape(-1, 2)
        seeds = (corners + rng.random(corners.shape)) * cell_size
        self._box = np.array([across, down]) * cell_size
        self._tree = cKDTree(np.minimum(seeds, np.nextafter(self._box, 0)), boxsize=self._box)
        self._shift = rng.random((n_grains, 2)) * self._box
        # two normal vectors of deviation s per axis differ by 4 s / sqrt(pi) on average
        deviation = radians(spread_deg) * sqrt(pi) / 4
        self._rotations = from_vectors(deviation * rng.standard_normal((len(seeds), 3)))

    def cell_id(
        self, points: npt.NDArray[np.float64], grain_id: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int32]:
        """(n,) cell that the grains have at the points; the cells of each grain are its own."""
        places = (points + self._shift[grain_id]) % self._box
        nearest: npt.NDArray[np.int32] = self._tree.query(places)[1].astype(np.int32)
        return nearest

    def turn(
        self,
        quaternions: npt.NDArray[np.float64],
        points: npt.NDArray[np.float64],
        grain_id: npt.NDArray[np.int32],
    ) -> npt.NDArray[np.float64]:
        """(n, 4) orientations of the grains at the points, turned by their cells' rotations."""
        return product(self._rotations[self.cell_id(points, grain_id)], quaternions)


class Twins:
    """One or two parallel lamellae in some grains, turned by 60 degrees about <111> (Sigma 3).

    Their boundaries are coherent: traces, on the surface, of the {111} plane that is normal to the
    axis. The sample frame is EDAX TSL's, whose TD and RD are the scan's x and y.

    Parameters
    ----------
    points, grain_id
        (n, 2) positions of the scan and (n,) their grains.
    mean
        (n_grains, 4) mean orientations, sample to crystal.
    fraction
        Share of the grains that have twins.
    """

    def __init__(
        self,
        points: npt.NDArray[np.float64],
        grain_id: npt.NDArray[np.int32],
        mean: npt.NDArray[np.float64],
        fraction: float,
        rng: np.random.Generator,
    ) -> None:
        n_grains = len(mean)
        axes = TWIN_AXES[rng.integers(len(TWIN_AXES), size=n_grains)]
        self._rotations = from_vectors(TWIN_ANGLE * axes)
        normal = _to_sample(mean, axes)
        angle = np.arctan2(normal[:, 0], normal[:, 1])
        self._across = np.column_stack([np.cos(angle), np.sin(angle)])
        along = self._along(points, grain_id)
        low, high = np.full(n_grains, np.inf), np.full(n_grains, -np.inf)
        np.minimum.at(low, grain_id, along)
        np.maximum.at(high, grain_id, along)
        low, extent = low - 0.5, high - low + 1
        # a grain without lamellae has two of them at infinity
        self._centre = np.full((n_grains, 2), np.inf)
        self._half_width = np.zeros((n_grains, 2))
        for grain in rng.permutation(n_grains)[: round(fraction * n_grains)]:
            lamellae = (ONE_LAMELLA,) if rng.random() < 0.5 else TWO_LAMELLAE
            for k, (centre, width) in enumerate(lamellae):
                self._centre[grain, k] = low[grain] + rng.uniform(*centre) * extent[grain]
                self._half_width[grain, k] = rng.uniform(*width) * extent[grain] / 2

    def depth(
        self, points: npt.NDArray[np.float64], grain_id: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float64]:
        """(n,) distance to the grain's nearest twin boundary: positive inside a twin, else
        negative, infinite where the grain has none.
        """
        off = np.abs(self._along(points, grain_id)[:, None] - self._centre[grain_id])
        depth: npt.NDArray[np.float64] = (self._half_width[grain_id] - off).max(axis=1)
        return depth

    def turn(
        self,
        quaternions: npt.NDArray[np.float64],
        grain_id: npt.NDArray[np.int32],
        is_twin: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.float64]:
        """(n, 4) orientations of the grains, those of their twins where `is_twin`."""
        out = quaternions.copy()
        out[is_twin] = product(self._rotations[grain_id[is_twin]], quaternions[is_twin])
        return out

    def _along(
        self, points: npt.NDArray[np.float64], grain_id: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float64]:
        """(n,) position of the points along the normal of the grain's twin boundaries."""
        along: npt.NDArray[np.float64] = (points * self._across[grain_id]).sum(axis=1)
        return along


def require_cubic(phase: Phase) -> None:
    """Raise ArgumentError if `phase` is not cubic, or is not known to be: `Twins` are for such."""
    if phase.point_group not in CUBIC_GROUPS and (phase.space_group or 0) < FIRST_CUBIC:
        found = f"{phase.name}, point group {phase.point_group or 'unknown'}"
        raise ArgumentError(
            f"twin_fraction: expected a cubic phase, found {found}; twins of others are not known"
        )


def _to_sample(
    quaternions: npt.NDArray[np.float64], vectors: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(n, 3) vectors of the crystal in the sample frame; `quaternions` go the other way."""
    conjugate = quaternions * [1, -1, -1, -1]
    pure = np.column_stack([np.zeros(len(vectors)), vectors])
    return product(product(conjugate, pure), quaternions)[:, 1:]
