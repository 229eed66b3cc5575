"""Layers of orientations, measured or estimated, in one form: a grid and what is at its points."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from ebsdarchive.archive.description import read_grid
from ebsdarchive.archive.fused_maps import fused_map_names, read_fused_map
from ebsdarchive.archive.naming import chosen_layer
from ebsdarchive.archive.orientation_maps import orientation_map_names, read_orientation_map
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Orientations, Phase

__all__ = ["OrientedLayer", "is_oriented_layer", "read_oriented_layer"]


@dataclass(frozen=True)
class OrientedLayer:
    """A layer of orientations.

    Parameters
    ----------
    name
        With ``maps/``.
    grid
        Of its points: the scan's, or the finer raster of an estimate.
    orientations
        With the properties "confidence" and "fit" in degrees. Of an estimate these are 1 where an
        orientation was measured, else 0, and the samples' spread.
    estimate
        Whether it is one.
    """

    name: str
    grid: Grid
    orientations: Orientations
    phases: tuple[Phase, ...]
    estimate: bool


def is_oriented_layer(archive: h5py.Group, name: str) -> bool:
    """Whether ``maps/NAME`` holds orientations."""
    known = orientation_map_names(archive) + fused_map_names(archive)
    return name in (f"maps/{each}" for each in known)


def read_oriented_layer(archive: h5py.Group, name: str | None = None) -> OrientedLayer:
    """Orientations by the name of their layer; by default those of the only indexing.

    Errors are those of `read_orientation_map` and `read_fused_map`.
    """
    indexed = orientation_map_names(archive)
    layer = chosen_layer(
        archive,
        "maps",
        indexed if name is None else indexed + fused_map_names(archive),
        name,
        kind="an orientation map",
        short="a map",
        none="expected an orientation map, found none; make one with `ebsdarchive index`",
    )
    grid = read_grid(archive)
    if layer.removeprefix("maps/") in indexed:
        found = read_orientation_map(archive, layer)
        return OrientedLayer(layer, grid, found.orientations, found.phases, False)
    fused = read_fused_map(archive, layer)
    rows, columns = fused.measured.shape
    finer = fused.samples_per_step
    step_x, step_y = (s and s / finer for s in (grid.step_x_um, grid.step_y_um))
    orientations = Orientations(
        fused.quaternions.reshape(-1, 4),
        np.full(rows * columns, fused.phase.phase_id, np.int32),
        {"confidence": fused.measured.ravel().astype(float), "fit": fused.spread_deg.ravel()},
    )
    raster = Grid("square", columns, rows, step_x, step_y)
    return OrientedLayer(layer, raster, orientations, (fused.phase,), True)
