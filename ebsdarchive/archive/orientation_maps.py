"""Orientation maps in the archive: what an indexing found, with all that it was told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.description import read_grid, read_phases, write_phases
from ebsdarchive.archive.layers import layer_node
from ebsdarchive.archive.naming import chosen_layer
from ebsdarchive.archive.nodes import (
    attribute,
    attributes_of,
    container,
    new_node,
    read_array,
    require_kind,
)
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Orientations, Phase

__all__ = [
    "OrientationMap",
    "orientation_map_layer",
    "orientation_map_names",
    "read_orientation_map",
    "write_orientation_map",
]


@dataclass(frozen=True)
class OrientationMap:
    """An orientation map.

    Parameters
    ----------
    orientations
        Of the n points in storage order, with the properties confidence and fit (degrees).
    phases
        The phases that were considered.
    pc_bruker
        (m, 3) projection centre that was used; m is 1 or n.
    pc_origin
        "scan", "given" or "calibrated".
    layer, derived_from
        Name and digest of the layer whose patterns were indexed.
    background
        "bandpass", "static" or "dynamic".
    reflectors
        Families looked for, by phase id.
    """

    orientations: Orientations
    phases: tuple[Phase, ...]
    pc_bruker: npt.NDArray[np.float64]
    pc_origin: str
    layer: str
    derived_from: str | None
    background: str
    reflectors: Mapping[int, Sequence[Sequence[int]]]


def write_orientation_map(archive: h5py.Group, name: str, found: OrientationMap, grid: Grid) -> str:
    """Write ``maps/NAME``, replacing one of that name; returns its digest."""
    maps = container(archive, "maps")
    if name in maps:
        del maps[name]
    orientations = found.orientations
    phase_id = np.full((grid.n_rows, grid.n_columns), -1, np.int32)
    phase_id[grid.map_mask()] = orientations.phase_id
    properties = orientations.properties
    attributes = {
        "long_name": "Orientation (Hough indexing)",
        "layer": found.layer,
        "derived_from": found.derived_from,
        "method": "hough",
        "background": found.background,
        "reflectors": json.dumps(
            {str(key): [list(hkl) for hkl in value] for key, value in found.reflectors.items()}
        ),
        "pc_origin": found.pc_origin,
    }
    datasets = {
        "quaternions": grid.to_map(np.asarray(orientations.quaternions, np.float64)),
        "phase_id": phase_id,
        "confidence": grid.to_map(np.asarray(properties["confidence"], np.float32)),
        "fit": grid.to_map(np.asarray(properties["fit"], np.float32)),
        "pc_bruker": np.atleast_2d(np.asarray(found.pc_bruker, np.float64)),
    }
    with new_node(maps, name, "orientation-map", attributes, datasets) as node:
        write_phases(node, found.phases)
    return str(node.attrs["sha256"])


def orientation_map_names(archive: h5py.Group) -> list[str]:
    """Names of the maps that hold orientations, without ``maps/``."""
    return [
        name
        for name, node in archive.get("maps", {}).items()
        if attribute(node, "encoding-type", "") == "orientation-map"
    ]


def orientation_map_layer(archive: h5py.Group, name: str | None = None) -> str:
    """``maps/NAME`` of an orientation map by its name; by default of the only one there is.

    Errors are those of `chosen_layer`.
    """
    return chosen_layer(
        archive,
        "maps",
        orientation_map_names(archive),
        name,
        kind="an orientation map",
        short="a map",
        none="expected an orientation map, found none; make one with `ebsdarchive index`",
    )


def read_orientation_map(archive: h5py.Group, name: str | None = None) -> OrientationMap:
    """An orientation map; which, and what may be wrong, as in `orientation_map_layer`."""
    node = layer_node(archive, orientation_map_layer(archive, name))
    require_kind(node, "orientation-map")
    mask = read_grid(archive).map_mask()
    said = attributes_of(node)
    return OrientationMap(
        orientations=Orientations(
            read_array(node["quaternions"])[mask],
            read_array(node["phase_id"])[mask],
            {key: read_array(node[key])[mask] for key in ("confidence", "fit")},
        ),
        phases=read_phases(node),
        pc_bruker=read_array(node["pc_bruker"]),
        pc_origin=said["pc_origin"],
        layer=said["layer"],
        derived_from=said.get("derived_from"),
        background=said["background"],
        reflectors={int(key): value for key, value in json.loads(said["reflectors"]).items()},
    )
