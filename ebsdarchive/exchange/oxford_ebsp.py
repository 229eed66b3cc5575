"""Oxford's ebsp and uebsp files of versions 0 to 6, uncompressed.

kikuchipy guesses the number of patterns from jumps in their offsets, which needs patterns of 1600
pixels and more; here it follows from where the first pattern begins, since the table of offsets
ends there. Little-endian throughout:

- head: i64, the version as a negative number (version 0: nothing); version 4 and later one byte
  more; then n i64 offsets of the map's points, 0 where no pattern is stored;
- each pattern: version 5 and later i32 column, row; i32 compressed, rows, columns, bytes; pixels of
  8 or 16 bit; version 1 f64 x, y; later bool [f64 x] bool [f64 y] in µm.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive import __version__
from ebsdarchive.errors import FormatError
from ebsdarchive.exchange.source_text import sound
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, Scan, SourceFile

__all__ = ["read", "scan_names"]

_NEWEST = 6
_TABLE_STEP = 1 << 16  # offsets read at once
_HEADER = [("compressed", "<i4"), ("rows", "<i4"), ("columns", "<i4"), ("bytes", "<i4")]


def scan_names(path: Path) -> tuple[str, ...]:
    """The one scan of an ebsp file, by the file's name."""
    return (path.stem,)


def read(path: Path, scan: str | None = None) -> Scan:
    """Open an ebsp or uebsp file.

    Patterns are put into the order of the table of offsets, which is that of the map. Without beam
    positions (version 0), or where only some patterns are stored, they become one row of unknown
    step.

    Raises
    ------
    FormatError
        If the file is compressed, of an unknown version, cut short, or contradicts itself.
    """
    with sound(path):
        return _read(path)


def _read(path: Path) -> Scan:
    version, head_bytes = _version(path)
    table = _table(path, head_bytes)
    stored = np.flatnonzero(table)
    record = _record(path, version, int(table[stored].min()))
    offsets = table[stored]
    _require_whole(path, record, offsets)
    patterns = _EbspPatterns(path, record, offsets)
    grid, first = _grid(patterns, len(table) == len(stored))
    with path.open("rb") as file:
        header = file.read(head_bytes + table.nbytes)
    metadata: dict[str, Any] = {"version": version, "points": len(table), **first}
    if len(stored) < len(table):
        metadata["stored"] = f"{len(stored)} of {len(table)} points; the header has their places"
    shape = (record.rows, record.columns)
    return Scan(
        patterns=patterns,
        grid=grid,
        detector=Detector(shape),
        source=SourceFile(
            path=str(path),
            format=f"Oxford {path.suffix.lower()[1:]} version {version}",
            reader=f"ebsdarchive {__version__}",
            header=header,
            metadata=metadata,
        ),
        name=path.stem,
    )


def _version(path: Path) -> tuple[int, int]:
    """The version, and the bytes before the table of offsets."""
    with path.open("rb") as file:
        content = file.read(8)
    if len(content) < 8:
        raise FormatError(f"{path}: expected an Oxford ebsp header, found {len(content)} bytes")
    (number,) = struct.unpack("<q", content)
    if number >= 0:
        return 0, 0
    if -number > _NEWEST:
        raise FormatError(
            f"{path}: expected an Oxford ebsp file of version 0 to {_NEWEST}, found version "
            f"{-number}; save it as h5oina from AZtec"
        )
    return -number, 9 if -number > 3 else 8


def _table(path: Path, start: int) -> npt.NDArray[np.int64]:
    """(n,) offsets; the table ends where the first pattern that is stored begins."""
    size = os.path.getsize(path)
    lowest, parts, position = size, [], start
    while position < lowest:
        part = np.fromfile(path, "<i8", _TABLE_STEP, offset=position)
        running = np.minimum.accumulate(np.minimum(np.where(part == 0, size, part), lowest))
        ends = position + 8 * np.arange(1, len(part) + 1)
        reached = ends >= running
        within = int(np.argmax(reached)) + 1 if reached.any() else len(part)
        part = part[:within]
        if within == 0 or ((part != 0) & ((part <= start) | (part >= size))).any():
            break
        parts.append(part)
        lowest, position = int(running[within - 1]), int(ends[within - 1])
    if not parts or position != lowest or lowest == size:
        raise FormatError(
            f"{path}: expected a table of the places of patterns, found none; is this an Oxford "
            f"ebsp file, and complete?"
        )
    return np.concatenate(parts)


@dataclass(frozen=True)
class _Record:
    """How a pattern and what is said of it lie in the file."""

    layout: np.dtype
    rows: int
    columns: int
    version: int


def _record(path: Path, version: int, first: int) -> _Record:
    places = [("column", "<i4"), ("row", "<i4")] if version >= 5 else []
    head = np.dtype([*places, *_HEADER])
    values = np.fromfile(path, head, 1, offset=first)
    if values.size == 0:
        raise FormatError(f"{path}: expected an Oxford ebsp pattern at byte {first}, found the end")
    rows, columns, count = (int(values[name][0]) for name in ("rows", "columns", "bytes"))
    if int(values["compressed"][0]):
        raise FormatError(
            f"{path}: expected uncompressed patterns, found a compressed Oxford ebsp file (version "
            f"{version}), which no open software reads; save it as h5oina from AZtec"
        )
    depth = count // max(1, rows * columns)
    if min(rows, columns) < 1 or depth not in (1, 2) or count != rows * columns * depth:
        raise FormatError(
            f"{path}: expected an Oxford ebsp pattern of 8 or 16 bit, found {rows} x {columns} "
            f"pixels in {count} bytes"
        )
    pixels = ("pixels", f"<u{depth}", (rows, columns))
    foot = _foot(path, version, first + head.itemsize + count)
    return _Record(np.dtype([*places, *_HEADER, pixels, *foot]), rows, columns, version)


