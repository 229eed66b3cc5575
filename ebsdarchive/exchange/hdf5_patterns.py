"""Patterns of an HDF5 source in the order of the grid, with the file opened for each read."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.codecs.lossless import require_filters
from ebsdarchive.errors import ArchiveError, FormatError
from ebsdarchive.exchange.source_text import first_line

__all__ = ["Hdf5Patterns"]


class Hdf5Patterns:
    """Patterns of a dataset (n, sy, sx) or (ny, nx, sy, sx).

    Signed 16 bit patterns, as Oxford writes unprocessed ones, are given as unsigned: no count of a
    camera is negative, and one that is is an error.

    Parameters
    ----------
    order
        (n,) index in the file of each point of the grid, where the file has another order.
    """

    def __init__(self, path: Path, dataset: str, order: npt.NDArray[np.int64] | None) -> None:
        self.path, self.dataset, self.order = path, dataset, order
        with open_for_reading(path) as file:
            item = file[dataset]
            self.columns = item.shape[1] if item.ndim == 4 else None
            count = math.prod(item.shape[:-2])
            self.shape: tuple[int, int, int] = (count, *item.shape[-2:])
            stored = np.dtype(item.dtype).newbyteorder("=")
        self.is_signed = stored == np.int16
        self.dtype = np.dtype(np.uint16) if self.is_signed else stored

    def read(self, start: int, stop: int) -> npt.NDArray:
        with open_for_reading(self.path) as file:
            item = file[self.dataset]
            try:
                require_filters(item)
                values = self._read(item, start, stop)
            except (OSError, ArchiveError) as error:
                raise FormatError(
                    f"{self.path}: {self.dataset}: expected readable patterns, found damage "
                    f"({first_line(error)}); copy the file again"
                ) from error
        if self.is_signed and values.min() < 0:
            raise FormatError(
                f"{self.path}: {self.dataset}: expected counts from 0, found {values.min()}"
            )
        return np.ascontiguousarray(values, dtype=self.dtype)

    def _read(self, item: h5py.Dataset, start: int, stop: int) -> npt.NDArray:
        if self.columns is not None:
            first, last = start // self.columns, -(-stop // self.columns)
            rows = item[first:last].reshape(-1, *self.shape[1:])
            return rows[start - first * self.columns : stop - first * self.columns]
        if self.order is None:
            return item[start:stop]
        wanted = self.order[start:stop]
        ascending = np.argsort(wanted)
        out = np.empty((len(wanted), *self.shape[1:]), item.dtype)
        out[ascending] = item[wanted[ascending]]
        return out
