"""``query``: patterns anywhere in the scan, between the measured points too."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import open_archive
from ebsdarchive.errors import ArgumentError
from ebsdarchive.exchange.writers import Written, write_patterns
from ebsdarchive.geometry import Grid, grid_positions, path_positions
from ebsdarchive.verbs.exporting import layer_range, origin_of, sample_frame_of, select
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.sampling import asked_layer, path_step_um, patterns_at, steps_per_unit
from ebsdarchive.verbs.targets import require_other_file

__all__ = ["query", "read_positions"]


def query(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    point: tuple[float, float] | None = None,
    points: npt.ArrayLike | None = None,
    along: npt.ArrayLike | None = None,
    samples: int | None = None,
    spacing: float | None = None,
    corners: tuple[float, float, float, float] | None = None,
    shape: tuple[int, int] | None = None,
    upsample: int | None = None,
    layer: str | None = None,
    interpolation: Literal["linear", "field"] = "linear",
    unit: Literal["step", "um"] = "step",
    dtype: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> npt.NDArray[np.float32] | Written:
    """Patterns at given positions of the scan.

    Exactly one of `point`, `points`, `along`, `corners` (with `shape`) and `upsample` says where.
    The neural layer is asked unless another is named. At measured points a layer gives its patterns
    there, between them by default the bilinear mix of those at the four points around. Between the
    neural layer's patterns, which are without the noise of the measured ones, that has the least
    error on points that were held out (benchmarks/holdout.py).

    Parameters
    ----------
    output
        File to write: png, or any file that `export` writes. None returns the patterns.
    point, points
        (x, y), or (m, 2) of them.
    along, samples, spacing
        (m, 2) vertices of a path, and the number or the distance of positions along it; with
        neither, one per scan step.
    corners, shape
        (x0, y0, x1, y1) of a raster, and its (rows, columns).
    upsample
        The whole scan with steps of 1 / `upsample`.
    interpolation
        Between measured points: "linear", or "field", what the neural layer's network itself gives
        there: a smooth function of the position.
    unit
        Of all positions and of `spacing`: scan steps, or µm.
    dtype
        "uint8", "uint16" or "float32"; by default float32, or what the format holds.

    Returns
    -------
    (m, sy, sx) ndarray of float32, in counts; or `Written`.

    Raises
    ------
    GeometryError
        If a position is outside the scan, or `unit` is um and the step is not known.
    """
    archive = open_archive(path)
    if output is not None:
        require_other_file(output, path)
    name = asked_layer(archive, layer)
    scale = steps_per_unit(archive, unit)
    given = [w for w in (point, points, along, corners, upsample) if w is not None]
    if len(given) != 1:
        raise ArgumentError(
            f"query: expected one of point, points, path, grid and upsample, found {len(given)}"
        )
    if (shape is None) != (corners is None):
        raise ArgumentError("query: expected a grid together with its shape, found one of them")
    if along is None and (samples is not None or spacing is not None):
        raise ArgumentError("query: expected samples and spacing together with a path")
    grid_um = (archive.grid.step_x_um, archive.grid.step_y_um)
    if point is not None or points is not None:
        xy = np.atleast_2d(np.asarray(point if point is not None else points, np.float64))
        if xy.ndim != 2 or xy.shape[1] != 2 or len(xy) == 0:
            raise ArgumentError(f"points: expected positions x,y, found shape {xy.shape}")
        xy = xy * scale
        grid = Grid("square", len(xy), 1)
    elif along is not None:
        vertices = np.asarray(along, np.float64)
        if samples is None and spacing is None:
            xy = path_positions(vertices * scale)
        else:
            xy = path_positions(vertices, samples, spacing) * scale
        grid = Grid("square", len(xy), 1, path_step_um(xy, grid_um))
    elif corners is not None and shape is not None:
        x0, y0, x1, y1 = corners
        xy = grid_positions((x0, y0), (x1, y1), shape) * scale
        grid = _raster(xy, shape, grid_um)
    else:
        assert upsample is not None
        if upsample < 1:
            raise ArgumentError(f"upsample: expected a whole number from 1, found {upsample}")
        x_max, y_max = archive.grid.extent
        fine = (int(y_max * upsample) + 1, int(x_max * upsample) + 1)
        ends = ((fine[1] - 1) / upsample, (fine[0] - 1) / upsample)
        xy = grid_positions((0.0, 0.0), ends, fine)
        grid = _raster(xy, fine, grid_um)
    archive.grid.require_inside(xy)
    patterns = patterns_at(archive, name, xy, interpolation)
    if output is None:
        return np.asarray(patterns.read(0, len(xy)), dtype=np.float32)
    nearest = archive.grid.indices_of(xy)
    scan = select(archive.scan(name), patterns, grid, nearest)
    overview = None
    if os.fspath(output).lower().endswith(".png") and "maps/mean_intensity" in archive.layers:
        overview = (archive.map("mean_intensity"), archive.grid.extent)
    return write_patterns(
        scan,
        output,
        positions=xy,
        measured_dtype=archive.dtype,
        dtype=dtype,
        intensity_range=layer_range(archive, name),
        origin=origin_of(archive, name),
        sample_frame=sample_frame_of(scan),
        overview=overview if min(archive.grid.n_rows, archive.grid.n_columns) > 1 else None,
        force=force,
        progress=stage(progress, "querying"),
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


def _raster(
    xy: npt.NDArray, shape: tuple[int, int], step_um: tuple[float | None, float | None]
) -> Grid:
    """The grid of a raster of positions, with its steps in µm where they are known."""
    ny, nx = shape
    points = xy.reshape(ny, nx, 2)
    dx = abs(points[0, 1, 0] - points[0, 0, 0]) if nx > 1 else 0.0
    dy = abs(points[1, 0, 1] - points[0, 0, 1]) if ny > 1 else 0.0
    step_x, step_y = step_um
    return Grid(
        "square",
        nx,
        ny,
        (step_x * dx or None) if step_x else None,
        (step_y * dy or None) if step_y else None,
    )
