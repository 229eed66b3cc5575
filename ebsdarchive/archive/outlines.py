"""Outlines of grains in the archive: boundaries as polylines, and the grains' sizes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.conformity import attribute, check_node, require_kind
from ebsdarchive.archive.layers import layer_node
from ebsdarchive.archive.nodes import container, new_node, read_array
from ebsdarchive.errors import CorruptionError

__all__ = [
    "Boundary",
    "Grain",
    "Outlines",
    "holds_outlines",
    "outline_faults",
    "read_outlines",
    "write_outlines",
]


@dataclass(frozen=True)
class Boundary:
    """A boundary between two grains, from one junction (or edge of the scan) to the next.

    Parameters
    ----------
    grains
        Labels on its two sides, the smaller first.
    xy
        (m, 2) positions (x, y) of its vertices in steps; a closed one ends where it begins.
    s
        (m,) diffraction gradient S at the vertices, counts per step along x, or what else the
        boundaries were found by.
    correlation
        Of the band patterns on both sides: 1 would be no boundary at all; NaN where not known.
    """

    grains: tuple[int, int]
    xy: npt.NDArray[np.float64]
    s: npt.NDArray[np.float32]
    correlation: float

    def length(self, row_distance: float) -> float:
        """Length in steps along x; `row_distance` is that of the grid."""
        return float(np.hypot(*np.diff(self.xy * (1.0, row_distance), axis=0).T).sum())


@dataclass(frozen=True)
class Grain:
    """Size and place of a grain.

    Parameters
    ----------
    label
        Its value in the label map, from 1 on.
    area
        In squared steps along x.
    centre
        Mean position (x, y) in steps.
    at_edge
        Whether the edge of the scan cuts it.
    """

    label: int
    area: float
    centre: tuple[float, float]
    at_edge: bool

    @property
    def diameter(self) -> float:
        """Of the circle of the same area, in steps along x."""
        return float(2 * np.sqrt(self.area / np.pi))


@dataclass(frozen=True)
class Outlines:
    """The boundaries of a scan, and its grains in the order of their labels, which begin at 1."""

    boundaries: tuple[Boundary, ...]
    grains: tuple[Grain, ...]

    def length(self, row_distance: float) -> float:
        """Length of all boundaries in steps along x; `row_distance` is that of the grid."""
        return float(sum(boundary.length(row_distance) for boundary in self.boundaries))


def write_outlines(
    archive: h5py.Group,
    name: str,
    outlines: Outlines,
    *,
    label_map: str,
    derived_from: str | None = None,
    measure: str | None = None,
) -> str:
    """Write ``maps/NAME``, replacing one of that name; returns its digest.

    Parameters
    ----------
    label_map
        Name of the map that holds the labels of the grains.
    measure
        What `Boundary.s` is, where it is not the diffraction gradient.
    """
    maps = container(archive, "maps")
    if name in maps:
        del maps[name]
    lines, grains = outlines.boundaries, outlines.grains
    attributes = {
        "long_name": "Grain boundaries",
        "label_map": label_map,
        "derived_from": derived_from,
        "measure": measure,
    }
    offsets = np.cumsum([0, *(len(line.xy) for line in lines)])
    datasets = {
        "vertices": np.concatenate([np.empty((0, 2)), *(line.xy for line in lines)]),
        "s": np.concatenate([np.empty(0, np.float32), *(line.s for line in lines)]),
        "offsets": offsets.astype(np.int64),
        "labels": np.array([line.grains for line in lines], np.int32).reshape(-1, 2),
        "correlation": np.array([line.correlation for line in lines], np.float64),
        "grain_area": np.array([grain.area for grain in grains], np.float64),
        "grain_centre": np.array([grain.centre for grain in grains], np.float64).reshape(-1, 2),
        "grain_at_edge": np.array([grain.at_edge for grain in grains], np.uint8),
    }
    with new_node(maps, name, "polylines", attributes, datasets) as node:
        pass
    return str(node.attrs["sha256"])


def holds_outlines(archive: h5py.Group, layer: str) -> bool:
    """Whether a layer holds polylines. Raises MissingLayerError if there is no such layer."""
    return bool(attribute(layer_node(archive, layer), "encoding-type", "") == "polylines")


def read_outlines(archive: h5py.Group, layer: str) -> Outlines:
    """The outlines that a layer holds.

    Raises
    ------
    MissingLayerError, ArchiveError, VersionError
        If there is no such layer, it holds something else, or its version is not known here.
    CorruptionError
        If its arrays do not fit together.
    """
    node = layer_node(archive, layer)
    require_kind(node, "polylines")
    faults = check_node(node, "polylines", {}) or outline_faults(node)
    if faults:
        raise CorruptionError(f"{archive.file.filename}: {faults[0]}; the layer is damaged")
    array = {key: read_array(item) for key, item in node.items()}
    pairs, correlation = array["labels"].tolist(), array["correlation"].tolist()
    parts = pairwise(array["offsets"].tolist())
    areas, centres = array["grain_area"].tolist(), array["grain_centre"].tolist()
    at_edge = array["grain_at_edge"].astype(bool).tolist()
    return Outlines(
        tuple(
            Boundary((i, j), array["vertices"][start:stop], array["s"][start:stop], alike)
            for (i, j), alike, (start, stop) in zip(pairs, correlation, parts, strict=True)
        ),
        tuple(
            Grain(label + 1, area, (x, y), cut)
            for label, (area, (x, y), cut) in enumerate(zip(areas, centres, at_edge, strict=True))
        ),
    )


def outline_faults(node: h5py.Group) -> list[str]:
    """What does not fit together in the values of a node of polylines, one line each."""
    offsets, labels = read_array(node["offsets"]), read_array(node["labels"])
    vertices, grains = node["vertices"].shape[0], node["grain_area"].shape[0]
    faults = []
    ends = (int(offsets[0]), int(offsets[-1])) if len(offsets) else ()
    if ends != (0, vertices) or (np.diff(offsets) < 0).any():
        faults.append(
            f"{node.name}/offsets: expected rising numbers from 0 to {vertices}, found others"
        )
    if labels.size and not 1 <= labels.min() <= labels.max() <= grains:
        faults.append(
            f"{node.name}/labels: expected grains from 1 to {grains}, found {labels.min()} to "
            f"{labels.max()}"
        )
    return faults
