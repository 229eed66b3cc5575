"""A path over the specimen: positions along it, and the measured points beside it.

Lengths are in steps along x, which makes paths that turn right on grids of any row distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid, path_positions

__all__ = ["ScanPath"]


@dataclass(frozen=True)
class ScanPath:
    """A polyline over a scan.

    Parameters
    ----------
    grid
        Of the scan.
    vertices
        (m, 2) positions (x, y) in steps.
    """

    grid: Grid
    vertices: npt.NDArray[np.float64]

    @property
    def _aspect(self) -> npt.NDArray[np.float64]:
        return np.array([1.0, self.grid.row_distance])

    @property
    def corners(self) -> npt.NDArray[np.float64]:
        """(m,) distance of each vertex from the first, along the path."""
        legs = np.hypot(*np.diff(self.vertices * self._aspect, axis=0).T)
        return np.concatenate([[0.0], np.cumsum(legs)])

    @property
    def length(self) -> float:
        """From the first vertex to the last."""
        return float(self.corners[-1])

    def positions(
        self, samples: int | None = None, spacing: float | None = None
    ) -> npt.NDArray[np.float64]:
        """(samples, 2) positions in steps, equidistant on the specimen; see `path_positions`.

        Raises
        ------
        ArgumentError
            If the path has no length, or the number of positions makes no sense.
        GeometryError
            If one of them is outside the scan.
        """
        xy = path_positions(self.vertices * self._aspect, samples, spacing) / self._aspect
        self.grid.require_inside(xy)
        return xy

    def at(self, distance: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(k,) distances from the first vertex to (k, 2) positions in steps."""
        at, corners = np.asarray(distance, np.float64), self.corners
        x, y = (np.interp(at, corners, self.vertices[:, axis]) for axis in (0, 1))
        return np.column_stack([x, y])

    def measured_points(
        self, within: float
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The scan's points beside the path, in order: where along it, and how far from it.

        Parameters
        ----------
        within
            Largest distance from the path.

        Returns
        -------
        (k,) distance along the path of the nearest place on it; (k,) distance from it, positive on
        the right of who walks along it (y points downwards).
        """
        points = self.grid.positions() * self._aspect
        ends = self.vertices * self._aspect
        points = points[
            (points >= ends.min(axis=0) - within).all(axis=1)
            & (points <= ends.max(axis=0) + within).all(axis=1)
        ]
        along, aside = np.zeros(len(points)), np.full(len(points), np.inf)
        for start, first, last in zip(self.corners, ends[:-1], ends[1:], strict=False):
            leg = last - first
            length = float(np.hypot(*leg))
            if length == 0:
                continue
            way = leg / length
            to = points - first
            on = np.clip(to @ way, 0.0, length)
            away = np.hypot(*(to - on[:, None] * way).T)
            side = np.where(way[0] * to[:, 1] - way[1] * to[:, 0] < 0, -1.0, 1.0)
            nearer = away < np.abs(aside)
            along[nearer], aside[nearer] = start + on[nearer], (side * away)[nearer]
        kept = np.flatnonzero(np.abs(aside) <= within)
        kept = kept[np.argsort(along[kept], kind="stable")]
        return along[kept], aside[kept]
