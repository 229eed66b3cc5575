"""Formats of labelled arrays: netCDF 4, Zarr and NumPy's npz, all written block by block.

On a raster the dimensions are those of the xarray engine, patterns(y, x, v, u), with coordinates in
µm where the step is known. Hexagonal scans, paths and lists of points have patterns(point, v, u),
with coordinates in steps of the archived scan.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5netcdf
import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.output import stop_if_failed
from ebsdarchive.archive.store import open_for_writing
from ebsdarchive.errors import OutputError
from ebsdarchive.exchange.columns import Column
from ebsdarchive.exchange.writing.job import Job
from ebsdarchive.exchange.writing.record import geometry_record

__all__ = ["write_netcdf", "write_npz", "write_zarr"]

CHUNK_BYTES = 4 << 20


def write_netcdf(job: Job) -> None:
    """netCDF 4, gzip-coded, with a checksum for each pattern."""
    axes, dims = _axes(job)
    chunks = (1,) * (len(dims) - 2) + job.shape[1:]
    sizes = dict(zip(dims, _full_shape(job, dims), strict=True))
    with open_for_writing(job.path) as hdf5, h5netcdf.File(hdf5, "w") as file:
        file.dimensions = sizes
        patterns = file.create_variable(
            "patterns",
            dims,
            np.dtype(job.dtype),
            chunks=chunks,
            compression="gzip",
            compression_opts=1,
            shuffle=np.dtype(job.dtype).itemsize > 1,
            fletcher32=True,
        )
        patterns.attrs["units"] = "counts"
        for name, axis in axes.items():
            variable = file.create_variable(name, (axis.dim,), np.dtype(float), data=axis.values)
            variable.attrs.update(axis.about(name))
        centres = _centres(job, dims)
        if centres is not None:
            file.dimensions["component"] = 3
            where = (*dims[:-2], "component")
            file.create_variable("pc_bruker", where, centres.dtype, data=centres)
        for column, values in _columns(job, dims):
            texts = values.dtype.kind == "U"
            kind = h5py.string_dtype() if texts else values.dtype
            held = values.astype(object) if texts else values
            variable = file.create_variable(column.name, dims[:-2], kind, data=held)
            variable.attrs.update(column.about())
        _fill(job, patterns, dims)
        file.attrs.update(_about(job))


def write_zarr(job: Job) -> None:
    """Zarr (format 2, which all versions of zarr read), with zarr's own compression."""
    try:
        import zarr
    except ImportError as error:
        raise OutputError(
            f"{job.target}: expected the package zarr for this format, found it is not installed; "
            f"run pip install 'ebsdarchive[zarr]'"
        ) from error
    axes, dims = _axes(job)
    shape = _full_shape(job, dims)
    pattern_bytes = int(np.prod(job.shape[1:])) * np.dtype(job.dtype).itemsize
    along = min(shape[len(dims) - 3], max(1, CHUNK_BYTES // pattern_bytes))
    root = zarr.open_group(str(job.path), mode="w", zarr_format=2)
    patterns = root.create_array(
        "patterns",
        shape=shape,
        chunks=(*(1,) * (len(dims) - 3), along, *job.shape[1:]),
        dtype=np.dtype(job.dtype).newbyteorder("<"),
        fill_value=None,  # xarray takes another one for "missing", and a count of 0 is not
    )
    patterns.attrs.update({"_ARRAY_DIMENSIONS": list(dims), "units": "counts"})
    for name, axis in axes.items():
        variable = root.create_array(name, shape=axis.values.shape, dtype="<f8", fill_value=None)
        variable[:] = axis.values
        variable.attrs.update({"_ARRAY_DIMENSIONS": [axis.dim], **axis.about(name)})
    centres = _centres(job, dims)
    if centres is not None:
        variable = root.create_array("pc_bruker", shape=centres.shape, dtype="<f8", fill_value=None)
        variable[:] = centres
        variable.attrs["_ARRAY_DIMENSIONS"] = [*dims[:-2], "component"]
    for column, values in _columns(job, dims):
        kind = values.dtype.newbyteorder("<")
        variable = root.create_array(column.name, shape=values.shape, dtype=kind, fill_value=None)
        variable[...] = values
        variable.attrs.update({"_ARRAY_DIMENSIONS": list(dims[:-2]), **column.about()})
    _fill(job, patterns, dims)
    root.attrs.update(_about(job))
    zarr.consolidate_metadata(str(job.path), zarr_format=2)


def write_npz(job: Job) -> None:
    """A NumPy archive of patterns, positions and their origin."""
    with zipfile.ZipFile(job.path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("patterns.npy", "w", force_zip64=True) as entry:
            dtype = np.dtype(job.dtype).newbyteorder("<")
            header = {"descr": dtype.str, "fortran_order": False, "shape": job.shape}
            np.lib.format.write_array_header_1_0(entry, header)
            for block in job.blocks:
                entry.write(np.ascontiguousarray(block, dtype).data)
        record = {
            "quantisation": job.quantisation.record(),
            "geometry": geometry_record(job.scan),
        }
        arrays = {
            "positions": job.positions,
            "origin": np.array(json.dumps(job.origin | record)),
            "pc_bruker": _centres(job, ("point", "v", "u")),
            **{column.name: column.values for column in job.columns},
        }
        for name, values in arrays.items():
            if values is None:
                continue
            with file.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, values, allow_pickle=False)


@dataclass(frozen=True)
class _Axis:
    """A coordinate along a dimension of the patterns."""

    dim: str
    values: npt.NDArray[np.float64]
    units: str = "step"

    def about(self, name: str) -> dict[str, str]:
        return {"units": self.units, "long_name": f"{name} position"}


def _axes(job: Job) -> tuple[dict[str, _Axis], tuple[str, ...]]:
    """Coordinates by name, and the dimensions of the patterns."""
    grid, (x, y) = job.scan.grid, job.positions.T
    if not grid.is_hexagonal and grid.n_rows > 1:
        columns, rows = x[: grid.n_columns], y[:: grid.n_columns]
        raster = np.array_equal(np.tile(columns, grid.n_rows), x)
        if raster and np.array_equal(np.repeat(rows, grid.n_columns), y):
            axes = {
                "x": _along("x", columns, grid.step_x_um),
                "y": _along("y", rows, grid.step_y_um),
            }
            return axes, ("y", "x", "v", "u")
    return {"x": _Axis("point", x), "y": _Axis("point", y)}, ("point", "v", "u")


def _along(name: str, steps: npt.NDArray[np.float64], step_um: float | None) -> _Axis:
    """An axis of a raster, in µm from the archived scan's first point where the step is known."""
    if step_um is None or len(steps) < 2:
        return _Axis(name, steps)
    return _Axis(name, steps * (step_um / (steps[1] - steps[0])), "um")


def _full_shape(job: Job, dims: tuple[str, ...]) -> tuple[int, ...]:
    n, sy, sx = job.shape
    grid = job.scan.grid
    return (grid.n_rows, grid.n_columns, sy, sx) if len(dims) == 4 else (n, sy, sx)


def _centres(job: Job, dims: tuple[str, ...]) -> npt.NDArray | None:
    """Projection centres of the points, (…, 3) in Bruker's convention, where they vary."""
    pc = job.scan.detector.pc_bruker
    if pc is None or np.ndim(pc) < 2 or len(pc) != job.shape[0]:
        return None
    return np.asarray(pc, float).reshape(*_full_shape(job, dims)[:-2], 3)


def _columns(job: Job, dims: tuple[str, ...]) -> Iterator[tuple[Column, npt.NDArray]]:
    """Columns of values in the shape of the map; positions are coordinates already."""
    for column in job.columns:
        if column.name not in ("x", "y"):
            yield column, column.values.reshape(_full_shape(job, dims)[:-2])


def _fill(job: Job, target: Any, dims: tuple[str, ...]) -> None:
    """Write the blocks: along the points, or row by row."""
    start = 0
    for block in job.blocks:
        if len(dims) == 3:
            target[start : start + len(block)] = block
        else:
            for row, first, last in _rows(start, start + len(block), job.scan.grid.n_columns):
                at = row * job.scan.grid.n_columns
                target[row, first:last] = block[at + first - start : at + last - start]
        start += len(block)
        stop_if_failed()


def _rows(start: int, stop: int, n_columns: int) -> Iterator[tuple[int, int, int]]:
    """(row, first column, end) of the parts of rows that points start … stop - 1 are in."""
    while start < stop:
        row, first = divmod(start, n_columns)
        last = min(n_columns, first + stop - start)
        yield row, first, last
        start += last - first


def _about(job: Job) -> dict[str, Any]:
    """Attributes of the whole; rows and columns of points that are a map."""
    grid = job.scan.grid
    if grid.is_hexagonal:
        return dict(job.about())
    return {**job.about(), "n_rows": grid.n_rows, "n_columns": grid.n_columns}
