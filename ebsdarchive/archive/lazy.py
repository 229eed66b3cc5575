"""Patterns of a layer as an array that is read when it is indexed: for xarray, dask, kikuchipy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Patterns

__all__ = ["LazyPatterns"]


class LazyPatterns:
    """Patterns as (n_rows, n_columns, sy, sx), or (n, sy, sx) on a hexagonal grid.

    It takes whole numbers and slices, and can be pickled if `patterns` can.
    """

    def __init__(self, patterns: Patterns, grid: Grid) -> None:
        self.patterns = patterns
        self.dtype = np.dtype(patterns.dtype)
        points = (grid.size,) if grid.is_hexagonal else (grid.n_rows, grid.n_columns)
        self.shape: tuple[int, ...] = (*points, *patterns.shape[1:])
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[int | slice, ...]) -> npt.NDArray:
        key = key if isinstance(key, tuple) else (key,)
        axes = self.ndim - 2
        numbers = np.arange(self.patterns.shape[0]).reshape(self.shape[:axes])
        points = numbers[key[:axes]]
        flat = np.ravel(points)
        out = np.empty((flat.size, *self.shape[axes:]), self.dtype)
        start = 0
        for run in np.split(flat, np.flatnonzero(np.diff(flat) != 1) + 1):
            if run.size:
                out[start : start + run.size] = self.patterns.read(int(run[0]), int(run[-1]) + 1)
                start += run.size
        return out.reshape(*points.shape, *self.shape[axes:])[(..., *key[axes:])]
