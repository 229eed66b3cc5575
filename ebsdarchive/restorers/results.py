"""Results of finished blocks, kept on disk so that an interrupted run goes on where it was.

A folder beside the target holds the estimates one after another in `patterns`, and what is known of
each in small files; `state` says for which run it is, and how many scan rows are complete. It is
written last and replaced as a whole, so that a crash loses one block at most.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.store import errors_of
from ebsdarchive.restorers.blocks import Block
from ebsdarchive.scan import FilePatterns

__all__ = ["Results"]


@dataclass(frozen=True)
class _Part:
    """Values of all patterns, one after another in a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Of one pattern."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape, dtype=int))


class Results:
    """The results of a run.

    Parameters
    ----------
    folder
        Where they are kept; what is there of another run is removed.
    run
        What decides on the results, as JSON can hold it: of the same run they are used.
    shape
        (n, sy, sx) of the scan.
    dtype
        Of the estimates that are given to `add`.
    uncertainty
        Whether each pixel's is kept, besides the mean of each pattern.
    """

    def __init__(
        self,
        folder: Path,
        run: Mapping[str, Any],
        shape: tuple[int, int, int],
        dtype: str,
        *,
        uncertainty: bool = False,
    ) -> None:
        self.folder, self.shape = folder, shape
        self._parts = {
            "patterns": _Part("patterns", dtype, shape[1:]),
            "mean_uncertainty": _Part("mean_uncertainty", "float32", ()),
            "flags": _Part("flags", "uint8", ()),
        }
        if uncertainty:
            self._parts["uncertainty"] = _Part("uncertainty", "float32", shape[1:])
        self._run = {
            **json.loads(json.dumps(run)),
            "shape": list(shape),
            "parts": {part.name: part.dtype for part in self._parts.values()},
        }
        self.rows, self.done = 0, 0
        self.counts: dict[str, int] = {}
        self.resumed = self._resume()

    def _resume(self) -> bool:
        """Take up what is there of this run; else begin with an empty folder."""
        try:
            state = json.loads((self.folder / "state").read_text(encoding="utf-8"))
            rows, done, counts = int(state["rows"]), int(state["done"]), dict(state["counts"])
            usable = state["run"] == self._run and all(
                self._path(part).stat().st_size >= done * part.nbytes
                for part in self._parts.values()
            )
        except (OSError, ValueError, LookupError, TypeError):
            usable = False
        if usable:
            self.rows, self.done, self.counts = rows, done, counts
            return True
        with errors_of(self.folder, self.folder):
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.folder.mkdir()
            for part in self._parts.values():
                self._path(part).touch()
        return False

    def add(self, block: Block, patterns: npt.NDArray, counts: Mapping[str, int]) -> None:
        """Keep a block.

        Parameters
        ----------
        patterns
            The estimates as they are to be kept.
        counts
            Numbers that are added up over the run, such as of limited pixels.

        Raises
        ------
        OutputError
            If the disk is full or cannot be written to.
        """
        uncertainty, flags = block.estimate.uncertainty, block.estimate.flags
        n = len(patterns)
        values: dict[str, npt.NDArray] = {
            "patterns": patterns,
            "flags": np.zeros(n, np.uint8) if flags is None else flags,
            "mean_uncertainty": np.full(n, np.nan, np.float32)
            if block.mean_uncertainty is None
            else block.mean_uncertainty,
        }
        if "uncertainty" in self._parts and uncertainty is not None:
            values["uncertainty"] = uncertainty
        added = {key: self.counts.get(key, 0) + int(count) for key, count in counts.items()}
        with errors_of(self.folder, self.folder):
            for name, part in self._parts.items():
                self._write(part, values[name])
            counted = self.counts | added
            state = {
                "run": self._run,
                "rows": block.last_row,
                "done": block.stop,
                "counts": counted,
            }
            partial = self.folder / "state.part"
            with open(partial, "w", encoding="utf-8") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.folder / "state")
        self.rows, self.done, self.counts = block.last_row, block.stop, counted

    def _write(self, part: _Part, values: npt.NDArray) -> None:
        with open(self._path(part), "r+b") as file:
            file.truncate(self.done * part.nbytes)  # what a crash left behind the last block
            file.seek(0, os.SEEK_END)
            file.write(np.ascontiguousarray(values, np.dtype(part.dtype)).data)
            file.flush()
            os.fsync(file.fileno())

    def _path(self, part: _Part) -> Path:
        return self.folder / part.name

    @property
    def patterns(self) -> FilePatterns:
        """The estimates, of all patterns once the run is complete."""
        return self._stack("patterns")

    @property
    def uncertainty(self) -> FilePatterns:
        """(n, sy, sx) uncertainty of each pixel, where it is kept."""
        return self._stack("uncertainty")

    def _stack(self, name: str) -> FilePatterns:
        part = self._parts[name]
        return FilePatterns(self._path(part), part.dtype, self.shape)

    @property
    def mean_uncertainty(self) -> npt.NDArray[np.float32]:
        """(n,) mean over the pixels of each pattern, in counts; NaN where the method knows none."""
        return np.fromfile(self._path(self._parts["mean_uncertainty"]), np.float32, self.done)

    @property
    def flags(self) -> npt.NDArray[np.uint8]:
        """(n,) flags of each estimate."""
        return np.fromfile(self._path(self._parts["flags"]), np.uint8, self.done)

    def remove(self) -> None:
        """Remove the folder, once the results are elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)
