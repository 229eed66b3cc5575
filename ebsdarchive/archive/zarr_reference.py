"""A lossless layer as Zarr without a copy: where in the file its chunks lie, and their codecs.

The description is a reference file of version 1, which fsspec's ReferenceFileSystem, kerchunk and
VirtualiZarr read. It is ours since kerchunk's reader of HDF5 leaves out chunks with checksums.
Chunks stay what they are; codecs are those of numcodecs, and imagecodecs' for JPEG-LS.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.layers import block_nodes, layer_node
from ebsdarchive.archive.nodes import attribute, require_kind
from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid

__all__ = ["described_as_zarr"]

_JPEG_LS = 32018
_AXES = "entry/mean_intensity"


def described_as_zarr(archive: Archive, layer: str, url: str) -> dict[str, Any]:
    """The reference of a layer of the archive, which is (or will be) found at `url`.

    The array `patterns` has the dimensions (y, x, v, u) where a chunk does not cross the end of a
    row of the scan (always, with the profile archive), else (point, v, u). Coordinates x and y are
    in µm, or in steps where the step is not known. Those of a raster are bytes of the file too:
    VirtualiZarr takes no values that stand in the reference itself.

    Raises
    ------
    ArgumentError
        If the layer does not hold its patterns as values that codecs of Zarr decode.
    """
    with archive.group() as group:
        node = layer_node(group, layer)
        nodes = [] if layer == "neural" else block_nodes(group, layer)
        if not nodes:
            raise ArgumentError(
                f"{archive.path}: expected a layer of patterns that are stored, found {layer}; "
                f"Zarr cannot decode it, export it"
            )
        raw = group.file[nodes[0]]
        require_kind(raw, "raw")
        dataset = raw["patterns"]
        where = f"{archive.path}: {dataset.name}"
        if attribute(raw, "level_table") != "none":
            raise ArgumentError(
                f"{where}: expected patterns as they are, found codes of a level table; use "
                f"`ebsdarchive repack --profile compat,cloud` first"
            )
        codecs = _codecs(dataset, where)
        dims, shape, chunks = _arrangement(dataset, archive.grid)
        refs: dict[str, Any] = {".zgroup": json.dumps({"zarr_format": 2})}
        about = {"archive_id": archive.archive_id, "layer": layer, "node": node.name}
        refs[".zattrs"] = json.dumps(about)
        refs |= _described("patterns", dims, shape, chunks, dataset.dtype, codecs, "counts")
        places = _chunk_places(dataset, where)
        coordinates = _coordinates(archive.grid, dims, group.file.get(_AXES), url)
    counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
    for number, (offset, size) in enumerate(places):
        key = ".".join(str(i) for i in np.unravel_index(number, counts))
        refs[f"patterns/{key}"] = [url, offset, size]
    return {"version": 1, "refs": refs | coordinates}


def _arrangement(
    dataset: h5py.Dataset, grid: Grid
) -> tuple[list[str], tuple[int, ...], tuple[int, ...]]:
    """Dimensions, shape and chunks of the array; chunks are those of the file in another shape."""
    count, columns = dataset.chunks[0], grid.n_columns
    if not grid.is_hexagonal:
        shape = (grid.n_rows, columns, *dataset.shape[1:])
        if columns % count == 0:
            return ["y", "x", "v", "u"], shape, (1, count, *dataset.chunks[1:])
        if count % columns == 0:
            return ["y", "x", "v", "u"], shape, (count // columns, columns, *dataset.chunks[1:])
    return ["point", "v", "u"], dataset.shape, dataset.chunks


def _codecs(dataset: h5py.Dataset, where: str) -> list[dict[str, Any]]:
    """numcodecs' name and values of each filter, in the order of writing."""
    properties = dataset.id.get_create_plist()
    found: list[dict[str, Any]] = []
    for i in range(properties.get_nfilters()):
        code, _, values, _ = properties.get_filter(i)
        if code == h5py.h5z.FILTER_SHUFFLE:
            found.append({"id": "shuffle", "elementsize": dataset.dtype.itemsize})
        elif code == h5py.h5z.FILTER_DEFLATE:
            found.append({"id": "zlib", "level": values[0]})
        elif code == h5py.h5z.FILTER_FLETCHER32:
            found.append({"id": "fletcher32"})
        elif code == _JPEG_LS:
            found.append({"id": "imagecodecs_jpegls"})
        else:
            raise ArgumentError(
                f"{where}: expected filters that Zarr has codecs of, found HDF5 filter {code} "
                f"(profile {attribute(dataset.parent, 'profile')}); use `ebsdarchive repack "
                f"--profile compat,cloud` first"
            )
    return found


def _chunk_places(dataset: h5py.Dataset, where: str) -> list[tuple[int, int]]:
    """Offset and size of each chunk in the file, in the order of patterns."""
    places: dict[int, tuple[int, int]] = {}
    skipped: list[int] = []

    def keep(info: Any) -> None:
        places[info.chunk_offset[0]] = info.byte_offset, info.size
        if info.filter_mask:
            skipped.append(info.chunk_offset[0])

    dataset.id.chunk_iter(keep)
    if skipped:
        raise ArgumentError(
            f"{where}: expected all patterns coded alike, found pattern {skipped[0]} stored as it "
            f"is; use `ebsdarchive repack --profile compat,cloud` first"
        )
    return [places[start] for start in sorted(places)]


def _described(
    name: str,
    dims: list[str],
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: np.dtype,
    codecs: list[dict[str, Any]],
    units: str,
) -> dict[str, str]:
    """Zarr's metadata of an array."""
    array = {
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunks,
        "dtype": dtype.newbyteorder("<").str,
        "order": "C",
        "fill_value": None,  # xarray takes a number for that of missing values
        "filters": codecs or None,
        "compressor": None,
    }
    return {
        f"{name}/.zarray": json.dumps(array),
        f"{name}/.zattrs": json.dumps({"_ARRAY_DIMENSIONS": dims, "units": units}),
    }


def _coordinates(grid: Grid, dims: list[str], axes: Any, url: str) -> dict[str, Any]:
    """The positions of the points: where the view for NeXus has the same values, their place."""
    xy = grid.positions() * [grid.step_x_um or 1.0, grid.step_y_um or 1.0]
    values: dict[str, npt.NDArray] = {"x": xy[:, 0], "y": xy[:, 1]}
    if dims[0] == "y":
        values = {"x": xy[: grid.n_columns, 0], "y": xy[:: grid.n_columns, 1]}
    refs: dict[str, Any] = {}
    steps = {"x": grid.step_x_um, "y": grid.step_y_um}
    for name, array in values.items():
        dim = name if dims[0] == "y" else "point"
        units = "step" if steps[name] is None else "um"
        shape = (len(array),)
        refs |= _described(name, [dim], shape, shape, np.dtype("<f8"), [], units)
        stored = _stored_place(axes, f"axis_{name}", array)
        data = base64.b64encode(array.astype("<f8").tobytes()).decode("ascii")
        refs[f"{name}/0"] = f"base64:{data}" if stored is None else [url, *stored]
    return refs


def _stored_place(axes: Any, name: str, values: npt.NDArray) -> tuple[int, int] | None:
    """Offset and size of a dataset with these values as plain bytes; None where there is none."""
    dataset = axes.get(name) if isinstance(axes, h5py.Group) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.chunks is not None:
        return None
    offset = dataset.id.get_offset()
    if offset is None or dataset.dtype != np.dtype("<f8") or dataset.shape != values.shape:
        return None
    same = np.array_equal(dataset[()], values)
    return (offset, dataset.id.get_storage_size()) if same else None
