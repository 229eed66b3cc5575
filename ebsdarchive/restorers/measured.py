"""Measured patterns as methods are given them: with none among them that shows nothing.

A pattern is lost where it has one value in all lit pixels, or one that is no number. It is never
restored; others are kept from it by a stand-in, the mean of sound patterns, which resembles none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import FormatError
from ebsdarchive.geometry import Grid
from ebsdarchive.neural.pixels import detector_mask
from ebsdarchive.neural.sample import Sample, neighbour_pairs, sample_indices
from ebsdarchive.scan import Patterns, read_at

__all__ = ["Measured", "lost_patterns", "measured_patterns", "sample_of"]

SAMPLE_BYTES = 128 << 20  # as float32


def lost_patterns(patterns: npt.NDArray, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(n,) True for patterns (n, sy, sx) that show nothing."""
    lit = patterns[:, mask]
    same = (lit == lit[:, :1]).all(axis=1)
    if patterns.dtype.kind != "f":
        return np.asarray(same)
    return np.asarray(same | ~np.isfinite(patterns).all(axis=(1, 2)))


@dataclass(frozen=True)
class Measured:
    """Patterns as float32, with the stand-in for those that are lost.

    Parameters
    ----------
    source
        As they were measured.
    mask
        (sy, sx) lit pixels.
    stand_in
        (sy, sx) counts.
    """

    source: Patterns
    mask: npt.NDArray[np.bool_]
    stand_in: npt.NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.source.shape

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        return self.sound(self.source.read(start, stop))

    def sound(self, patterns: npt.NDArray) -> npt.NDArray[np.float32]:
        """Measured patterns as float32, with the stand-in for those that are lost."""
        values = patterns.astype(np.float32)
        values[lost_patterns(patterns, self.mask)] = self.stand_in
        return values


def measured_patterns(patterns: Patterns, grid: Grid, mask: str, seed: int, where: str) -> Measured:
    """The patterns of a scan; mask and stand-in are those of a sample of them.

    Parameters
    ----------
    mask
        "auto" or "none", as for `ebsdarchive.neural.pixels.detector_mask`.
    where
        What errors name.

    Raises
    ------
    FormatError
        If every pattern of the sample is lost.
    """
    _, sy, sx = patterns.shape
    indices = sample_indices(patterns.shape[0], _most(sy, sx), seed)
    found = read_at(patterns, indices)
    sound = ~lost_patterns(found, np.ones((sy, sx), bool))
    if not sound.any():
        raise FormatError(
            f"{where}: expected patterns to restore, found one value everywhere, or none, in each"
        )
    found, indices = found[sound], indices[sound]
    sample = Sample(found, indices, neighbour_pairs(grid, indices))
    lit = detector_mask(sample, mask)
    mean = found.mean(axis=0, dtype=np.float64).astype(np.float32)
    return Measured(patterns, lit, mean)


def sample_of(patterns: Patterns, grid: Grid, seed: int) -> Sample:
    """Runs of neighbouring patterns spread over a scan; all of it where it fits."""
    n, sy, sx = patterns.shape
    indices = sample_indices(n, _most(sy, sx), seed)
    return Sample(read_at(patterns, indices), indices, neighbour_pairs(grid, indices))


def _most(sy: int, sx: int) -> int:
    return max(2, SAMPLE_BYTES // (4 * sy * sx))
