"""Patterns of a layer at any positions: at measured points its own, between them interpolated."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.errors import ArgumentError, GeometryError
from ebsdarchive.geometry import Grid, linear_weights
from ebsdarchive.scan import Patterns, Scan
from ebsdarchive.verbs.exporting import select

__all__ = ["asked_layer", "path_step_um", "patterns_at", "scan_at", "steps_per_unit"]


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


def steps_per_unit(archive: Archive, unit: str) -> npt.NDArray[np.float64]:
    """(2,) factor from `unit`, "step" or "um", to steps along x and y.

    Raises
    ------
    GeometryError
        If `unit` is um and the step is not known.
    """
    if unit == "step":
        return np.ones(2)
    if unit != "um":
        raise ArgumentError(f"unit: expected step or um, found {unit!r}")
    steps = (archive.grid.step_x_um, archive.grid.step_y_um)
    if None in steps:
        raise GeometryError(
            f"{archive.path}: expected a known step for positions in um, found none in the source; "
            f"give positions in steps"
        )
    return 1.0 / np.array(steps, dtype=np.float64)


def path_step_um(xy: npt.NDArray, step_um: tuple[float | None, float | None]) -> float | None:
    """Distance in µm between the first two positions of a path; None where it is not known."""
    if None in step_um or len(xy) < 2:
        return None
    return float(np.hypot(*((xy[1] - xy[0]) * np.array(step_um, np.float64)))) or None


def patterns_at(
    archive: Archive,
    layer: str,
    xy: npt.NDArray[np.float64],
    interpolation: Literal["linear", "field"] = "linear",
) -> Patterns:
    """Patterns of a layer at positions (m, 2) in steps, read on demand.

    Parameters
    ----------
    interpolation
        Between measured points: "linear", the bilinear mix of the layer's patterns at the four
        points around, or "field", what the neural layer's network itself gives there.
    """
    if interpolation not in ("linear", "field"):
        raise ArgumentError(f"interpolation: expected linear or field, found {interpolation!r}")
    if interpolation == "linear":
        return _Interpolated(archive.grid, archive.patterns(layer), xy)
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
    step_um = path_step_um(xy, (archive.grid.step_x_um, archive.grid.step_y_um))
    grid = Grid("square", len(xy), 1, step_um)
    patterns = patterns_at(archive, layer, xy)
    scan = select(archive.scan(layer), patterns, grid, archive.grid.indices_of(xy))
    return dataclasses.replace(scan, orientations=None)


class _FieldAt:
    """A neural field at positions."""

    def __init__(self, field: Any, xy: npt.NDArray[np.float64], shape: tuple[int, int]) -> None:
        self.field, self.xy = field, xy
        self.shape = (len(xy), *shape)
        self.dtype = np.dtype(np.float32)

    def read(self, start: int, stop: int) -> npt.NDArray:
        return self.field.patterns(self.xy[start:stop])


class _Interpolated:
    """A layer's patterns: themselves at the measured points, and linear between them."""

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
        used = np.unique(indices[weights > 0])
        runs = np.split(used, np.flatnonzero(np.diff(used) != 1) + 1)
        found = np.concatenate([self.patterns.read(run[0], run[-1] + 1) for run in runs])
        place = np.minimum(np.searchsorted(used, indices), len(used) - 1)
        if indices.shape[1] == 1:
            return found[place[:, 0]]
        out = np.zeros((len(indices), *self.shape[1:]), np.float32)
        for corner in range(4):
            part = np.flatnonzero(weights[:, corner] > 0)  # 0 times infinity is not 0
            weight = weights[part, corner, None, None].astype(np.float32)
            out[part] += weight * found[place[part, corner]]
        return out
