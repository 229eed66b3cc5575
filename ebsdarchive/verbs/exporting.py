"""``export``: patterns of a layer, maps, boundaries or light images, as files of other software."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.neighbours import FilledPatterns
from ebsdarchive.archive.auxiliary import read_light_stack
from ebsdarchive.archive.description import read_source_ends
from ebsdarchive.archive.file import Archive, open_archive
from ebsdarchive.archive.nodes import attributes_of
from ebsdarchive.archive.orientation_maps import orientation_map_names, read_orientation_map
from ebsdarchive.archive.oriented_layers import is_oriented_layer, read_oriented_layer
from ebsdarchive.archive.outlines import Outlines, holds_outlines, read_outlines
from ebsdarchive.errors import ArgumentError
from ebsdarchive.exchange.light_stack import WrittenImages, write_light_file
from ebsdarchive.exchange.map_file import WrittenMap, write_map_file
from ebsdarchive.exchange.outlines import FORMATS as OUTLINE_FORMATS
from ebsdarchive.exchange.outlines import WrittenOutlines, write_outline_file
from ebsdarchive.exchange.writers import Written, write_patterns
from ebsdarchive.exchange.writing.orientations import OrientedMap
from ebsdarchive.exchange.writing.registry import WRITE_FORMATS
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, Patterns, Scan, read_at
from ebsdarchive.verbs.filling import estimates_of, find_filling
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_other_file

__all__ = ["EXPORTED", "export"]

EXPORTED = tuple(entry.key for entry in WRITE_FORMATS if not entry.in_memory)


def export(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    format: str | None = None,
    format_version: int | None = None,
    layer: str | None = None,
    orientations: str | None = None,
    region: tuple[float, float, float, float] | None = None,
    fill: Sequence[str] = (),
    dtype: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Written | WrittenOutlines | WrittenImages | WrittenMap:
    """Write the patterns of a layer to a file or folder for other software.

    Boundaries that `boundaries` stored are written to a csv or geojson file, images that `attach`
    keeps to a tif file, value for value; orientations that `index` or `fuse` stored to an .ang.

    Parameters
    ----------
    format, format_version
        Key of a format in `ebsdarchive.exchange.writing.registry`, by default that of the ending;
        and its version, for up1 and up2: 3 (default) or 1.
    layer
        Name of a layer of patterns, by default raw, or neural where raw is not kept; or of
        polylines, such as maps/boundaries; of images, such as auxiliary/light; or of orientations,
        such as maps/fused.
    orientations
        Name of an orientation map to write along; by default the only one, or those that came with
        the scan. "none" for none.
    region
        (x0, y0, x1, y1) first and last column and row, both included, in steps. On a hexagonal grid
        the first row must be one that is not shifted; shifted rows have one point less.
    fill
        Reasons not to trust a point, as for `query`: its pattern is mixed of those of the layer at
        sound points on both sides, and the file, or the one beside it, says so.
    dtype
        "uint8", "uint16" or "float32"; by default the measured type.

    Returns
    -------
    Written
        With the quantisation: what was scaled, rounded or limited. `WrittenOutlines` for polylines,
        `WrittenImages` for images, `WrittenMap` for orientations.

    Raises
    ------
    OutputError
        If the format does not hold the scan's grid or type, or the file cannot be written.
    """
    archive = open_archive(path)
    require_other_file(output, path)
    name = layer or archive.pattern_layers[0]
    outlines, oriented = _outlines(archive, name), _oriented(archive, name)
    is_light = name.startswith("auxiliary/")
    if outlines is not None or oriented is not None or is_light:
        if region is not None or dtype is not None or fill or format is not None:
            kind = "images" if is_light else "maps" if outlines is None else "polylines"
            raise ArgumentError(
                f"{name}: expected no region, fill, dtype or format, which are for patterns, found "
                f"one; {kind} are exported whole"
            )
        if outlines is not None:
            return write_outline_file(output, outlines, archive.grid, force=force)
        if oriented is not None:
            return write_map_file(output, oriented, force=force)
        with archive.group() as group:
            images = read_light_stack(group, name).images
        return write_light_file(output, images, force=force)
    if Path(output).suffix.lower() in OUTLINE_FORMATS:
        raise ArgumentError(
            f"{os.fspath(output)}: expected a layer of polylines for this kind of file, found "
            f"{name}; name it, as in --layer maps/boundaries"
        )
    scan, from_map = _with_orientations(archive, archive.scan(name), orientations)
    if name == "raw" and region is None and not fill:
        with archive.group() as group:
            header, trailer = read_source_ends(group)
        scan = replace(scan, source=replace(scan.source, header=header, trailer=trailer))
    filled = find_filling(archive, fill, stage(progress, "looking for blank patterns"))
    if filled is not None:
        scan = replace(scan, patterns=FilledPatterns(scan.patterns, filled))
    indices = np.arange(archive.grid.size)
    if region is not None:
        scan, indices = _cut(scan, region)
    origin = origin_of(archive, name)
    if from_map is not None:
        origin["orientations"] = f"maps/{from_map}"
    return write_patterns(
        scan,
        output,
        positions=archive.grid.positions_at(indices),
        measured_dtype=archive.dtype,
        own_dtype=archive.dtype,
        dtype=dtype,
        format=format,
        version=format_version,
        intensity_range=layer_range(archive, name),
        origin=origin,
        estimates=estimates_of(filled, fill, lambda points: np.isin(indices, points)),
        force=force,
        formats=EXPORTED,
        progress=stage(progress, "exporting"),
    )


def _with_orientations(archive: Archive, scan: Scan, name: str | None) -> tuple[Scan, str | None]:
    """The scan with the orientations to write, and the name of the map that they are from."""
    if name == "none":
        return replace(scan, orientations=None, phases=()), None
    with archive.group() as group:
        names = orientation_map_names(group)
        if name is None:
            if len(names) != 1:
                return scan, None
            name = names[0]
        found = read_orientation_map(group, name)
    name = name.removeprefix("maps/")
    return replace(scan, orientations=found.orientations, phases=found.phases), name


def _outlines(archive: Archive, layer: str) -> Outlines | None:
    """The polylines of a layer; None if it holds something else."""
    with archive.group() as group:
        return read_outlines(group, layer) if holds_outlines(group, layer) else None


def _oriented(archive: Archive, layer: str) -> OrientedMap | None:
    """The orientations of a layer; None if it holds something else."""
    with archive.group() as group:
        if not is_oriented_layer(group, layer):
            return None
        found = read_oriented_layer(group, layer)
    scan = archive.scan(archive.pattern_layers[0])
    return OrientedMap(found.grid, found.orientations, found.phases, scan.detector, scan.microscope)


def origin_of(archive: Archive, layer: str) -> dict[str, Any]:
    """Where patterns come from: the archive, the layer, its digest, and that it is lossy."""
    values = archive.attributes(layer)
    origin: dict[str, Any] = {
        "archive": os.path.basename(archive.path),
        "archive_id": archive.archive_id,
        "layer": layer,
        "layer_sha256": values.get("patterns_sha256") or values.get("sha256"),
    }
    with archive.group() as group:
        digest = attributes_of(group["source"]).get("file_sha256")
    if digest is not None:
        origin["source_sha256"] = digest
    if layer != "raw":
        origin["raw_sha256"] = values.get("raw_sha256")
    if "mae_percent" in values:
        origin["lossy"] = f"mean absolute error {values['mae_percent']:.4g} % of full range"
    return origin


def layer_range(archive: Archive, layer: str) -> tuple[float, float] | None:
    """Lowest and highest count of the scan where a layer has them on record."""
    values = archive.attributes(layer)
    if "range_min" in values:
        return values["range_min"], values["range_max"]
    return None


class _Selected:
    """Some of a layer's patterns, in the order of their indices."""

    def __init__(self, patterns: Patterns, indices: npt.NDArray[np.int64]) -> None:
        self.patterns, self.indices = patterns, indices
        self.shape = (len(indices), *patterns.shape[1:])
        self.dtype = patterns.dtype

    def read(self, start: int, stop: int) -> npt.NDArray:
        return read_at(self.patterns, self.indices[start:stop])


