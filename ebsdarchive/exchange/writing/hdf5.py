"""What the writers of HDF5 flavours share, and kikuchipy's layout.

Header entries are arrays of one element, which all readers of these flavours take. The group
``ebsdarchive_export`` says who wrote a file and holds what its layout has no place for; it sorts
behind all scans, so that readers which take the first group are not misled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.output import stop_if_failed
from ebsdarchive.archive.store import open_for_writing
from ebsdarchive.archive.views import write_kikuchipy_layout
from ebsdarchive.exchange.writing.job import Job

__all__ = ["PLACEHOLDER", "write_entries", "write_export_node", "write_kikuchipy", "write_stream"]

CHUNK_BYTES = 1 << 20  # kikuchipy's lazy signals have a task for each chunk
PLACEHOLDER = "not known; a placeholder that readers of this layout need"


def write_kikuchipy(job: Job) -> None:
    """kikuchipy's h5ebsd layout; patterns are not compressed, in chunks that have a checksum."""
    scan = replace(job.scan, static_background=job.background())
    n, sy, sx = job.shape
    together = CHUNK_BYTES // (sy * sx * np.dtype(job.dtype).itemsize)
    chunks = (min(n, max(1, together)), sy, sx)
    with open_for_writing(job.path) as file:
        write_kikuchipy_layout(file, scan, None)
        write_stream(file["Scan 1/EBSD/Data"], "patterns", job, chunks=chunks, fletcher32=True)
        write_export_node(file, job)


def write_stream(group: h5py.Group, name: str, job: Job, **options: Any) -> h5py.Dataset:
    """A dataset of all patterns (n, sy, sx), written block by block."""
    dataset = group.create_dataset(
        name, shape=job.shape, dtype=np.dtype(job.dtype).newbyteorder("<"), **options
    )
    start = 0
    for block in job.blocks:
        dataset[start : start + len(block)] = block
        start += len(block)
        stop_if_failed()
    return dataset


def write_export_node(file: h5py.File, job: Job) -> None:
    """``ebsdarchive_export``: origin, quantisation, grid, positions and columns; written last."""
    node = file.create_group("ebsdarchive_export")
    node.attrs.update(job.about())
    node.create_dataset("positions", data=job.positions)
    node["positions"].attrs["units"] = "step"
    for column in job.columns:
        texts = column.values.dtype.kind == "U"
        values = column.values.astype(object) if texts else column.values
        kind = h5py.string_dtype() if texts else values.dtype
        dataset = node.create_dataset(f"columns/{column.name}", data=values, dtype=kind)
        dataset.attrs.update(column.about())


def write_entries(group: h5py.Group, entries: Mapping[str, Any]) -> None:
    """Write entries as one-element arrays; None is left out, (None, value) is a placeholder."""
    for name, given in entries.items():
        value, note = given, None
        if isinstance(given, tuple):
            value, placeholder = given
            value, note = (placeholder, PLACEHOLDER) if value is None else (value, None)
        if value is None:
            continue
        group.create_dataset(name, data=_array(value))
        if note is not None:
            group[name].attrs["note"] = note


def _array(value: Any) -> npt.NDArray:
    """At least one dimension; text as fixed-length UTF-8."""
    return np.array([value.encode("utf-8")]) if isinstance(value, str) else np.atleast_1d(value)
