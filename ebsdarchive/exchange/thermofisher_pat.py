"""ThermoFisher's pat files of version 1: 16 bit patterns, each with its place in the map.

Little-endian: u32 version, columns, rows, width, height; i16 scan (negative: a whole map); u8 bits
of the camera; i16 background (negative: there is one); the background, u16; then of each pattern
u32 x, y and its u16 pixels. The step stands in the .ebsd file of the same name, as a f64 45 bytes
before its end (PyEBSDIndex, TFPatFile, is the only public description of either).
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ebsdarchive import __version__
from ebsdarchive.errors import FormatError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, Scan, SourceFile

__all__ = ["read", "scan_names"]

_HEAD = struct.Struct("<5IhBh")
_STEP_FROM_END = 45
_STEPS_UM = 1e-4, 2000.0  # no beam is moved by less: other bytes stand there


def scan_names(path: Path) -> tuple[str, ...]:
    """The one scan of a pat file, by the file's name."""
    return (path.stem,)


def read(path: Path, scan: str | None = None) -> Scan:
    """Open a pat file.

    A file that is no whole map becomes one row of unknown step.

    Raises
    ------
    FormatError
        If the version is unknown, or the size contradicts the header.
    """
    with path.open("rb") as file:
        content = file.read(_HEAD.size)
        if len(content) < _HEAD.size:
            raise FormatError(
                f"{path}: expected a ThermoFisher header of {_HEAD.size} bytes, found "
                f"{len(content)}"
            )
        version, columns, rows, sx, sy, is_map, bits, has_background = _HEAD.unpack(content)
        if version != 1:
            raise FormatError(
                f"{path}: expected a ThermoFisher pat file of version 1, found version {version}"
            )
        if not (0 < sx <= 1 << 15 and 0 < sy <= 1 << 15):
            raise FormatError(
                f"{path}: expected patterns of at least 1 x 1 pixel, found {sy} x {sx}"
            )
        offset = _HEAD.size + (2 * sx * sy if has_background < 0 else 0)
        head = content + file.read(offset - _HEAD.size)
    layout = np.dtype([("place", "<u4", 2), ("pixels", "<u2", (sy, sx))])
    count, rest = divmod(path.stat().st_size - offset, layout.itemsize)
    expected = columns * rows if is_map < 0 else count
    if rest or count != expected or count < 1:
        raise FormatError(
            f"{path}: expected {expected} patterns of {sy} x {sx} pixels from the header, found "
            f"{max(count, 0)} and {rest} bytes more; is the file truncated?"
        )
    beside = path.with_suffix(".ebsd")
    step = _step(beside) if is_map < 0 else None
    grid = Grid("square", columns, rows, step, step) if is_map < 0 else Grid("square", count, 1)
    background = None
    if has_background < 0:
        background = np.frombuffer(head[_HEAD.size :], "<u2").reshape(sy, sx).astype(np.uint16)
    return Scan(
        patterns=_PatPatterns(path, layout, count, offset, grid if is_map < 0 else None),
        grid=grid,
        detector=Detector((sy, sx)),
        source=SourceFile(
            path=str(path),
            format="ThermoFisher pat version 1",
            reader=f"ebsdarchive {__version__}",
            header=head,
            metadata={"version": version, "camera_bits": bits, "whole_map": is_map < 0},
            companions=(str(beside),) if beside.is_file() else (),
        ),
        static_background=background,
        name=path.stem,
    )


def _step(beside: Path) -> float | None:
    """The step in µm where the .ebsd file beside has one that can be."""
    if not beside.is_file() or beside.stat().st_size < _STEP_FROM_END:
        return None
    with beside.open("rb") as file:
        file.seek(-_STEP_FROM_END, 2)
        (step,) = struct.unpack("<d", file.read(8))
    return step if _STEPS_UM[0] <= step <= _STEPS_UM[1] else None


class _PatPatterns:
    """Patterns, each behind its place, which must be in the order of the map."""

    def __init__(
        self, path: Path, layout: np.dtype, count: int, offset: int, grid: Grid | None
    ) -> None:
        self.path, self.offset, self.layout, self.grid = path, offset, layout, grid
        self.shape = (count, *layout["pixels"].shape)
        self.dtype = np.dtype(np.uint16)

    def read(self, start: int, stop: int) -> npt.NDArray:
        at = self.offset + start * self.layout.itemsize
        records = np.fromfile(self.path, self.layout, stop - start, offset=at)
        if len(records) != stop - start:
            raise FormatError(
                f"{self.path}: expected patterns {start} to {stop - 1}, found the file cut short "
                f"since it was opened"
            )
        self._require_order(records["place"].astype(np.int64), start, stop)
        return records["pixels"].astype(self.dtype, copy=False)

    def _require_order(self, places: npt.NDArray[np.int64], start: int, stop: int) -> None:
        """Places grow along a row and stay in it; their unit, point or pixel, is not known."""
        if self.grid is None or not places.any():
            return
        row = np.arange(start, stop) // self.grid.n_columns
        same_row = np.diff(row) == 0
        x, y = np.diff(places[:, 0]), np.diff(places[:, 1])
        wrong = np.where(same_row, (x <= 0) | (y != 0), y <= 0)
        if wrong.any():
            raise FormatError(
                f"{self.path}: expected patterns row by row, found pattern "
                f"{start + 1 + int(np.argmax(wrong))} out of order; is this a whole map?"
            )
