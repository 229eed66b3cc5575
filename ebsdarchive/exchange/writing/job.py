"""What every writer is given: a scan, its patterns as blocks of the file's type, and a place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive import __version__
from ebsdarchive.exchange.columns import Column
from ebsdarchive.exchange.estimates import Estimates
from ebsdarchive.exchange.quantise import Quantisation
from ebsdarchive.exchange.writing.record import geometry_record
from ebsdarchive.scan import Scan

__all__ = ["WRITTEN_BY", "Job"]

WRITTEN_BY = f"ebsdarchive {__version__}"


@dataclass(frozen=True)
class Job:
    """A file to write.

    Parameters
    ----------
    path
        Temporary file or empty folder, which takes the target's place when it is complete.
    target
        What the file will be called.
    scan
        Grid, detector, orientations …; its patterns are not those that are written.
    blocks
        (k, sy, sx) arrays of `dtype`, all patterns of the grid in order; can be gone through once.
    positions
        (n, 2) position (x, y) of each pattern in steps of the archived scan.
    origin
        Plain values that say where the patterns come from.
    version
        Of the format, where it has several.
    overview
        A map (ny, nx) of the archived scan and its extent in steps, for pictures.
    columns
        More values of each pattern, for formats of labelled arrays and kikuchipy's.
    estimates
        Which patterns are filled from others, where some are.
    frame
        What stands before and behind the patterns in a source of the same format, grid, shape and
        type, to be kept; up1 and up2 only.
    """

    path: Path
    target: Path
    scan: Scan
    blocks: Iterator[npt.NDArray]
    positions: npt.NDArray[np.float64]
    dtype: str
    quantisation: Quantisation
    origin: dict[str, Any]
    version: int | None = None
    overview: tuple[npt.NDArray, tuple[float, float]] | None = None
    columns: tuple[Column, ...] = ()
    estimates: Estimates | None = None
    frame: tuple[bytes, bytes] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, sy, sx)."""
        return (self.scan.grid.size, *self.scan.detector.shape)

    def background(self) -> npt.NDArray | None:
        """The static background in the same counts as the patterns that are written."""
        background = self.scan.static_background
        if background is None or self.quantisation.is_identity:
            return background
        rule = replace(self.quantisation)  # its counts of clipped pixels are those of the patterns
        return rule.apply(background)

    def stack(self) -> npt.NDArray:
        """All patterns at once."""
        return np.concatenate(list(self.blocks))

    def about(self) -> dict[str, str]:
        """Text attributes for formats that have them; complete once the blocks are gone through."""
        return {
            "written_by": WRITTEN_BY,
            "origin": json.dumps(self.origin),
            "quantisation": json.dumps(self.quantisation.record()),
            "grid": json.dumps(asdict(self.scan.grid)),
            "geometry": json.dumps(geometry_record(self.scan)),
        }
