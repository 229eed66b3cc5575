"""Patterns of a layer at any positions of the scan, read on demand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid, linear_weights
from ebsdarchive.scan import Patterns, Scan, read_at
from ebsdarchive.verbs.exporting import select
from ebsdarchive.verbs.places import path_step_um

__all__ = [
    "INTERPOLATIONS",
    "Interpolated",
    "asked_layer",
    "field_at",
    "interpolation_of",
    "sampled",
    "scan_at",
]

INTERPOLATIONS = ("sharp", "linear", "field")
JOINT = "joint-inr"  # encoding of the neural layer that has no coefficients
LINEAR_BLOCK = 65536  # positions, whose weights are found at once


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


def interpolation_of(archive: Archive, layer: str, asked: str | None) -> str:
    """What lies between the points of a layer: sharp boundaries for a field of coefficients, linear
    mixes for others, unless something is asked for.

    Raises
    ------
    ArgumentError
        If what is asked for is not known, or is not for this layer.
    """
    if asked is not None and asked not in INTERPOLATIONS:
        raise ArgumentError(
            f"interpolation: expected {', '.join(INTERPOLATIONS[:-1])} or {INTERPOLATIONS[-1]}, "
            f"found {asked!r}"
        )
    sharp = layer == "neural" and archive.attributes(layer)["encoding-type"] != JOINT
    if sharp and asked in (None, "sharp"):
        return "sharp"
    if asked == "sharp":
        raise ArgumentError(
            f"interpolation: expected a neural layer with coefficients for sharp boundaries, found "
            f"{layer}; use linear"
        )
    return asked or "linear"


def sampled(
    archive: Archive,
    layer: str,
    xy: npt.NDArray[np.float64],
    interpolation: str,
    patterns: Patterns | None = None,
) -> Interpolated:
    """A layer's patterns at positions (m, 2) in steps, "sharp" or "linear" between its points.

    Parameters
    ----------
    patterns
        What stands for the layer's own patterns.
    """
    own: Any = archive.patterns(layer) if patterns is None else patterns
    mix: Mix = _LinearMix(archive.grid)
    if interpolation == "sharp":
        from ebsdarchive.neural.between import SharpMix

        mix = SharpMix(own.field)  # decoded once, for the patterns and their mixes
    return Interpolated(archive.grid, own, xy, mix)


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
    patterns = sampled(archive, layer, xy, interpolation_of(archive, layer, None))
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


class Mix(Protocol):
    """How patterns mix between the points of a scan."""

    @property
    def block_length(self) -> int:
        """Positions to ask for at once."""

    def weights(
        self, xy: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """(m, 2) positions in steps to (m, k) indices of points and their weights."""


@dataclass(frozen=True)
class _LinearMix:
    grid: Grid
    block_length: int = LINEAR_BLOCK

    def weights(
        self, xy: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        return linear_weights(self.grid, xy)


class Interpolated:
    """A layer's patterns: themselves at the measured points, and mixed between them.

    Parameters
    ----------
    grid, patterns
        Of the scan.
    xy
        (m, 2) positions in steps, all inside the scan.
    mix
        Of the patterns of points.
    """

    def __init__(
        self, grid: Grid, patterns: Patterns, xy: npt.NDArray[np.float64], mix: Mix
    ) -> None:
        nearest = grid.indices_of(xy)
        exact = np.abs(grid.positions_at(nearest) - xy).max(axis=1) < 1e-9
        self.patterns, self.mix = patterns, mix
        self.xy = np.clip(xy, 0.0, grid.extent)
        self.shape = (len(xy), *patterns.shape[1:])
        self.dtype = patterns.dtype if exact.all() else np.dtype(np.float32)
        self._points = nearest if exact.all() else None

    def read(self, start: int, stop: int) -> npt.NDArray:
        if self._points is not None:
            return read_at(self.patterns, self._points[start:stop])
        out = np.zeros((stop - start, *self.shape[1:]), np.float32)
        for first, indices, weights in self._weights(start, stop):
            self._add(out[first - start : first - start + len(indices)], indices, weights)
        return out

    def _add(
        self, out: npt.NDArray, indices: npt.NDArray[np.int64], weights: npt.NDArray[np.float64]
    ) -> None:
        used = np.unique(indices[weights != 0])
        found = read_at(self.patterns, used)
        place = np.minimum(np.searchsorted(used, indices), len(used) - 1)
        for corner in range(indices.shape[1]):
            part = np.flatnonzero(weights[:, corner])  # 0 times infinity is not 0
            weight = weights[part, corner, None, None].astype(np.float32)
            out[part] += weight * found[place[part, corner]]

    def uses(self, points: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """(m,) whether each position takes something of one of the given points (k,)."""
        if self._points is not None:
            return np.isin(self._points, points)
        used = [
            (np.isin(indices, points) & (weights != 0)).any(axis=1)
            for _, indices, weights in self._weights(0, len(self.xy))
        ]
        return np.concatenate(used)

    def _weights(
        self, start: int, stop: int
    ) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
        """First position, indices and weights of each block."""
        for first in range(start, stop, self.mix.block_length):
            block = self.xy[first : min(first + self.mix.block_length, stop)]
            yield first, *self.mix.weights(block)
