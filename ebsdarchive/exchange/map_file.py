"""Maps of orientations as files of their own, without patterns: EDAX's .ang, for OIM and MTEX."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ebsdarchive.archive.store import replacing
from ebsdarchive.errors import ArgumentError, OutputError
from ebsdarchive.exchange.writing.edax_h5 import why_no_ang, write_ang
from ebsdarchive.exchange.writing.orientations import Oriented

__all__ = ["WrittenMap", "write_map_file"]

ENDING = ".ang"


@dataclass(frozen=True)
class WrittenMap:
    """What was written: the file, its size, and the rows and columns of its points."""

    path: str
    nbytes: int
    shape: tuple[int, int]


def write_map_file(
    path: str | os.PathLike[str], oriented: Oriented, *, force: bool = False
) -> WrittenMap:
    """Write orientations to an .ang; the columns of confidence and fit are their properties.

    Raises
    ------
    ArgumentError, OutputError
        If the file's name ends otherwise, the format cannot hold the map, the file exists (without
        `force`) or cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ENDING:
        raise ArgumentError(
            f"{target}: expected a name ending in {ENDING} for orientations, found "
            f"{target.suffix or 'no ending'!r}"
        )
    reason = why_no_ang(oriented)
    if reason is not None:
        raise OutputError(f"{target}: expected a map that an .ang can hold, found that {reason}")
    with replacing(target, force=force) as temporary:
        write_ang(Path(temporary), oriented)
    grid = oriented.grid
    return WrittenMap(os.fspath(path), target.stat().st_size, (grid.n_rows, grid.n_columns))
