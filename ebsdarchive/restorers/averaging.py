"""``neighbour``: a mean with the points around, whatever they show.

kikuchipy's `EBSD.average_neighbour_patterns` with its circular window, but in counts: kikuchipy
stretches each mean over the range of its type afterwards. On hexagonal grids, which kikuchipy does
not know, the points within the same radius.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate
from scipy.spatial import KDTree

from ebsdarchive.errors import ArgumentError
from ebsdarchive.restorers.restorer import Estimate, Progress, Restorer, Surroundings, WholeScan

__all__ = ["NeighbourAverage"]

ROW_DISTANCE = sqrt(3) / 2  # of a hexagonal grid, in steps


@dataclass(frozen=True)
class NeighbourAverage:
    """The mean of a pattern and those in a circular window of `window` x `window` points; on a
    hexagonal grid, within half of that of it.

    At the edges of the scan it is that of the points there are.
    """

    window: int = 3

    name = "neighbour"
    version = "1"

    @property
    def config(self) -> Mapping[str, Any]:
        return {"window": self.window}

    @property
    def halo_rows(self) -> int:
        """The rows of a hexagonal grid are nearer to each other than its columns."""
        return int(self.window // 2 / ROW_DISTANCE)

    def prepare(self, whole: WholeScan, progress: Progress) -> Restorer:
        if self.window % 2 == 0:
            raise ArgumentError(
                f"neighbour: expected a window of an odd number of points, found {self.window}"
            )
        return self

    def restore(self, patterns: npt.NDArray[np.float32], surroundings: Surroundings) -> Estimate:
        if surroundings.grid.is_hexagonal:
            return Estimate(self._on_hexagons(patterns, surroundings))
        from kikuchipy.filters import Window

        window = np.asarray(Window("circular", (self.window, self.window)), np.float32)
        columns = surroundings.grid.n_columns
        raster = patterns.reshape(-1, columns, *patterns.shape[1:])
        total = correlate(raster, window[:, :, None, None], mode="constant")
        ones = np.ones(raster.shape[:2], np.float32)
        weight = correlate(ones, window, mode="constant")[:, :, None, None]
        return Estimate((total / weight).reshape(patterns.shape)[surroundings.own])

    def _on_hexagons(
        self, patterns: npt.NDArray[np.float32], surroundings: Surroundings
    ) -> npt.NDArray[np.float32]:
        first = surroundings.first
        places = surroundings.grid.positions_of(first, first + len(patterns)) * (1, ROW_DISTANCE)
        near = KDTree(places).query_ball_point(places[surroundings.own], self.window // 2 + 1e-6)
        return np.stack([patterns[some].mean(axis=0) for some in near])
