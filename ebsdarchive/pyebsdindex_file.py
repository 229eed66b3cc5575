"""Layers of an archive as a pattern file of PyEBSDIndex, which indexes them without an export.

Give an `ArchivePatternFile` where PyEBSDIndex takes the name of a pattern file::

    from pyebsdindex import ebsd_index
    from ebsdarchive.pyebsdindex_file import ArchivePatternFile

    file = ArchivePatternFile("scan.archive.h5", layer="neural")
    data, bands, indexer = ebsd_index.index_pats(filename=file, PC=file.pc, npats=-1)

It holds the archive's name and opens it for each read, so that `index_pats_distributed` can send it
to other processes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pyebsdindex.ebsd_pattern import EBSDPatternFile

from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.lazy import LayerPatterns
from ebsdarchive.errors import ArgumentError

__all__ = ["ArchivePatternFile"]


class ArchivePatternFile(EBSDPatternFile):
    """One layer of an archive.

    Parameters
    ----------
    path
        The archive, or a URL of it.
    layer
        raw, neural, or the name of a restored layer; by default the first there is.

    Attributes
    ----------
    vendor
        KIKUCHIPY: projection centres in Bruker's convention, EDAX's sample frame.
    """

    def __init__(self, path: str | os.PathLike[str], layer: str | None = None) -> None:
        archive = open_archive(path)
        name = layer or archive.pattern_layers[0]
        super().__init__(archive.path, filetype="ebsdarchive")
        self.patterns = LayerPatterns(archive, name)
        grid = archive.grid
        self.vendor, self.version = "KIKUCHIPY", archive.format_version
        self.nPatterns, self.patternH, self.patternW = (int(size) for size in self.patterns.shape)
        self.hexflag = grid.is_hexagonal
        # PyEBSDIndex counts n_rows x n_columns points, which hexagonal grids do not have
        self.nRows, self.nCols = (1, grid.size) if self.hexflag else (grid.n_rows, grid.n_columns)
        self.xStep, self.yStep = grid.step_x_um or 1.0, grid.step_y_um or 1.0
        self.filedatatype = self.patterns.dtype.type
        self._centre = archive.scan(name).detector.pc_bruker

    @property
    def pc(self) -> npt.NDArray[np.float64]:
        """(3,) mean projection centre in Bruker's convention.

        Raises
        ------
        ArgumentError
            If the archive knows none.
        """
        if self._centre is None:
            raise ArgumentError(
                f"{self.patterns.path}: expected a projection centre, found none; give PyEBSDIndex "
                f"one with PC="
            )
        return np.atleast_2d(self._centre).mean(axis=0)

    def set_filepath(self, path: Any = None) -> None:
        """Keep the name as it is: it may be a URL."""
        if path is not None:
            self.filepath = Path(path)

    def pat_reader(self, patStart: int, nPatToRead: int) -> tuple[npt.NDArray, npt.NDArray]:
        """(n, sy, sx) patterns and their (column, row), as PyEBSDIndex asks its files for them."""
        start, stop = int(patStart), int(patStart) + int(nPatToRead)
        rows, columns = np.unravel_index(np.arange(start, stop), (self.nRows, self.nCols))
        return self.patterns.read(start, stop), np.stack([columns, rows], 1).astype(np.float32)
