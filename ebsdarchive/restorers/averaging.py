"""``neighbour``: a mean with the points around, whatever they show.

kikuchipy's `EBSD.average_neighbour_patterns` with its circular window, but in counts: kikuchipy
stretches each mean over the range of its type afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate

from ebsdarchive.errors import ArgumentError
from ebsdarchive.restorers.restorer import Estimate, Progress, Restorer, Surroundings, WholeScan

__all__ = ["NeighbourAverage"]


@dataclass(frozen=True)
class NeighbourAverage:
    """The mean of a pattern and those in a circular window of `window` x `window` points.

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
        return self.window // 2

    def prepare(self, whole: WholeScan, progress: Progress) -> Restorer:
        if whole.grid.is_hexagonal:
            raise ArgumentError(
                "neighbour: expected a square grid, found a hexagonal one; choose klt or field, or "
                "regrid the scan with `ebsdarchive query --regrid square`"
            )
        if self.window % 2 == 0:
            raise ArgumentError(
                f"neighbour: expected a window of an odd number of points, found {self.window}"
            )
        return self

    def restore(self, patterns: npt.NDArray[np.float32], surroundings: Surroundings) -> Estimate:
        from kikuchipy.filters import Window

        window = np.asarray(Window("circular", (self.window, self.window)), np.float32)
        columns = surroundings.grid.n_columns
        raster = patterns.reshape(-1, columns, *patterns.shape[1:])
        total = correlate(raster, window[:, :, None, None], mode="constant")
        ones = np.ones(raster.shape[:2], np.float32)
        weight = correlate(ones, window, mode="constant")[:, :, None, None]
        return Estimate((total / weight).reshape(patterns.shape)[surroundings.own])
