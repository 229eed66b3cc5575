"""Patterns of a layer as an array that is read when it is indexed: for xarray, dask, kikuchipy."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.remote import is_url
from ebsdarchive.errors import ArchiveError, ArgumentError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Patterns

__all__ = ["LayerPatterns", "LazyPatterns", "dask_patterns"]


class LayerPatterns:
    """Patterns of a layer by the name of its file: a few bytes to pickle, read in any process.

    What reading takes (a decoded field, a level table) is kept by each process.

    Raises
    ------
    ArchiveError
        When read, if the file holds another layer of that name by now.
    """

    def __init__(self, archive: Archive, layer: str) -> None:
        self.path = archive.path if is_url(archive.path) else os.path.abspath(archive.path)
        self.layer = layer
        self.sha256 = str(archive.attributes(layer)["sha256"])
        patterns = _opened(self.path, layer, self.sha256)
        self.shape, self.dtype = patterns.shape, np.dtype(patterns.dtype)

    def read(self, start: int, stop: int) -> npt.NDArray:
        """(stop - start, sy, sx) patterns with index start … stop - 1."""
        return _opened(self.path, self.layer, self.sha256).read(start, stop)


@functools.lru_cache(maxsize=8)
def _opened(path: str, layer: str, sha256: str) -> Patterns:
    archive = Archive(path)
    found = str(archive.attributes(layer)["sha256"])
    if found != sha256:
        raise ArchiveError(
            f"{path}: expected the {layer} layer of digest {sha256[:12]}…, found {found[:12]}…; "
            f"the file has changed, open it again"
        )
    return archive.patterns(layer)


def dask_patterns(archive: Archive, layer: str | None = None, rows: int | None = None) -> Any:
    """A layer as a dask array in chunks of scan rows; see `Archive.to_dask`."""
    import dask.array

    name = layer or archive.pattern_layers[0]
    patterns = LayerPatterns(archive, name)
    lazy = LazyPatterns(patterns, archive.grid)
    if rows is not None and rows < 1:
        raise ArgumentError(f"rows: expected a whole number from 1, found {rows}")
    points = archive.grid.block_length(int(np.prod(lazy.shape[-2:])) * lazy.dtype.itemsize)
    if rows is not None:
        points = rows * archive.grid.n_columns
    if lazy.ndim == 4:
        rows = min(lazy.shape[0], max(1, points // lazy.shape[1]))
        chunks: tuple[int, ...] = (rows, *lazy.shape[1:])
    else:
        chunks = (min(lazy.shape[0], points), *lazy.shape[1:])
    label = f"{name.replace('/', '-')}-{patterns.sha256[:16]}-{chunks[0]}"
    return dask.array.from_array(lazy, chunks=chunks, name=label, asarray=True, lock=False)


class LazyPatterns:
    """Patterns as (n_rows, n_columns, sy, sx), or (n, sy, sx) on a hexagonal grid.

    It takes whole numbers and slices, and can be pickled if `patterns` can.
    """

    def __init__(self, patterns: Patterns, grid: Grid) -> None:
        self.patterns = patterns
        self.dtype = np.dtype(patterns.dtype)
        points = (grid.size,) if grid.is_hexagonal else (grid.n_rows, grid.n_columns)
        self.shape: tuple[int, ...] = (*points, *patterns.shape[1:])
        self.ndim = len(self.shape)

    def __getitem__(self, key: tuple[int | slice, ...]) -> npt.NDArray:
        key = key if isinstance(key, tuple) else (key,)
        axes = self.ndim - 2
        numbers = np.arange(self.patterns.shape[0]).reshape(self.shape[:axes])
        points = numbers[key[:axes]]
        flat = np.ravel(points)
        out = np.empty((flat.size, *self.shape[axes:]), self.dtype)
        start = 0
        for run in np.split(flat, np.flatnonzero(np.diff(flat) != 1) + 1):
            if run.size:
                out[start : start + run.size] = self.patterns.read(int(run[0]), int(run[-1]) + 1)
                start += run.size
        return out.reshape(*points.shape, *self.shape[axes:])[(..., *key[axes:])]