def _cut(
    scan: Scan, region: tuple[float, float, float, float]
) -> tuple[Scan, npt.NDArray[np.int64]]:
    """The part of a scan within a region, and the indices of its points."""
    x0, y0, x1, y1 = region
    corners = np.array([[x0, y0], [x1, y1]], dtype=np.float64)
    scan.grid.require_inside(corners)
    if not np.array_equal(corners, np.rint(corners)) or x1 < x0 or y1 < y0:
        raise ArgumentError(
            f"region: expected whole numbers x0 ≤ x1 and y0 ≤ y1, found {x0:g},{y0:g}:{x1:g},{y1:g}"
        )
    grid = _grid_of_region(scan.grid, int(x1 - x0) + 1, int(y0), int(y1 - y0) + 1)
    indices = scan.grid.indices_of(grid.positions() + corners[0])
    return select(scan, _Selected(scan.patterns, indices), grid, indices), indices


def _grid_of_region(grid: Grid, columns: int, first_row: int, rows: int) -> Grid:
    """The grid of a part of `grid`."""
    steps = (grid.step_x_um, grid.step_y_um)
    if not grid.is_hexagonal:
        return Grid("square", columns, rows, *steps)
    if first_row % 2 or (columns == 1 and rows > 1):
        raise ArgumentError(
            f"region: expected an even first row and two columns or more of a hexagonal grid, "
            f"found row {first_row} and {columns} columns; odd rows are shifted by half a step"
        )
    return Grid("hexagonal", columns, rows, *steps, max(1, columns - 1))


def select(scan: Scan, patterns: Patterns, grid: Grid, nearest: npt.NDArray[np.int64]) -> Scan:
    """A scan with other patterns; per-point values are those of the `nearest` measured points."""
    detector = scan.detector
    if detector.pc_bruker is not None and np.ndim(detector.pc_bruker) == 2:
        original = detector.pc_original
        detector = Detector(
            **{
                **detector.__dict__,
                "pc_bruker": detector.pc_bruker[nearest],
                "pc_original": None if original is None else np.atleast_2d(original)[nearest],
            }
        )
    orientations = scan.orientations
    if orientations is not None:
        orientations = replace(
            orientations,
            quaternions=orientations.quaternions[nearest],
            phase_id=orientations.phase_id[nearest],
            properties={name: values[nearest] for name, values in orientations.properties.items()},
        )
    return Scan(
        patterns=patterns,
        grid=grid,
        detector=detector,
        source=scan.source,
        microscope=scan.microscope,
        phases=scan.phases,
        orientations=orientations,
        static_background=scan.static_background,
        name=scan.name,
    )
