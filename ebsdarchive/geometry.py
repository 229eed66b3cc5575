"""Where the points of a scan are: grids, positions, paths, and projection-centre conventions.

A position is (x, y) = (column, row), counted in scan steps from the first point. Arrays are rows
before columns. This module knows nothing about files or pattern intensities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError, GeometryError

__all__ = [
    "Grid",
    "grid_positions",
    "linear_weights",
    "path_positions",
    "pc_from_bruker",
    "pc_to_bruker",
    "points_around",
]

PC_CONVENTIONS = ("bruker", "edax", "oxford", "emsoft4", "emsoft5")
MAX_POSITIONS = 50_000_000  # of one path or raster; they are held in memory


@dataclass(frozen=True)
class Grid:
    """The points of a scan, in the order in which their patterns are stored.

    Parameters
    ----------
    kind
        "square" (any rectangular raster) or "hexagonal" (every second row shifted by half a step).
    n_columns, n_rows
        Points in the first row, and number of rows.
    step_x_um, step_y_um
        Distance between columns and between rows in µm; None where the source does not say.
    n_columns_even
        Hexagonal only: points in the 2nd, 4th, … row, `n_columns` or `n_columns` - 1 (EDAX counts
        rows from one, hence "even").
    """

    kind: Literal["square", "hexagonal"]
    n_columns: int
    n_rows: int
    step_x_um: float | None = None
    step_y_um: float | None = None
    n_columns_even: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("square", "hexagonal"):
            raise GeometryError(f"grid: expected square or hexagonal, found {self.kind!r}")
        if self.n_columns < 1 or self.n_rows < 1:
            raise GeometryError(
                f"grid: expected at least one row and one column, "
                f"found {self.n_rows} rows and {self.n_columns} columns"
            )
        if self.kind == "square":
            if self.n_columns_even is not None:
                raise GeometryError("grid: n_columns_even belongs to hexagonal grids only")
        elif self.n_columns_even not in (self.n_columns, self.n_columns - 1):
            raise GeometryError(
                f"grid: expected even rows of {self.n_columns - 1} or {self.n_columns} points, "
                f"found {self.n_columns_even}"
            )
        for axis, step in (("x", self.step_x_um), ("y", self.step_y_um)):
            if step is not None and not (np.isfinite(step) and step > 0):
                raise GeometryError(f"grid: expected a positive step along {axis}, found {step}")

    @property
    def is_hexagonal(self) -> bool:
        return self.kind == "hexagonal"

    @property
    def row_starts(self) -> npt.NDArray[np.int64]:
        """(n_rows + 1,) index of each row's first point, and the number of points at the end."""
        lengths = np.full(self.n_rows, self.n_columns, dtype=np.int64)
        if self.n_columns_even is not None:
            lengths[1::2] = self.n_columns_even
        return np.concatenate([[0], np.cumsum(lengths)])

    @property
    def size(self) -> int:
        """Number of points, and of patterns."""
        if self.n_columns_even is None:
            return self.n_columns * self.n_rows
        n_even_rows = self.n_rows // 2
        return self.n_columns * (self.n_rows - n_even_rows) + self.n_columns_even * n_even_rows

    @property
    def extent(self) -> tuple[float, float]:
        """Largest x and y of any point, in steps; the smallest are 0."""
        shift = 0.5 if self.n_columns_even == self.n_columns and self.n_rows > 1 else 0.0
        return self.n_columns - 1 + shift, float(self.n_rows - 1)

    @property
    def row_distance(self) -> float:
        """Distance between rows, in steps along x: by the steps in µm where they are known, else
        as the kind of grid has it."""
        if self.step_x_um is not None and self.step_y_um is not None:
            return self.step_y_um / self.step_x_um
        return sqrt(3) / 2 if self.is_hexagonal else 1.0

    def positions(self) -> npt.NDArray[np.float64]:
        """(size, 2) position (x, y) of every point in steps, in storage order."""
        return self.positions_of(0, self.size)

    def positions_of(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """(stop - start, 2) position (x, y) of the points with index start … stop - 1."""
        return self.positions_at(np.arange(start, stop))

    def positions_at(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(m, 2) position (x, y) of the points with the given indices (m,)."""
        starts = self.row_starts
        row = np.searchsorted(starts, index, side="right") - 1
        x = (index - starts[row]).astype(np.float64)
        if self.is_hexagonal:
            x += 0.5 * (row % 2)
        return np.column_stack([x, row])

    def indices_of(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """(m,) index of the point nearest to each (x, y) of `xy` (m, 2), in its nearest row.

        Raises
        ------
        GeometryError
            If a position is outside the scan.
        """
        self.require_inside(xy)
        starts = self.row_starts
        row = np.clip(np.rint(xy[:, 1]).astype(np.int64), 0, self.n_rows - 1)
        shift = 0.5 * (row % 2) if self.is_hexagonal else 0.0
        length = starts[row + 1] - starts[row]
        column = np.clip(np.rint(xy[:, 0] - shift).astype(np.int64), 0, length - 1)
        return starts[row] + column

    def require_inside(self, xy: npt.NDArray[np.float64]) -> None:
        """Raise GeometryError unless every (x, y) in `xy` (m, 2) lies within the scan."""
        x_max, y_max = self.extent
        slack = 1e-9
        inside = (
            np.isfinite(xy).all(axis=1)
            & (xy >= -slack).all(axis=1)
            & (xy[:, 0] <= x_max + slack)
            & (xy[:, 1] <= y_max + slack)
        )
        if not inside.all():
            bad = xy[np.argmin(inside)]
            raise GeometryError(
                f"position ({bad[0]:g}, {bad[1]:g}): expected x from 0 to {x_max:g} and y from 0 "
                f"to {y_max:g} (in steps), found a point outside the scan; a field is not "
                f"extrapolated"
            )

    def inside(self, xy: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Positions as a (m, 2) array. Raises GeometryError if one lies outside the scan."""
        positions = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        self.require_inside(positions)
        return positions

    def normalise(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(m, 2) positions in steps to the neural field's coordinates, -1 … 1 per axis.

        An axis with a single point maps to 0. Same as ``linspace(-1, 1, n)`` on a square grid.
        """
        extent = np.array(self.extent)
        span = np.where(extent > 0, extent, 1.0)
        return np.where(extent > 0, 2.0 * np.asarray(xy) / span - 1.0, 0.0)

    def normalised_per_step(self) -> npt.NDArray[np.float64]:
        """(2,) change of `normalise` for one step along x and y; 0 on an axis of one point."""
        extent = np.array(self.extent)
        return np.where(extent > 0, 2.0 / np.where(extent > 0, extent, 1.0), 0.0)

    def to_map(self, values: npt.NDArray) -> npt.NDArray:
        """(size, …) values as (n_rows, n_columns, …), NaN or 0 behind the end of short rows."""
        values = np.asarray(values)
        if self.n_columns_even is None or self.n_columns_even == self.n_columns:
            return values.reshape(self.n_rows, self.n_columns, *values.shape[1:])
        fill = np.nan if values.dtype.kind == "f" else 0
        full = np.full((self.n_rows, self.n_columns, *values.shape[1:]), fill, values.dtype)
        full[self.map_mask()] = values
        return full

    def map_mask(self) -> npt.NDArray[np.bool_]:
        """(n_rows, n_columns) True where `to_map` holds a point of the scan."""
        mask = np.ones((self.n_rows, self.n_columns), dtype=bool)
        if self.n_columns_even is not None and self.n_columns_even < self.n_columns:
            mask[1::2, -1] = False
        return mask

    def blocks(self, pattern_bytes: int, block_bytes: int = 16 << 20) -> Iterator[tuple[int, int]]:
        """Ranges (start, stop) of point indices that together cover the scan once, in order."""
        length = self.block_length(pattern_bytes, block_bytes)
        for start in range(0, self.size, length):
            yield start, min(start + length, self.size)

    def block_length(self, pattern_bytes: int, block_bytes: int = 16 << 20) -> int:
        """Points per block: whole rows where a row fits into `block_bytes`, at least one point."""
        fitting = max(1, block_bytes // max(1, pattern_bytes))
        if fitting >= self.size:
            return self.size
        row = self.n_columns
        if self.n_columns_even is not None and self.n_columns_even != self.n_columns:
            row += self.n_columns_even  # two rows, so that every block starts at the same kind
        return fitting // row * row if fitting >= row else fitting


def path_positions(
    vertices: npt.ArrayLike, samples: int | None = None, spacing: float | None = None
) -> npt.NDArray[np.float64]:
    """Equidistant positions along a polyline, both ends included.

    Parameters
    ----------
    vertices
        (m, 2) positions (x, y) in steps, m ≥ 2.
    samples
        Number of positions; with neither this nor `spacing`, one per step of length.
    spacing
        Distance between positions in steps, reduced slightly so that both ends are met.

    Returns
    -------
    (samples, 2) ndarray of float64
    """
    corners = np.asarray(vertices, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 2:
        raise ArgumentError(
            f"path: expected at least two positions x,y, found shape {corners.shape}"
        )
    lengths = np.hypot(*np.diff(corners, axis=0).T)
    distance = np.concatenate([[0.0], np.cumsum(lengths)])
    total = distance[-1]
    if not np.isfinite(total) or total == 0:
        raise ArgumentError("path: expected two different positions, found a path of no length")
    if samples is not None and spacing is not None:
        raise ArgumentError("path: expected samples or spacing, found both")
    if spacing is not None:
        if not spacing > 0:
            raise ArgumentError(f"path: expected a positive spacing, found {spacing}")
        if total / spacing > MAX_POSITIONS:
            raise ArgumentError(
                f"path: expected at most {MAX_POSITIONS} samples, found a spacing of {spacing:g} "
                f"along {total:g}"
            )
        samples = int(np.ceil(total / spacing - 1e-9)) + 1
    if samples is None:
        samples = int(np.ceil(total)) + 1
    if not 2 <= samples <= MAX_POSITIONS:
        raise ArgumentError(f"path: expected 2 to {MAX_POSITIONS} samples, found {samples}")
    along = np.linspace(0.0, total, samples)
    return np.column_stack([np.interp(along, distance, corners[:, axis]) for axis in (0, 1)])


def grid_positions(
    corner: tuple[float, float], opposite: tuple[float, float], shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """(ny * nx, 2) positions of a raster between two corners, row by row; `shape` is (ny, nx)."""
    ny, nx = shape
    if nx < 1 or ny < 1:
        raise ArgumentError(f"grid: expected a shape of at least 1 x 1, found {nx} x {ny}")
    if nx * ny > MAX_POSITIONS:
        raise ArgumentError(
            f"grid: expected at most {MAX_POSITIONS} positions, found {nx} x {ny}; ask for parts"
        )
    x = np.linspace(corner[0], opposite[0], nx) if nx > 1 else np.array([corner[0]])
    y = np.linspace(corner[1], opposite[1], ny) if ny > 1 else np.array([corner[1]])
    yy, xx = np.meshgrid(y, x, indexing="ij")
    return np.column_stack([xx.ravel(), yy.ravel()])


def linear_weights(
    grid: Grid, xy: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The points around positions (m, 2) within the scan, for linear interpolation between them.

    It is linear along the row above and along the row below, where an end is continued, and between
    the two.

    Returns
    -------
    (m, 4) indices of points, and their weights (m, 4), whose sum is 1.
    """
    xy = np.clip(xy, 0.0, grid.extent)
    starts = grid.row_starts
    upper = np.minimum(xy[:, 1].astype(np.int64), max(grid.n_rows - 2, 0))
    down = xy[:, 1] - upper
    indices, weights = [], []
    for row, share in ((upper, 1 - down), (np.minimum(upper + 1, grid.n_rows - 1), down)):
        last = starts[row + 1] - starts[row] - 1
        x = np.clip(xy[:, 0] - (0.5 * (row % 2) if grid.is_hexagonal else 0.0), 0.0, last)
        column = np.minimum(x.astype(np.int64), np.maximum(last - 1, 0))
        right = x - column
        indices += [starts[row] + column, starts[row] + np.minimum(column + 1, last)]
        weights += [share * (1 - right), share * right]
    return np.stack(indices, axis=1), np.stack(weights, axis=1)


def points_around(
    grid: Grid, xy: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The points of the four columns of each of the four rows around positions within the scan.

    Beyond an edge, or the end of a row, the last point stands in for those that are missing.

    Returns
    -------
    (m, 16) indices of points, and (m, 16, 2) where the position lies from their places, in steps;
    the four nearest are those at less than one step along both axes.
    """
    starts = grid.row_starts
    rows = xy[:, 1].astype(np.int64)[:, None] + np.arange(-1, 3)  # (m, 4)
    down = xy[:, 1, None] - rows
    there = np.clip(rows, 0, grid.n_rows - 1)
    x = xy[:, 0, None] - (0.5 if grid.is_hexagonal else 0.0) * (there % 2)
    columns = np.floor(x).astype(np.int64)[..., None] + np.arange(-1, 3)  # (m, 4, 4)
    right = x[..., None] - columns
    last = (starts[there + 1] - starts[there] - 1)[..., None]
    indices = starts[there][..., None] + np.clip(columns, 0, last)
    away = np.stack([right, np.broadcast_to(down[..., None], right.shape)], axis=-1)
    return indices.reshape(-1, 16), away.reshape(-1, 16, 2)


def pc_to_bruker(
    pc: npt.ArrayLike,
    convention: str,
    shape: tuple[int, int],
    pixel_size_um: float = 1.0,
    binning: float = 1.0,
) -> npt.NDArray[np.float64]:
    """Convert projection centres from a vendor's convention to Bruker's.

    Parameters
    ----------
    pc
        (..., 3). Bruker: fractions of width, height, height; origin upper left. EDAX: x*, y*, z*
        as fractions of width, height and the smaller side; origin lower left. Oxford: fractions of
        the width, origin lower left. EMsoft: xpc, ypc in unbinned pixels from the centre, L in µm
        (version 4 has the opposite sign of xpc).
    convention
        One of "bruker", "edax", "oxford", "emsoft4", "emsoft5".
    shape
        Detector (rows, columns) in binned pixels.
    pixel_size_um, binning
        EMsoft only: unbinned pixel size and binning factor.

    Returns
    -------
    (..., 3) ndarray of float64
        (PCx, PCy, PCz) as fractions of width, height, height; origin upper left.

    References
    ----------
    kikuchipy, EBSDDetector, Notes.
    """
    x, y, z = _components(pc)
    ny, nx = shape
    if convention == "bruker":
        out = (x, y, z)
    elif convention == "edax":
        out = (x, 1 - y, z * min(nx, ny) / ny)
    elif convention == "oxford":
        out = (x, 1 - y * nx / ny, z * nx / ny)
    elif convention in ("emsoft4", "emsoft5"):
        sign = 1 if convention == "emsoft4" else -1
        out = (
            0.5 + sign * x / (nx * binning),
            0.5 - y / (ny * binning),
            z / (ny * binning * pixel_size_um),
        )
    else:
        raise _unknown_convention(convention)
    return np.stack(out, axis=-1)


def pc_from_bruker(
    pc: npt.ArrayLike,
    convention: str,
    shape: tuple[int, int],
    pixel_size_um: float = 1.0,
    binning: float = 1.0,
) -> npt.NDArray[np.float64]:
    """Convert projection centres from Bruker's convention; the inverse of `pc_to_bruker`."""
    x, y, z = _components(pc)
    ny, nx = shape
    if convention == "bruker":
        out = (x, y, z)
    elif convention == "edax":
        out = (x, 1 - y, z * ny / min(nx, ny))
    elif convention == "oxford":
        out = (x, (1 - y) * ny / nx, z * ny / nx)
    elif convention in ("emsoft4", "emsoft5"):
        sign = 1 if convention == "emsoft4" else -1
        out = (
            sign * (x - 0.5) * nx * binning,
            (0.5 - y) * ny * binning,
            z * ny * binning * pixel_size_um,
        )
    else:
        raise _unknown_convention(convention)
    return np.stack(out, axis=-1)


def _components(pc: npt.ArrayLike) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    array = np.asarray(pc, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != 3:
        raise GeometryError(f"projection centre: expected 3 numbers, found shape {array.shape}")
    return array[..., 0], array[..., 1], array[..., 2]


def _unknown_convention(convention: str) -> GeometryError:
    return GeometryError(
        f"projection centre: expected a convention out of {', '.join(PC_CONVENTIONS)}, "
        f"found {convention!r}"
    )
