"""Patterns in netCDF and Zarr: an array whose dimensions are named.

The rule: two dimensions of the scan (y, x) or one of its points, and two of the detector (v, u), by
the names below and in any order. Arrays of Zarr without names are taken as (y, x, v, u) or
(point, v, u), and the source's metadata say so. Values are never scaled: what a scale factor or a
fill value means is left to whoever reads it in the metadata.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive import __version__
from ebsdarchive.errors import FormatError
from ebsdarchive.exchange.readable import NoPatternsError
from ebsdarchive.exchange.source_text import json_values, sound
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, Scan, SourceFile

__all__ = ["names_with_patterns", "read", "scan_names"]

_ROLES = {
    "y": ("y", "scan_y", "map_y"),
    "x": ("x", "scan_x", "map_x"),
    "point": ("point", "points", "n", "pattern", "index"),
    "v": ("v", "sy", "dy", "ky", "detector_y", "row"),
    "u": ("u", "sx", "dx", "kx", "detector_x", "column", "col"),
}
_ORDERS = (("y", "x", "v", "u"), ("point", "v", "u"))
_MICROMETRES = {
    **dict.fromkeys(("um", "µm", "μm", "micrometer", "micrometre", "micron", "microns"), 1.0),
    "nm": 1e-3,
    "mm": 1e3,
}
_RULE = "dimensions (y, x, v, u) or (point, v, u); also known are " + "; ".join(
    f"{role}: {', '.join(names[1:])}" for role, names in _ROLES.items()
)


@dataclass(frozen=True)
class _Variable:
    """An array of a file: dimensions may be unnamed."""

    dims: tuple[str, ...] | None
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def roles(self) -> tuple[str, ...] | None:
        """What each dimension is, in the order of the array; None where that is not understood."""
        if self.dims is None:
            return next((order for order in _ORDERS if len(order) == len(self.shape)), None)
        named = tuple(
            next((role for role, names in _ROLES.items() if dim.lower() in names), "")
            for dim in self.dims
        )
        return named if any(sorted(named) == sorted(order) for order in _ORDERS) else None


def scan_names(path: Path) -> tuple[str, ...]:
    """Names of the arrays of patterns."""
    with sound(path):
        return tuple(_pattern_arrays(path, _variables(path)))


names_with_patterns = scan_names  # that of files without patterns raises NoPatternsError


def read(path: Path, scan: str | None = None) -> Scan:
    """Open an array of patterns; by default the first.

    Raises
    ------
    FormatError
        If no array has dimensions that are understood, or zarr is not installed.
    """
    with sound(path):
        variables = _variables(path)
        arrays = _pattern_arrays(path, variables)
        title = scan if scan is not None else next(iter(arrays))
        name, variable = arrays[title]
        patterns = _NamedPatterns(path, name, variable)
        metadata = {
            "array": name,
            "dimensions": list(variable.dims or variable.roles or ()),
            "dimensions_named": variable.dims is not None,
            "attributes": json_values(variable.attributes),
        }
        if path.is_dir():
            metadata["chunks_not_stored"] = _chunks_not_stored(path, name)
        return Scan(
            patterns=patterns,
            grid=_grid(path, patterns, variables),
            detector=Detector((patterns.shape[1], patterns.shape[2])),
            source=SourceFile(
                path=str(path),
                format="Zarr" if path.is_dir() else "netCDF",
                reader=f"ebsdarchive {__version__}",
                metadata=metadata,
                parts=_parts(path) if path.is_dir() else (),
            ),
            name=title,
        )


def _pattern_arrays(
    path: Path, variables: dict[str, _Variable]
) -> dict[str, tuple[str, _Variable]]:
    """The arrays whose dimensions are those of patterns; a nameless one is called as its file."""
    found = {
        name or path.stem: (name, item)
        for name, item in variables.items()
        if item.roles is not None
    }
    if not found:
        there = "; ".join(
            f"{name or 'an array'} ({', '.join(item.dims or ('unnamed',) * len(item.shape))})"
            for name, item in variables.items()
        )
        raise NoPatternsError(
            f"{path}: expected an array with {_RULE}; found {there or 'no array'}"
        )
    return found


class _NamedPatterns:
    """Patterns of an array in any order of its dimensions, read in blocks of scan rows."""

    def __init__(self, path: Path, name: str, variable: _Variable) -> None:
        self.path, self.name, self.variable = path, name, variable
        roles = variable.roles or ()
        self.scan_shape = tuple(
            variable.shape[roles.index(role)] for role in ("y", "x", "point") if role in roles
        )
        sy, sx = (variable.shape[roles.index(role)] for role in ("v", "u"))
        self.shape = (math.prod(self.scan_shape), sy, sx)
        self.dtype = variable.dtype.newbyteorder("=")

    def read(self, start: int, stop: int) -> npt.NDArray:
        roles = self.variable.roles or ()
        columns = self.scan_shape[1] if len(self.scan_shape) == 2 else 1
        first, last = start // columns, -(-stop // columns)
        key = tuple(slice(first, last) if role in ("y", "point") else slice(None) for role in roles)
        with sound(self.path):
            values = _read(self.path, self.name, key)
        order = next(order for order in _ORDERS if sorted(order) == sorted(roles))
        values = values.transpose([roles.index(role) for role in order])
        values = values.reshape(-1, *self.shape[1:])[
            start - first * columns : stop - first * columns
        ]
        if len(values) != stop - start:
            raise FormatError(
                f"{self.path}: expected patterns {start} to {stop - 1}, found {len(values)}; is it "
                f"complete?"
            )
        return np.ascontiguousarray(values, dtype=self.dtype)


def _grid(path: Path, patterns: _NamedPatterns, variables: dict[str, _Variable]) -> Grid:
    """The grid by the array's shape; steps by coordinates in a unit of length."""
    variable, n = patterns.variable, patterns.shape[0]
    if len(patterns.scan_shape) == 1:
        said = [variable.attributes.get(key) for key in ("n_rows", "n_columns")]
        rows, columns = (int(value) if isinstance(value, int) else 0 for value in said)
        return Grid("square", columns, rows) if rows * columns == n else Grid("square", n, 1)
    folder = patterns.name.rpartition("/")[0]
    steps = {}
    for role, dim in zip(variable.roles or (), variable.dims or (), strict=False):
        name = f"{folder}/{dim}" if folder else dim
        if role in ("x", "y") and name in variables:
            steps[role] = _step(path, name, variables[name])
    ny, nx = patterns.scan_shape
    return Grid("square", nx, ny, steps.get("x"), steps.get("y"))


