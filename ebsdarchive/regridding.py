"""Square and hexagonal grids over the area of a scan: where their points are in its steps."""

from __future__ import annotations

from math import floor, sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError, GeometryError
from ebsdarchive.geometry import MAX_POSITIONS, Grid

__all__ = ["regridded"]

SLACK = 1e-9  # of a step, by which rounding may move a last point out of the scan


def regridded(
    grid: Grid, kind: Literal["square", "hexagonal"], step: float = 1.0
) -> tuple[Grid, npt.NDArray[np.float64]]:
    """A grid over the area that a scan's points span, from the first of them on.

    Its points lie as far apart in the specimen along x as along y (square), or all at the same
    distance from their neighbours (hexagonal: rows √3/2 of it apart, every second one shifted by
    half of it), however far apart the scan's own columns and rows are. Rows of a hexagonal grid
    have as many points as fit, so that even rows have one less where the last is outside.

    Parameters
    ----------
    grid
        Of the scan.
    kind
        Of the new grid.
    step
        Distance between its columns, in the scan's steps along x.

    Returns
    -------
    Grid
        With its steps in µm where both of the scan's are known.
    (m, 2) ndarray of float64
        Positions (x, y) of its points, in steps of the scan.

    Raises
    ------
    ArgumentError
        If the step is not positive, or there would be too many points.
    GeometryError
        If the scan is too narrow for two columns and rows of a hexagonal grid.
    """
    if not (np.isfinite(step) and step > 0):
        raise ArgumentError(f"step: expected a positive number, found {step:g}")
    x_max, y_max = grid.extent
    row_step = (sqrt(3) / 2 if kind == "hexagonal" else 1.0) * step / grid.row_distance
    if (x_max / step + 1) * (y_max / row_step + 1) > MAX_POSITIONS:
        raise ArgumentError(
            f"step: expected at most {MAX_POSITIONS} points, found a step of {step:g} of the "
            f"scan's; ask for a larger one"
        )
    n_columns, n_rows = floor(x_max / step + SLACK) + 1, floor(y_max / row_step + SLACK) + 1
    even = None
    if kind == "hexagonal":
        even = floor(x_max / step - 0.5 + SLACK) + 1
        if min(n_columns, n_rows) < 2:
            raise GeometryError(
                f"regrid: expected a scan of at least 2 columns and 2 rows of the new grid, found "
                f"room for {n_columns} and {n_rows}; ask for a smaller step"
            )
    step_um = None
    if grid.step_x_um is not None and grid.step_y_um is not None:
        step_um = grid.step_x_um * step
    down_um = None if step_um is None else step_um * (sqrt(3) / 2 if kind == "hexagonal" else 1.0)
    new = Grid(kind, n_columns, n_rows, step_um, down_um, even)
    return new, np.minimum(new.positions() * (step, row_step), grid.extent)