def _foot(path: Path, version: int, start: int) -> list[tuple[str, str]]:
    """Fields behind the pixels; whether positions are there is the same for all of a file."""
    if version < 2:
        return [("x", "<f8"), ("y", "<f8")] if version else []
    fields: list[tuple[str, str]] = []
    with path.open("rb") as file:
        file.seek(start)
        for axis in ("x", "y"):
            fields.append((f"has_{axis}", "u1"))
            if file.read(1) == b"\1":
                fields.append((axis, "<f8"))
                file.seek(8, os.SEEK_CUR)
    return fields


def _require_whole(path: Path, record: _Record, offsets: npt.NDArray[np.int64]) -> None:
    ordered = np.sort(offsets)
    end = int(ordered[-1]) + record.layout.itemsize
    if end > os.path.getsize(path):
        raise FormatError(
            f"{path}: expected an Oxford ebsp file of {end} bytes or more, found "
            f"{os.path.getsize(path)}; is the file truncated?"
        )
    if (np.diff(ordered) < record.layout.itemsize).any():
        raise FormatError(
            f"{path}: expected Oxford ebsp patterns of {record.layout.itemsize} bytes each, found "
            f"some that overlap; is the file damaged?"
        )


class _EbspPatterns:
    """Patterns at any places of a file, each with a header that is compared as it is read."""

    def __init__(self, path: Path, record: _Record, offsets: npt.NDArray[np.int64]) -> None:
        self.path, self.record, self.offsets = path, record, offsets
        self.shape = (len(offsets), record.rows, record.columns)
        self.dtype = record.layout["pixels"].base.newbyteorder("=")
        self.origin: tuple[int, int, int] | None = None  # first column and row, and columns

    def read(self, start: int, stop: int) -> npt.NDArray:
        index = np.arange(start, stop)
        records = self.records(index)
        if self.origin is not None:
            column, row, columns = self.origin
            found = records["column"].astype(np.int64) - column
            found += (records["row"].astype(np.int64) - row) * columns
            if (found != index).any():
                raise FormatError(
                    f"{self.path}: expected patterns in the order of the map, found that of point "
                    f"{found[np.argmax(found != index)]} at {index[np.argmax(found != index)]}"
                )
        return records["pixels"].astype(self.dtype, copy=False)

    def records(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """(k,) pixels and what is said of them, of the patterns with these indices."""
        layout = self.record.layout
        out = np.empty(len(index), layout)
        wanted = self.offsets[index]
        order = np.argsort(wanted)
        with self.path.open("rb") as file:
            apart = np.flatnonzero(np.diff(wanted[order]) != layout.itemsize) + 1
            for run in np.split(order, apart):
                file.seek(int(wanted[run[0]]))
                values = np.frombuffer(file.read(len(run) * layout.itemsize), layout)
                if len(values) != len(run):
                    raise FormatError(
                        f"{self.path}: expected {len(run)} patterns, found the file cut short "
                        f"since it was opened"
                    )
                out[run] = values
        odd = (
            (out["compressed"] != 0)
            | (out["rows"] != self.record.rows)
            | (out["columns"] != self.record.columns)
        )
        if odd.any():
            raise FormatError(
                f"{self.path}: expected uncompressed patterns of {self.record.rows} x "
                f"{self.record.columns} pixels, found another at point {index[np.argmax(odd)]}"
            )
        return out


def _grid(patterns: _EbspPatterns, complete: bool) -> tuple[Grid, dict[str, Any]]:
    """The grid by the places of the first, second and last pattern, and where the first stands."""
    n = patterns.shape[0]
    row = Grid("square", n, 1)
    names = patterns.record.layout.names or ()
    if not complete or not {"x", "y"} <= set(names) or n < 2:
        return row, {}
    ends = patterns.records(np.array([0, 1, n - 1]))
    x, y = ends["x"].astype(float), ends["y"].astype(float)
    first = {"first_x_um": float(x[0]), "first_y_um": float(y[0])}
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return row, {}
    if "column" in names:
        columns, rows = (int(np.ptp(ends[name][[0, 2]])) + 1 for name in ("column", "row"))
    elif x[1] == x[0]:  # a single column
        columns, rows = 1, n
    else:
        columns = int(abs(round((x[2] - x[0]) / (x[1] - x[0])))) + 1
        rows = n // columns
    step_x = abs(x[2] - x[0]) / (columns - 1) if columns > 1 else None
    step_y = abs(y[2] - y[0]) / (rows - 1) if rows > 1 else None
    if columns * rows != n:
        raise FormatError(
            f"{patterns.path}: expected an Oxford ebsp map whose points fill rows and columns, "
            f"found {n} for {rows} rows of {columns}; is the file complete?"
        )
    if "column" in names:
        patterns.origin = int(ends["column"][0]), int(ends["row"][0]), columns
    return Grid("square", columns, rows, _known(step_x), _known(step_y)), first


def _known(step: float | None) -> float | None:
    return step if step is not None and 0 < step < math.inf else None
