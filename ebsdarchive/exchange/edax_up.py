"""EDAX up1 (8 bit) and up2 (16 bit): little-endian patterns behind a short header.

kikuchipy reads these files too, but neither version 0 nor hexagonal grids, so reader and writer
are our own. They hold no projection centre, tilt or phase; EDAX's software takes those from an .ang
or .oh5.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ebsdarchive import __version__
from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, FilePatterns, Scan, SourceFile

__all__ = ["UpHeader", "read", "read_header", "scan_names", "write_up"]

_V0 = struct.Struct("<2I")  # width, height
_V1 = struct.Struct("<4I")  # version, width, height, offset
_V3 = struct.Struct("<4IBIIBdd")  # … extra patterns, columns, rows, hexagonal, step x, step y
_DTYPES: dict[str, np.dtype] = {".up1": np.dtype("<u1"), ".up2": np.dtype("<u2")}


@dataclass(frozen=True)
class UpHeader:
    """The header of an up1 or up2 file; grid entries are None in versions 0 and 1.

    Version 0: u32 width, height. Version 1: u32 version, width, height, data offset. Version 3 (4
    and 5 share its layout): as version 1, then u8 extra patterns; u32 columns, rows; u8 hexagonal
    flag; f64 step x, step y in µm.
    """

    version: int
    width: int
    height: int
    offset: int
    extra_patterns: int = 0
    n_columns: int | None = None
    n_rows: int | None = None
    hexagonal: bool = False
    step_x_um: float | None = None
    step_y_um: float | None = None

    def pack(self) -> bytes:
        """The header as bytes (version 1 or 3)."""
        if self.version == 1:
            return _V1.pack(1, self.width, self.height, _V1.size)
        return _V3.pack(
            self.version,
            self.width,
            self.height,
            _V3.size,
            self.extra_patterns,
            self.n_columns,
            self.n_rows,
            self.hexagonal,
            self.step_x_um or 0.0,
            self.step_y_um or 0.0,
        )


def scan_names(path: Path) -> tuple[str, ...]:
    """The one scan of an up file, by the file's name."""
    return (path.stem,)


def read_header(path: Path) -> UpHeader:
    """Read the header; FormatError where it cannot be one."""
    with path.open("rb") as file:
        content = file.read(_V3.size)
    if len(content) < _V1.size:
        raise FormatError(
            f"{path}: expected an EDAX header of 16 bytes or more, found {len(content)}"
        )
    version, width, height, offset = _V1.unpack_from(content)
    size = path.stat().st_size
    if version == 1:
        header = UpHeader(1, width, height, offset)
    elif 3 <= version <= 5 and len(content) == _V3.size and _plausible(width, height):
        values = _V3.unpack(content)
        header = UpHeader(
            version=version,
            width=width,
            height=height,
            offset=offset,
            extra_patterns=values[4],
            n_columns=values[5],
            n_rows=values[6],
            hexagonal=bool(values[7]),
            step_x_um=values[8],
            step_y_um=values[9],
        )
    elif _is_version_0(path, version, width, size):
        return UpHeader(0, version, width, _V0.size)
    elif version in (3, 4, 5):
        header = UpHeader(1, width, height, offset)
    else:
        raise FormatError(
            f"{path}: expected an EDAX up file of version 0, 1, 3, 4 or 5, found version {version}"
        )
    if not _plausible(width, height) or not len(header.pack()) <= offset <= size:
        raise FormatError(
            f"{path}: expected a header with patterns of at least 1 x 1 pixel, "
            f"found width {width}, height {height}, data offset {offset} in a file of {size} bytes"
        )
    return header


def _plausible(width: int, height: int) -> bool:
    return 0 < width <= 1 << 15 and 0 < height <= 1 << 15


def _is_version_0(path: Path, width: int, height: int, size: int) -> bool:
    """Whether a file is width, height, and whole patterns: version 0 has no number of its own."""
    if not _plausible(width, height) or width <= 2:
        return False
    pattern_bytes = width * height * _DTYPES[path.suffix.lower()].itemsize
    return size > _V0.size and (size - _V0.size) % pattern_bytes == 0


