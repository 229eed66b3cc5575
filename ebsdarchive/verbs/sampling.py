"""Patterns of a layer at any positions of the scan, read on demand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Patterns, read_at

__all__ = ["INTERPOLATIONS", "Interpolated", "field_at"]

INTERPOLATIONS = ("linear", "field")


def field_at(archive: Archive, layer: str, xy: npt.NDArray[np.float64]) -> Patterns:
    """What the network of the neural layer gives at positions (m, 2) in steps.

    Raises
    ------
    ArgumentError
        If the layer is another one.
    """
    archive.attributes(layer)  # names the layers that there are where this one is missing
    if layer != "neural":
        raise ArgumentError(
            f"interpolation: expected the neural layer for values of the field, found {layer}; "
            f"use linear"
        )
    from ebsdarchive.neural.storage import read_field

    return _FieldAt(read_field(archive.path), xy, archive.pattern_shape)


class _FieldAt:
    """A neural field at positions."""

    def __init__(self, field: Any, xy: npt.NDArray[np.float64], shape: tuple[int, int]) -> None:
        self.field, self.xy = field, xy
        self.shape = (len(xy), *shape)
        self.dtype = np.dtype(np.float32)

    def read(self, start: int, stop: int) -> npt.NDArray:
        return self.field.patterns(self.xy[start:stop])


class Interpolated:
    """A layer's patterns: themselves at the measured points, and linear between them.

    Parameters
    ----------
    grid, patterns
        Of the scan.
    xy
        (m, 2) positions in steps, all inside the scan.
    """

    def __init__(self, grid: Grid, patterns: Patterns, xy: npt.NDArray[np.float64]) -> None:
        nearest = grid.indices_of(xy)
        exact = np.abs(grid.positions_at(nearest) - xy).max(axis=1) < 1e-9
        self.patterns = patterns
        self.shape = (len(xy), *patterns.shape[1:])
        self.dtype = patterns.dtype if exact.all() else np.dtype(np.float32)
        if exact.all():
            self.indices, self.weights = nearest[:, None], np.ones((len(xy), 1))
        else:
            self.indices, self.weights = _corners(grid, np.clip(xy, 0.0, grid.extent))

    def read(self, start: int, stop: int) -> npt.NDArray:
        indices, weights = self.indices[start:stop], self.weights[start:stop]
        if indices.shape[1] == 1:
            return read_at(self.patterns, indices[:, 0])
        used = np.unique(indices[weights > 0])
        found = read_at(self.patterns, used)
        place = np.minimum(np.searchsorted(used, indices), len(used) - 1)
        out = np.zeros((len(indices), *self.shape[1:]), np.float32)
        for corner in range(4):
            part = np.flatnonzero(weights[:, corner] > 0)  # 0 times infinity is not 0
            weight = weights[part, corner, None, None].astype(np.float32)
            out[part] += weight * found[place[part, corner]]
        return out

    def uses(self, points: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """(m,) whether each position takes something of one of the given points (k,)."""
        used = np.isin(self.indices, points) & (self.weights > 0)
        return np.asarray(used.any(axis=1))


def _corners(
    grid: Grid, xy: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Indices (m, 4) of the points around each position (m, 2), and their weights (m, 4): linear
    along the row above and along the row below, where an end is continued, and between them."""
    starts = grid.row_starts
    upper = np.minimum(xy[:, 1].astype(np.int64), max(grid.n_rows - 2, 0))
    down = xy[:, 1] - upper
    indices, weights = [], []
    for row, share in ((upper, 1 - down), (np.minimum(upper + 1, grid.n_rows - 1), down)):
        last = starts[row + 1] - starts[row] - 1
        x = np.clip(xy[:, 0] - (0.5 * (row % 2) if grid.is_hexagonal else 0.0), 0.0, last)
        column = np.minimum(x.astype(np.int64), np.maximum(last - 1, 0))
        right = x - column
        indices += [starts[row] + column, starts[row] + np.minimum(column + 1, last)]
        weights += [share * (1 - right), share * right]
    return np.stack(indices, axis=1), np.stack(weights, axis=1)
