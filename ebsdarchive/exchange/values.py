"""Values at positions as files for other programs: CSV, NumPy archives and netCDF."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive import __version__
from ebsdarchive.archive.store import replacing
from ebsdarchive.geometry import Grid

__all__ = ["VALUE_FORMATS", "WrittenValues", "write_values"]

VALUE_FORMATS = (".csv", ".npz", ".nc")


@dataclass(frozen=True)
class WrittenValues:
    """What was written: the file, how many values, and its size."""

    path: str
    count: int
    nbytes: int


def write_values(
    output: str | os.PathLike[str],
    values: npt.NDArray,
    name: str,
    long_name: str,
    units: str,
    xy: npt.NDArray[np.float64],
    scan: Grid,
    *,
    raster: Grid | None = None,
    origin: dict[str, Any],
    force: bool = False,
) -> WrittenValues:
    """Write one value for each position.

    CSV has the columns x and y in steps, as `query --points` reads them, and x_um and y_um where
    the scan's step is known. An npz of a raster has the values as (rows, columns), a netCDF file
    has them over y and x.

    Parameters
    ----------
    output
        Ends in one of `VALUE_FORMATS`.
    values, name, long_name, units
        (m,) values and what they are; the column or variable is called `name`.
    xy
        (m, 2) positions in steps of the scan, whose grid is `scan`.
    raster
        The square grid that the positions make row by row, if they do.
    origin
        Plain values that say where they come from; CSV has no place for them.
    """
    suffix = Path(output).suffix.lower()
    origin = {"written_by": f"ebsdarchive {__version__}", **origin}
    with replacing(output, force=force) as temporary:
        if suffix == ".csv":
            _write_csv(temporary, values, name, xy, scan)
        elif suffix == ".npz":
            shape = values.shape if raster is None else (raster.n_rows, raster.n_columns)
            arrays: dict[str, Any] = {
                name: values.reshape(shape),
                "positions": xy.reshape(*shape, 2),
            }
            with temporary.open("wb") as file:
                np.savez_compressed(file, units=units, origin=json.dumps(origin), **arrays)
        else:
            said = {"units": units, "long_name": long_name}
            _write_nc(temporary, values, name, said, xy, raster, origin)
    return WrittenValues(os.fspath(output), len(values), Path(output).stat().st_size)


def _write_csv(path: Path, values: npt.NDArray, name: str, xy: npt.NDArray, scan: Grid) -> None:
    known = scan.step_x_um is not None and scan.step_y_um is not None
    um = xy * (scan.step_x_um, scan.step_y_um) if known else np.empty((len(xy), 0))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y", *(["x_um", "y_um"] if known else []), name])
        for position, there, value in zip(xy, um, values, strict=True):
            cells = [f"{number:.10g}" for number in (*position, *there)]
            writer.writerow([*cells, f"{value:.6g}"])


def _write_nc(
    path: Path,
    values: npt.NDArray,
    name: str,
    said: dict[str, str],
    xy: npt.NDArray[np.float64],
    raster: Grid | None,
    origin: dict[str, Any],
) -> None:
    import xarray

    steps = {axis: {"units": "step", "long_name": axis} for axis in ("x", "y")}
    dims: tuple[str, ...] = ("point",)
    if raster is None:
        coords = {axis: ("point", xy[:, i], steps[axis]) for i, axis in enumerate(("x", "y"))}
    else:
        dims, shape = ("y", "x"), (raster.n_rows, raster.n_columns)
        values, rows = values.reshape(shape), xy.reshape(*shape, 2)
        coords = {
            "x": ("x", rows[0, :, 0], steps["x"]),
            "y": ("y", rows[:, 0, 1], steps["y"]),
        }
    dataset = xarray.Dataset(
        {name: (dims, values, said)}, coords=coords, attrs={"origin": json.dumps(origin)}
    )
    encoding = {name: {"zlib": True, "complevel": 4, "fletcher32": True}}
    dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)
