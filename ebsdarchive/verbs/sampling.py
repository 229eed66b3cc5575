"""Patterns of a layer at any positions of the scan, read on demand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid, linear_weights
from ebsdarchive.scan import Patterns, Scan, read_at
from ebsdarchive.verbs.exporting import select
from ebsdarchive.verbs.places import path_step_um

__all__ = ["INTERPOLATIONS", "Interpolated", "asked_layer", "field_at", "scan_at"]

INTERPOLATIONS = ("linear", "field")


def asked_layer(archive: Archive, layer: str | None) -> str:
    """The layer that answers for positions: the neural one, if there is one, unless another is
    named.

    Raises
    ------
    MissingLayerError
        If the archive does not hold the layer that is named.
    """
    name = layer or ("neural" if "neural" in archive.layers else archive.pattern_layers[0])
    if name not in archive.pattern_layers:
        archive.patterns(name)  # says what is wrong with it
    return name


def field_at(archive: Archive, layer: str, xy: npt.NDArray[np.float64]) -> Patterns:
    """What the network of the neural layer gives at positions (m, 2) in steps.

    Raises
    ------
    ArgumentError
        If the layer is another one.
    """
    if layer != "neural":
        raise ArgumentError(
            f"interpolation: expected the neural layer for values of the field, found {layer}; "
            f"use linear"
        )
    from ebsdarchive.neural.storage import read_field

    return _FieldAt(read_field(archive.path), xy, archive.pattern_shape)


def scan_at(archive: Archive, layer: str, xy: npt.NDArray[np.float64]) -> Scan:
    """The scan with a layer's patterns at positions (n, 2) of a path; without its orientations.

    Projection centres are those of the nearest measured points.
    """
    grid = Grid("square", len(xy), 1, path_step_um(xy, archive.grid))
    patterns = Interpolated(archive.grid, archive.patterns(layer), xy)
    scan = select(archive.scan(layer), patterns, grid, archive.grid.indices_of(xy))
    return replace(scan, orientations=None)


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
            self.indices, self.weights = linear_weights(grid, xy)

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
