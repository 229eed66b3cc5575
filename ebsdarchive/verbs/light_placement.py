"""Where images of another instrument lie on a scan, as far as somebody knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid

__all__ = ["Placement", "placed"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Placement:
    """Where images lie on a scan, as far as somebody knows.

    Parameters
    ----------
    same_field
        They show just the scanned area. Also taken so where they have as many pixels as the scan
        has points and no pixel size is given.
    pixel_size_um
        Edge of a pixel on the specimen.
    origin
        (x, y) of the centre of their first pixel, in steps; by default both centres coincide.
    turn_deg
        Angle from the scan's x to the images' rows, towards y.
    mirrored
        The images show the specimen mirrored, left and right exchanged.
    """

    same_field: bool = False
    pixel_size_um: float | None = None
    origin: tuple[float, float] | None = None
    turn_deg: float = 0.0
    mirrored: bool = False


def placed(
    placement: Placement, grid: Grid, shape: tuple[int, ...], where: str
) -> tuple[Floats, str]:
    """Where images lie by what is known.

    Parameters
    ----------
    shape
        (rows, columns) of the images.
    where
        Their file, for errors.

    Returns
    -------
    (2, 3) transform from (column, row, 1) to (x, y) in steps, and "same-field" or "given".

    Raises
    ------
    ArgumentError
        If the placement contradicts itself or leaves the place open.
    """
    height, width = shape
    size = placement.pixel_size_um
    if size is None:
        if placement.origin is not None or placement.turn_deg:
            raise ArgumentError(
                f"{where}: expected a pixel size with an origin or a turn, found none; give "
                f"--pixel-size in um"
            )
        if not placement.same_field and shape != (grid.n_rows, grid.n_columns):
            raise ArgumentError(
                f"{where}: expected to know where images of {height} x {width} pixels lie on "
                f"{grid.n_rows} x {grid.n_columns} points, found nothing said; give --pixel-size "
                f"in um, or --same-field if they show just the scanned area"
            )
        x_end, y_end = grid.extent
        linear = np.diag([(x_end + 1) / width, (y_end + 1) / height])
        name = "same-field"
    else:
        linear = _linear(placement, grid, size, where)
        name = "given"
    if placement.mirrored:
        linear = linear * [-1, 1]
    offset = np.array(grid.extent) / 2 - linear @ [(width - 1) / 2, (height - 1) / 2]
    if placement.origin is not None:
        if not np.isfinite(placement.origin).all():
            raise ArgumentError(f"origin: expected x,y in steps, found {placement.origin}")
        offset = np.array(placement.origin, np.float64)
    return np.column_stack([linear, offset]), name


def _linear(placement: Placement, grid: Grid, size: float, where: str) -> Floats:
    """(2, 2) from pixels to steps."""
    if placement.same_field:
        raise ArgumentError(
            f"{where}: expected a pixel size or the same field, found both; leave one out"
        )
    if not (np.isfinite(size) and size > 0):
        raise ArgumentError(f"pixel_size_um: expected a number above 0, found {size}")
    if not np.isfinite(placement.turn_deg):
        raise ArgumentError(f"turn_deg: expected an angle, found {placement.turn_deg}")
    if grid.step_x_um is None or grid.step_y_um is None:
        raise ArgumentError(
            f"{where}: expected a scan of known step to use a pixel size in um, found none; give "
            f"--same-field if the images show just the scanned area"
        )
    turn = np.radians(placement.turn_deg)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.diag([size / grid.step_x_um, size / grid.step_y_um]) @ rotation