def read(path: Path, scan: str | None = None) -> Scan:
    """Open an up1 or up2 file.

    The number of patterns follows from the file size; a header that contradicts it is an error. A
    file of version 0 or 1 has no grid: its patterns become one row, with an unknown step. "Extra"
    patterns behind those of the grid are kept as the source's trailer.
    """
    header = read_header(path)
    dtype = _DTYPES[path.suffix.lower()]
    pattern_bytes = header.width * header.height * dtype.itemsize
    count, rest = divmod(path.stat().st_size - header.offset, pattern_bytes)
    if rest or count == 0:
        raise FormatError(
            f"{path}: expected whole patterns of {header.height} x {header.width} pixels, found "
            f"{count} and {rest} bytes more; is the file truncated?"
        )
    grid = _grid(path, header, count)
    shape = (grid.size, header.height, header.width)
    with path.open("rb") as file:
        head = file.read(header.offset)
        file.seek(header.offset + grid.size * pattern_bytes)
        trailer = file.read()
    metadata = {"version": header.version, "extra_patterns": header.extra_patterns}
    return Scan(
        patterns=FilePatterns(path, dtype, shape, header.offset),
        grid=grid,
        detector=Detector(shape=(header.height, header.width)),
        source=SourceFile(
            path=str(path),
            format=f"EDAX {path.suffix.lower()[1:]} version {header.version}",
            reader=f"ebsdarchive {__version__}",
            header=head,
            trailer=trailer or None,
            metadata=metadata,
        ),
        name=path.stem,
    )


def _grid(path: Path, header: UpHeader, count: int) -> Grid:
    """The grid whose size is the number of patterns in the file, less the "extra" last ones."""
    if header.n_columns is None or header.n_rows is None:
        return Grid("square", count, 1)
    columns, rows = header.n_columns, header.n_rows
    steps = (_known(header.step_x_um), _known(header.step_y_um))
    for number in (count, count - header.extra_patterns) if columns and rows else ():
        if not header.hexagonal:
            if number == columns * rows:
                return Grid("square", columns, rows, *steps)
            continue
        for even in (columns - 1, columns):
            grid = Grid("hexagonal", columns, rows, *steps, even)
            if grid.size == number:
                return grid
    kind = "hexagonal" if header.hexagonal else "square"
    raise FormatError(
        f"{path}: expected patterns for the header's {kind} grid of {rows} rows of "
        f"{columns}, found {count}; the file is incomplete, or the header is wrong"
    )


def _known(step: float | None) -> float | None:
    """A step in µm; None for what cannot be one: writers put 0 where they do not know it."""
    return step if step is not None and 0 < step < math.inf else None


def write_up(
    path: str | os.PathLike[str],
    blocks: Iterable[npt.NDArray],
    grid: Grid,
    shape: tuple[int, int],
    dtype: str,
    version: int = 3,
    frame: tuple[bytes, bytes] | None = None,
) -> None:
    """Write patterns.

    Parameters
    ----------
    blocks
        (k, sy, sx) arrays of `dtype`, which together are all patterns of the grid in order.
    shape
        Pattern (rows, columns).
    dtype
        "uint8" for up1 or "uint16" for up2.
    version
        3, or 1 for old readers; version 1 holds no grid.
    frame
        Header and trailer of a file of the same grid, shape and type, to be written as they are.
    """
    if dtype not in ("uint8", "uint16") or version not in (1, 3):
        raise ArgumentError(
            f"up file: expected uint8 or uint16 and version 1 or 3, found {dtype} and {version}"
        )
    sy, sx = shape
    header = UpHeader(
        version,
        sx,
        sy,
        0,
        0,
        grid.n_columns,
        grid.n_rows,
        grid.is_hexagonal,
        grid.step_x_um,
        grid.step_y_um,
    )
    written = 0
    with open(path, "wb") as file:
        file.write(header.pack() if frame is None else frame[0])
        for block in blocks:
            file.write(np.ascontiguousarray(block, np.dtype(dtype).newbyteorder("<")).data)
            written += len(block)
        if frame is not None:
            file.write(frame[1])
    if written != grid.size:
        raise FormatError(f"{path}: expected {grid.size} patterns, found {written}")
