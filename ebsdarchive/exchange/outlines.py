"""Grain boundaries as files for other programs: CSV, a row per vertex, and GeoJSON.

Positions are (x, y), y downwards as in the scan: in steps, and in µm where the scan's step is
known.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.outlines import Boundary, Grain, Outlines
from ebsdarchive.archive.store import replacing
from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid

__all__ = ["FORMATS", "WrittenOutlines", "outline_format", "write_outline_file"]

FORMATS = (".csv", ".geojson")


@dataclass(frozen=True)
class WrittenOutlines:
    """What was written: the file, its size, and how many boundaries of how many vertices."""

    path: str
    nbytes: int
    boundaries: int
    vertices: int


def outline_format(path: str | os.PathLike[str]) -> str:
    """ ".csv" or ".geojson".

    Raises
    ------
    ArgumentError
        If the file's name ends otherwise.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ArgumentError(
            f"{os.fspath(path)}: expected a name ending in {' or '.join(FORMATS)}, found "
            f"{suffix or 'no ending'!r}"
        )
    return suffix


def write_outline_file(
    path: str | os.PathLike[str],
    outlines: Outlines,
    grid: Grid,
    *,
    force: bool = False,
) -> WrittenOutlines:
    """Write boundaries as CSV or, with the grains' sizes, as GeoJSON.

    CSV has the columns x and y in steps, as `query --points` reads them. GeoJSON has a LineString
    for each boundary and a Point for each grain, in µm where the step is known.

    Raises
    ------
    ArgumentError, OutputError
        If the file is of no known kind, exists (without `force`) or cannot be written.
    """
    write = _write_csv if outline_format(path) == ".csv" else _write_geojson
    with (
        replacing(path, force=force) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        write(file, outlines, grid)
    return WrittenOutlines(
        os.fspath(path),
        Path(path).stat().st_size,
        len(outlines.boundaries),
        sum(len(boundary.xy) for boundary in outlines.boundaries),
    )


def _write_csv(file: TextIO, outlines: Outlines, grid: Grid) -> None:
    writer = csv.writer(file)
    scale = _step_um(grid)
    in_um = [] if scale is None else ["x_um", "y_um"]
    writer.writerow(
        ["boundary", "grain_1", "grain_2", "x", "y", *in_um, "s_counts_per_step", "correlation"]
    )
    for number, boundary in enumerate(outlines.boundaries, start=1):
        for xy, s in zip(boundary.xy, boundary.s, strict=True):
            um = [] if scale is None else [f"{value:.4f}" for value in xy * scale]
            steps = [f"{value:.4f}" for value in xy]
            correlation = f"{boundary.correlation:.4f}"
            writer.writerow([number, *boundary.grains, *steps, *um, f"{s:.5g}", correlation])


def _write_geojson(file: TextIO, outlines: Outlines, grid: Grid) -> None:
    scale = _step_um(grid)
    unit = "step" if scale is None else "um"
    factor = np.ones(2) if scale is None else scale
    document = {
        "type": "FeatureCollection",
        "unit": unit,
        "features": [
            *_lines(outlines.boundaries, grid, factor),
            *_points(outlines.grains, factor),
        ],
    }
    json.dump(document, file, ensure_ascii=False)


def _lines(
    boundaries: Sequence[Boundary], grid: Grid, factor: npt.NDArray[np.float64]
) -> Iterator[dict[str, Any]]:
    for number, boundary in enumerate(boundaries, start=1):
        yield {
            "type": "Feature",
            "geometry": {
                "type": "LineString",
                "coordinates": np.round(boundary.xy * factor, 4).tolist(),
            },
            "properties": {
                "kind": "boundary",
                "boundary": number,
                "grains": list(boundary.grains),
                "length": round(boundary.length(grid.row_distance) * float(factor[0]), 4),
                "correlation": round(boundary.correlation, 4),
                "s_counts_per_step": [float(f"{s:.5g}") for s in boundary.s],
            },
        }


def _points(grains: Sequence[Grain], factor: npt.NDArray[np.float64]) -> Iterator[dict[str, Any]]:
    for grain in grains:
        yield {
            "type": "Feature",
            "geometry": {
                "type": "Point",
                "coordinates": np.round(np.array(grain.centre) * factor, 4).tolist(),
            },
            "properties": {
                "kind": "grain",
                "label": grain.label,
                "area": round(grain.area * float(factor[0]) ** 2, 4),
                "diameter": round(grain.diameter * float(factor[0]), 4),
                "at_edge": grain.at_edge,
            },
        }


def _step_um(grid: Grid) -> npt.NDArray[np.float64] | None:
    """(2,) µm for a step along x and y, where both are known."""
    if grid.step_x_um is None or grid.step_y_um is None:
        return None
    return np.array([grid.step_x_um, grid.step_y_um])
