"""EDAX APEX: maps in an .edaxh5 file, whose patterns are in an up1 or up2 file beside it.

The vendor documents neither; pynxtools-em's parser is the public description that this follows. A
map is a group with ``Sample`` (grid) and ``EBSD/ANG`` (data and phases), at some depth. Each point
is a record: 9 numbers of a rotation matrix, then quality, confidence, phase (from 0; -1 is not
indexed). The matrices are taken as orix does, from the sample's to the crystal's axes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ebsdarchive.archive.conformity import plain
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.errors import EbsdArchiveError, FormatError
from ebsdarchive.exchange import edax_up
from ebsdarchive.exchange.joining import MapFile, joined
from ebsdarchive.exchange.readable import NoPatternsError
from ebsdarchive.exchange.source_text import sound, utf8
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Orientations, Phase, Scan

__all__ = ["map_for", "names_with_patterns", "read", "scan_names"]

_POINTS = "EBSD/ANG/DATA/DATA"
_PHASES = "EBSD/ANG/HEADER/Phase"


def scan_names(path: Path) -> tuple[str, ...]:
    """Names of the maps: their own, or with those of the groups around where two are alike."""
    return tuple(_maps(path))


def names_with_patterns(path: Path) -> tuple[str, ...]:
    """Names of the maps whose patterns are in a file beside.

    Raises
    ------
    NoPatternsError
        If there are none.
    """
    found = []
    for name in scan_names(path):
        with suppress(NoPatternsError):
            read(path, name)
            found.append(name)
    if not found:
        raise NoPatternsError(f"{path}: expected patterns of its maps beside it, found none")
    return tuple(found)


def read(path: Path, scan: str | None = None) -> Scan:
    """Open a map together with its patterns.

    The pattern file is the one up1 or up2 file of the folder with the map's number of points and
    grid; of several, the one whose name has the map's or the file's name in it.

    Raises
    ------
    FormatError
        If the file holds no map, or no pattern file, or several, fit to it.
    """
    with sound(path):
        maps = _maps(path)
        name = next(iter(maps)) if scan is None else scan
        known = _map_file(path, maps[name], name)
        return replace(joined(_patterns_of(path, name, known.grid), known), name=name)


def map_for(path: Path, grid: Grid) -> MapFile:
    """The one map of a file with the points of a grid."""
    known = [_map_file(path, group, name) for name, group in _maps(path).items()]
    fitting = [item for item in known if _fits(grid, item.grid)]
    if len(fitting) != 1:
        raise FormatError(
            f"{path}: expected one map of {grid.size} points, found {len(fitting)} among "
            f"{len(known)}; open the .edaxh5 file itself and name the map with --scan"
        )
    return fitting[0]


def _maps(path: Path) -> dict[str, str]:
    """Paths of the groups of maps, by names that tell them apart."""
    if not h5py.is_hdf5(path):
        raise FormatError(f"{path}: expected an HDF5 file, found something else; is it truncated?")
    groups: list[str] = []

    def visit(name: str, item: Any) -> None:
        if name.endswith("/" + _POINTS) and isinstance(item, h5py.Dataset):
            groups.append(name.removesuffix("/" + _POINTS))

    with sound(path), open_for_reading(path) as file:
        file.visititems(visit)
    if not groups:
        raise NoPatternsError(
            f"{path}: expected an EDAX APEX map ({_POINTS}), found none; is this an APEX project "
            f"with an OIM map?"
        )
    own = [group.rpartition("/")[2] for group in groups]
    return {
        name if own.count(name) == 1 else group: group
        for name, group in zip(own, groups, strict=True)
    }


def _map_file(path: Path, group: str, name: str) -> MapFile:
    with open_for_reading(path) as file:
        node = file[group]
        count = node[_POINTS].size
        grid = _grid(path, node, group, count)
        phases = _phases(node.get(_PHASES))
        orientations = _orientations(path, node[_POINTS], group)
        root = file[group.partition("/")[0]]
        version = root.attrs.get("PRODUCT_VERSION")
    metadata = {"map": name, "group": group}
    if version is not None:
        metadata["version"] = str(plain(np.ravel(version)[0]))
    return MapFile(path, "EDAX APEX", grid, orientations, phases, metadata=metadata)


def _grid(path: Path, node: h5py.Group, group: str, count: int) -> Grid:
    def entry(name: str) -> Any:
        item = node.get(f"Sample/{name}")
        if not isinstance(item, h5py.Dataset) or not item.size:
            raise FormatError(
                f"{path}: /{group}: expected a map with Sample/{name}, found none; is the file "
                f"complete?"
            )
        return plain(np.ravel(item[()])[0])

    columns, rows = int(entry("Number Of Columns")), int(entry("Number Of Rows"))
    is_hexagonal = str(entry("Grid Type")).strip().lower().startswith("hex")
    steps = [float(entry(name)) for name in ("Step X", "Step Y")]
    known = [step if np.isfinite(step) and step > 0 else None for step in steps]
    choices = [columns, columns - 1] if is_hexagonal else [None]
    for even in choices:
        kind = "hexagonal" if is_hexagonal else "square"
        grid = Grid(kind, columns, rows, known[0], known[1], even)  # type: ignore[arg-type]
        if grid.size == count:
            return grid
    raise FormatError(
        f"{path}: /{group}: expected points for {rows} rows of {columns}, found {count}; is the "
        f"file complete?"
    )


def _orientations(path: Path, item: h5py.Dataset, group: str) -> Orientations | None:
    names: tuple[str, ...] = item.dtype.names or ()
    if len(names) < 4 or item.dtype[names[0]].shape not in ((9,), (3, 3)):
        raise FormatError(
            f"{path}: /{group}/{_POINTS}: expected records of a rotation matrix, quality, "
            f"confidence and phase, found {item.dtype}"
        )
    from orix.quaternion import Rotation

    points = np.ravel(item[()])
    matrices = points[names[0]].astype(np.float64).reshape(-1, 3, 3)
    ids = points[names[3]].astype(np.int64)
    size = np.linalg.det(matrices)
    indexed = (ids >= 0) & np.isfinite(size) & (np.abs(size - 1) < 0.01)
    if not indexed.any():
        return None
    matrices[~indexed] = np.eye(3)
    quaternions = np.array(Rotation.from_matrix(matrices).data, np.float64).reshape(-1, 4)
    quaternions[~indexed] = np.nan
    properties = {
        "image_quality": points[names[1]],
        "confidence_index": points[names[2]],
        **{name: points[name] for name in names[4:] if item.dtype[name].kind in "iuf"},
    }
    native = {
        name: values.astype(values.dtype.newbyteorder("="))
        for name, values in properties.items()
        if values.ndim == 1
    }
    return Orientations(quaternions, np.where(indexed, ids + 1, -1).astype(np.int32), native)


def _phases(node: Any) -> tuple[Phase, ...]:
    """Phases, whose groups are numbered from 1; the files give no space group."""
    found = []
    for key in node if isinstance(node, h5py.Group) else ():
        item = node.get(key)
        if not isinstance(item, h5py.Group) or not key.isdigit():
            continue

        def entry(name: str, item: h5py.Group = item) -> Any:
            return plain(np.ravel(item[name][()])[0]) if name in item else None

        cell = [entry(f"Lattice Constant {k}") for k in ("A", "B", "C", "Alpha", "Beta", "Gamma")]
        is_known = all(isinstance(value, int | float) and value > 0 for value in cell)
        name = entry("Material Name")
        found.append(
            Phase(
                phase_id=int(key),
                name=utf8(str(name)) if name is not None else f"phase {key}",
                lattice=tuple(round(float(v), 5) for v in cell) if is_known else None,  # type: ignore[arg-type]
            )
        )
    return tuple(sorted(found, key=lambda phase: phase.phase_id))


def _patterns_of(path: Path, name: str, grid: Grid) -> Scan:
    """The scan of the pattern file beside that fits to a map."""
    beside = sorted(
        file for file in path.parent.iterdir() if file.suffix.lower() in (".up1", ".up2")
    )
    fitting: dict[str, Scan] = {}
    for file in beside:
        try:
            scan = edax_up.read(file)
        except EbsdArchiveError:
            continue  # a broken file of another map must not keep this one from being read
        if _fits(scan.grid, grid):
            fitting[file.name] = scan
    if len(fitting) > 1:
        words = (name.lower().rpartition("/")[2], path.stem.lower())
        named = [file for file in fitting if any(word in file.lower() for word in words)]
        fitting = {named[0]: fitting[named[0]]} if len(named) == 1 else fitting
    if len(fitting) != 1:
        there = ", ".join(fitting) or (
            f"none that fits among {', '.join(file.name for file in beside) or 'no such files'}"
        )
        raise NoPatternsError(
            f"{path}: expected one up1 or up2 file beside it with the {grid.size} points of "
            f"{name!r} ({grid.n_rows} rows of {grid.n_columns}), found {there}; open the pattern "
            f"file itself, with --geometry {path.name}"
        )
    return next(iter(fitting.values()))


def _fits(own: Grid, of_map: Grid) -> bool:
    """Whether patterns can be those of a map; files of versions 0 and 1 have no grid."""
    if own.size != of_map.size:
        return False
    has_none = own.n_rows == 1 and own.step_x_um is None
    return has_none or (own.kind, own.n_columns, own.n_rows) == (
        of_map.kind,
        of_map.n_columns,
        of_map.n_rows,
    )
