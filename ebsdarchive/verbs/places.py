"""Where a query asks: from points, paths, rasters and grids to positions in steps of the scan."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError, GeometryError
from ebsdarchive.geometry import Grid, grid_positions, path_positions
from ebsdarchive.regridding import regridded

__all__ = [
    "Places",
    "Where",
    "find_places",
    "path_step_um",
    "read_positions",
    "steps_per_unit",
]

REGRID: dict[str, Literal["square", "hexagonal"]] = {"square": "square", "hex": "hexagonal"}


@dataclass(frozen=True)
class Where:
    """What a query may be told of its positions; see `query`, whose parameters these are."""

    point: tuple[float, float] | None = None
    points: npt.ArrayLike | None = None
    along: npt.ArrayLike | None = None
    samples: int | None = None
    spacing: float | None = None
    corners: tuple[float, float, float, float] | None = None
    shape: tuple[int, int] | None = None
    upsample: int | None = None
    regrid: str | None = None
    step_um: float | None = None
    unit: str = "step"


@dataclass(frozen=True)
class Places:
    """The positions that a query asks at.

    Parameters
    ----------
    kind
        "points", "path" or "grid".
    xy
        (m, 2) positions (x, y) in steps of the scan.
    grid
        Of the answers, in their order; points and paths make one row.
    """

    kind: Literal["points", "path", "grid"]
    xy: npt.NDArray[np.float64]
    grid: Grid


def find_places(where: Where, grid: Grid, name: str) -> Places:
    """The positions that are meant; all lie inside the scan.

    Parameters
    ----------
    grid, name
        Of the scan, and of its file for messages.

    Raises
    ------
    ArgumentError
        If they are said in no way, in several ways, or in one that makes no sense.
    GeometryError
        If one is outside the scan, or µm are asked for and the scan's step is not known.
    """
    _require_one_way(where)
    scale = steps_per_unit(grid, where.unit, name)
    if where.point is not None or where.points is not None:
        given = where.point if where.point is not None else where.points
        xy = np.atleast_2d(np.asarray(given, np.float64))
        if xy.ndim != 2 or xy.shape[1] != 2 or len(xy) == 0:
            raise ArgumentError(f"points: expected positions x,y, found shape {xy.shape}")
        found = Places("points", xy * scale, Grid("square", len(xy), 1))
    elif where.along is not None:
        xy = _path(np.asarray(where.along, np.float64), where, scale)
        found = Places("path", xy, Grid("square", len(xy), 1, path_step_um(xy, grid)))
    elif where.corners is not None and where.shape is not None:
        x0, y0, x1, y1 = where.corners
        xy = grid_positions((x0, y0), (x1, y1), where.shape) * scale
        found = Places("grid", xy, _raster(xy, where.shape, grid))
    elif where.upsample is not None:
        found = _upsampled(grid, where.upsample)
    else:
        assert where.regrid is not None
        found = _regridded(grid, where.regrid, where.step_um, name)
    grid.require_inside(found.xy)
    return found


def _require_one_way(where: Where) -> None:
    ways = (where.point, where.points, where.along, where.corners, where.upsample, where.regrid)
    found = sum(way is not None for way in ways)
    if found != 1:
        raise ArgumentError(
            f"query: expected one of point, points, path, grid, upsample and regrid, found {found}"
        )
    if (where.shape is None) != (where.corners is None):
        raise ArgumentError("query: expected a grid together with its shape, found one of them")
    if where.along is None and (where.samples is not None or where.spacing is not None):
        raise ArgumentError("query: expected samples and spacing together with a path")
    if where.step_um is not None and where.regrid is None:
        raise ArgumentError("query: expected a step together with regrid, found it alone")


def _path(
    vertices: npt.NDArray[np.float64], where: Where, scale: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    if where.samples is None and where.spacing is None:
        return path_positions(vertices * scale)
    return path_positions(vertices, where.samples, where.spacing) * scale


def _upsampled(grid: Grid, upsample: int) -> Places:
    if upsample < 1:
        raise ArgumentError(f"upsample: expected a whole number from 1, found {upsample}")
    x_max, y_max = grid.extent
    shape = (int(y_max * upsample) + 1, int(x_max * upsample) + 1)
    ends = ((shape[1] - 1) / upsample, (shape[0] - 1) / upsample)
    xy = grid_positions((0.0, 0.0), ends, shape)
    return Places("grid", xy, _raster(xy, shape, grid))


def _regridded(grid: Grid, kind: str, step_um: float | None, name: str) -> Places:
    if kind not in REGRID:
        raise ArgumentError(f"regrid: expected {' or '.join(REGRID)}, found {kind!r}")
    step = 1.0
    if step_um is not None:
        if grid.step_x_um is None or grid.step_y_um is None:
            raise GeometryError(
                f"{name}: expected a known step of the scan for a new one in um, found none in the "
                f"source; leave it out to keep the scan's"
            )
        step = step_um / grid.step_x_um
    new, xy = regridded(grid, REGRID[kind], step)
    return Places("grid", xy, new)


def steps_per_unit(grid: Grid, unit: str, name: str) -> npt.NDArray[np.float64]:
    """(2,) factor from `unit`, "step" or "um", to steps along x and y; `name` is for messages.

    Raises
    ------
    GeometryError
        If `unit` is um and the step is not known.
    """
    if unit == "step":
        return np.ones(2)
    if unit != "um":
        raise ArgumentError(f"unit: expected step or um, found {unit!r}")
    steps = (grid.step_x_um, grid.step_y_um)
    if None in steps:
        raise GeometryError(
            f"{name}: expected a known step for positions in um, found none in the source; "
            f"give positions in steps"
        )
    return 1.0 / np.array(steps, dtype=np.float64)


def path_step_um(xy: npt.NDArray, grid: Grid) -> float | None:
    """Distance between the positions of a path, where the steps are known."""
    steps = (grid.step_x_um, grid.step_y_um)
    if None in steps or len(xy) < 2:
        return None
    return float(np.hypot(*((xy[1] - xy[0]) * np.array(steps, np.float64)))) or None


def _raster(xy: npt.NDArray, shape: tuple[int, int], scan: Grid) -> Grid:
    """The grid of a raster of positions, with its steps in µm where they are known."""
    ny, nx = shape
    points = xy.reshape(ny, nx, 2)
    dx = abs(points[0, 1, 0] - points[0, 0, 0]) if nx > 1 else 0.0
    dy = abs(points[1, 0, 1] - points[0, 0, 1]) if ny > 1 else 0.0
    return Grid(
        "square",
        nx,
        ny,
        (scan.step_x_um * dx or None) if scan.step_x_um else None,
        (scan.step_y_um * dy or None) if scan.step_y_um else None,
    )


def read_positions(path: str | os.PathLike[str]) -> npt.NDArray[np.float64]:
    """(m, 2) positions from a CSV file with the columns x and y, with or without a header.

    Raises
    ------
    ArgumentError
        If a line does not begin with two numbers; it names the line.
    """
    file = Path(path)
    if not file.is_file():
        raise ArgumentError(f"{file}: expected a CSV file of positions, found none")
    rows: list[tuple[float, float]] = []
    columns = (0, 1)
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.reader(lines)
        try:
            for line in reader:
                cells = [cell.strip() for cell in line]
                names = [cell.lower() for cell in cells]
                if not any(cells) or cells[0].startswith("#"):
                    continue
                if not rows and "x" in names and "y" in names:
                    columns = (names.index("x"), names.index("y"))
                    continue
                rows.append((float(cells[columns[0]]), float(cells[columns[1]])))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ArgumentError(
                f"{file}: expected text in UTF-8, found something else after line {reader.line_num}"
            ) from error
        except (ValueError, IndexError) as error:
            raise ArgumentError(
                f"{file}: line {reader.line_num}: expected x,y, found {','.join(line)!r}"
            ) from error
    if not rows:
        raise ArgumentError(f"{file}: expected positions x,y, found none")
    return np.array(rows)
