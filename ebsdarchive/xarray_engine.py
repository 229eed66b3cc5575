"""``xarray.open_dataset("scan.h5", engine="ebsdarchive")``: patterns as a lazy array.

Dimensions are y, x (map rows and columns) and v, u (pattern rows and columns); coordinates y and x
are in µm where the step is known, else in steps. Hexagonal scans have one dimension, point.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xarray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from ebsdarchive.archive.file import Archive, open_archive
from ebsdarchive.archive.lazy import LayerPatterns, LazyPatterns

__all__ = ["EbsdArchiveBackend"]


class EbsdArchiveBackend(BackendEntrypoint):
    """xarray's entry point for archives."""

    description = "EBSD archives of ebsdarchive: raw, neural and restored patterns"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "layer")

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[Any],
        *,
        drop_variables: str | Iterable[str] | None = None,
        layer: str | None = None,
    ) -> xarray.Dataset:
        """Open one layer of patterns.

        Parameters
        ----------
        layer
            raw, neural, or the name of a restored layer; by default the first there is.
        """
        archive = open_archive(filename_or_obj)
        name = layer or archive.pattern_layers[0]
        dataset = _dataset(archive, name)
        return dataset.drop_vars(drop_variables, errors="ignore") if drop_variables else dataset

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether a file is an archive, by what its root says."""
        if not isinstance(filename_or_obj, str | os.PathLike) or not os.path.isfile(
            filename_or_obj
        ):
            return False
        try:
            with h5py.File(filename_or_obj, "r") as file:
                return file.attrs.get("encoding-type") == "ebsdarchive"
        except OSError:
            return False


def _dataset(archive: Archive, layer: str) -> xarray.Dataset:
    grid = archive.grid
    lazy = LazyPatterns(LayerPatterns(archive, layer), grid)
    values = indexing.LazilyIndexedArray(_PatternArray(lazy))
    steps = {"x": grid.step_x_um, "y": grid.step_y_um}
    about = {
        axis: {"units": "um" if steps[axis] else "step", "long_name": f"{axis} position"}
        for axis in ("x", "y")
    }
    if grid.is_hexagonal:
        dims: tuple[str, ...] = ("point", "v", "u")
        xy = grid.positions()
        coords: dict[str, Any] = {
            axis: ("point", xy[:, i] * (steps[axis] or 1.0), about[axis])
            for i, axis in enumerate(("x", "y"))
        }
        chunks: dict[str, int] = {"point": grid.n_columns}
    else:
        dims = ("y", "x", "v", "u")
        coords = {
            axis: (axis, np.arange(count) * (steps[axis] or 1.0), about[axis])
            for axis, count in (("y", grid.n_rows), ("x", grid.n_columns))
        }
        chunks = {"y": 1, "x": grid.n_columns}
    attributes = archive.attributes(layer)
    kept = {"units": "counts", "layer": layer}
    for key in ("mae_percent", "patterns_sha256", "raw_sha256", "rank"):
        if key in attributes:
            kept[key] = attributes[key]
    sy, sx = archive.pattern_shape
    variable = xarray.Variable(dims, values, kept)
    variable.encoding["preferred_chunks"] = chunks | {"v": sy, "u": sx}
    return xarray.Dataset(
        {"patterns": variable},
        coords=coords,
        attrs={"archive_id": archive.archive_id, "ebsd_grid": grid.kind},
    )


class _PatternArray(BackendArray):
    """Lazy patterns as xarray wants them."""

    def __init__(self, values: LazyPatterns) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> npt.NDArray:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self.values.__getitem__
        )