def _step(path: Path, name: str, variable: _Variable) -> float | None:
    """The step in µm of a coordinate that grows evenly and has a unit of length."""
    unit = _MICROMETRES.get(str(variable.attributes.get("units", "")).strip())
    if unit is None or len(variable.shape) != 1 or variable.shape[0] < 2:
        return None
    distance = np.diff(np.asarray(_read(path, name, (slice(None),)), np.float64))
    step = float(distance.mean())
    even = np.allclose(distance, step, rtol=1e-3)
    return step * unit if even and math.isfinite(step) and step > 0 else None


def _variables(path: Path) -> dict[str, _Variable]:
    return _zarr_variables(path) if path.is_dir() else _netcdf_variables(path)


def _read(path: Path, name: str, key: tuple[slice, ...]) -> npt.NDArray:
    """Part of an array; the file is opened for each read."""
    if path.is_dir():
        return np.asarray(_zarr_arrays(_zarr_node(path))[name][key])
    with _netcdf(path) as dataset:
        return np.asarray(dataset.variables[name][key].values)


def _netcdf(path: Path) -> Any:
    import xarray

    if not h5py.is_hdf5(path):
        raise FormatError(
            f"{path}: expected netCDF 4, which is HDF5, found something else; is it truncated, or "
            f"of an older version?"
        )
    return xarray.open_dataset(
        path, engine="h5netcdf", mask_and_scale=False, decode_times=False, cache=False
    )


def _netcdf_variables(path: Path) -> dict[str, _Variable]:
    with _netcdf(path) as dataset:
        of_file = dict(dataset.attrs)
        return {
            str(name): _Variable(
                tuple(map(str, item.dims)),
                tuple(item.shape),
                np.dtype(item.dtype),
                json_values({**of_file, **item.attrs}),
            )
            for name, item in dataset.variables.items()
        }


def _zarr_node(path: Path) -> Any:
    """The root of a Zarr folder: an array or a group."""
    try:
        import zarr
    except ImportError as error:
        raise FormatError(
            f"{path}: expected the package zarr to read it, found none; install it with "
            f"pip install 'ebsdarchive[zarr]'"
        ) from error
    try:
        return zarr.open(str(path), mode="r")
    except FileNotFoundError as error:
        raise FormatError(
            f"{path}: expected an array or group of Zarr, found neither; is the folder complete?"
        ) from error


def _zarr_arrays(node: Any) -> dict[str, Any]:
    """The arrays below a root by their paths; the name of a lone array is empty."""
    if hasattr(node, "shape"):
        return {"": node}
    return {name: item for name, item in node.members(max_depth=None) if hasattr(item, "shape")}


def _zarr_variables(path: Path) -> dict[str, _Variable]:
    node = _zarr_node(path)
    of_root = dict(node.attrs)
    found = {}
    for name, item in sorted(_zarr_arrays(node).items()):
        attributes = {**of_root, **item.attrs}
        dims = item.attrs.get("_ARRAY_DIMENSIONS") or getattr(
            item.metadata, "dimension_names", None
        )
        is_named = dims is not None and all(dim is not None for dim in dims)
        found[name] = _Variable(
            tuple(map(str, dims or ())) if is_named else None,
            tuple(item.shape),
            np.dtype(item.dtype),
            json_values(attributes),
        )
    return found


def _chunks_not_stored(path: Path, name: str) -> int:
    """Chunks that Zarr does not hold and reads as its fill value: black patterns, or lost ones."""
    array = _zarr_arrays(_zarr_node(path))[name]
    return int(array.nchunks - array.nchunks_initialized)


def _parts(path: Path) -> tuple[str, ...]:
    """All files of a folder, by their paths in it."""
    return tuple(
        sorted(item.relative_to(path).as_posix() for item in path.rglob("*") if item.is_file())
    )
