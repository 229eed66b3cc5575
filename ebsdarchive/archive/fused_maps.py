"""Orientations estimated on a raster finer than the scan, in the archive."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.conformity import attribute, check_node, require_kind
from ebsdarchive.archive.description import read_phases, write_phases
from ebsdarchive.archive.layers import layer_node
from ebsdarchive.archive.nodes import attributes_of, container, new_node, read_array
from ebsdarchive.errors import CorruptionError, MissingLayerError
from ebsdarchive.scan import Phase

__all__ = ["FusedMap", "fused_map_names", "read_fused_map", "write_fused_map"]

KIND = "fused-orientations"


@dataclass(frozen=True)
class FusedMap:
    """Orientations of one phase on a raster of `samples_per_step`.

    Parameters
    ----------
    quaternions
        (rows, columns, 4) sample to crystal, in the sample frame of the map that was measured.
    spread_deg
        (rows, columns) mean disorientation of the samples to it.
    measured
        (rows, columns) bool.
    orientation_map, light
        Layers that the estimate rests on: (name, digest); light is None without one.
    model_sha256, samples, seed, parameters
        What the samples follow from.
    """

    quaternions: npt.NDArray[np.float64]
    spread_deg: npt.NDArray[np.float32]
    measured: npt.NDArray[np.bool_]
    phase: Phase
    samples_per_step: int
    orientation_map: tuple[str, str]
    light: tuple[str, str] | None
    model_sha256: str
    samples: int
    seed: int
    parameters: Mapping[str, Any]


def write_fused_map(archive: h5py.Group, name: str, found: FusedMap) -> str:
    """Write ``maps/NAME``, replacing one of that name; returns its digest."""
    maps = container(archive, "maps")
    if name in maps:
        del maps[name]
    light = found.light or (None, None)
    attributes = {
        "long_name": f"Orientation (EBSD{' and polarised light' if found.light else ''}, estimate)",
        "estimate": "estimate",
        "method": "fps-smc",
        "samples_per_step": found.samples_per_step,
        "orientation_map": found.orientation_map[0],
        "orientation_sha256": found.orientation_map[1],
        "light": light[0],
        "light_sha256": light[1],
        "model_sha256": found.model_sha256,
        "samples": found.samples,
        "seed": found.seed,
        "parameters": json.dumps(dict(found.parameters), sort_keys=True),
    }
    datasets = {
        "quaternions": np.asarray(found.quaternions, np.float64),
        "spread_deg": np.asarray(found.spread_deg, np.float32),
        "measured": found.measured.astype(np.uint8),
    }
    with new_node(maps, name, KIND, attributes, datasets) as node:
        write_phases(node, [found.phase])
    return str(node.attrs["sha256"])


def fused_map_names(archive: h5py.Group) -> list[str]:
    """Names of the maps that hold fused orientations, without ``maps/``."""
    return [
        name
        for name, node in archive.get("maps", {}).items()
        if attribute(node, "encoding-type", "") == KIND
    ]


def read_fused_map(archive: h5py.Group, name: str) -> FusedMap:
    """Fused orientations by their name, with or without ``maps/``.

    Raises
    ------
    MissingLayerError, ArchiveError, VersionError
        If there is no such layer, it holds something else, or its version is not known here.
    CorruptionError
        If its arrays do not fit together.
    """
    name = name.removeprefix("maps/")
    if name not in fused_map_names(archive):
        found = ", ".join(fused_map_names(archive)) or "none"
        raise MissingLayerError(
            f"{archive.file.filename}: expected fused orientations {name!r}, found {found}; make "
            f"them with `ebsdarchive fuse superres`"
        )
    node = layer_node(archive, f"maps/{name}")
    require_kind(node, KIND)
    faults = check_node(node, KIND, {})
    if faults:
        raise CorruptionError(f"{archive.file.filename}: {faults[0]}; the layer is damaged")
    said = attributes_of(node)
    (phase,) = read_phases(node)
    return FusedMap(
        quaternions=read_array(node["quaternions"]),
        spread_deg=read_array(node["spread_deg"]),
        measured=read_array(node["measured"]).astype(bool),
        phase=phase,
        samples_per_step=int(said["samples_per_step"]),
        orientation_map=(said["orientation_map"], said["orientation_sha256"]),
        light=(said["light"], said["light_sha256"]) if "light" in said else None,
        model_sha256=said["model_sha256"],
        samples=int(said["samples"]),
        seed=int(said["seed"]),
        parameters=json.loads(said["parameters"]),
    )
