"""Patterns at points that have none of their own, from the sound points around.

Such a point is filled where it lies between sound ones: along a row, along a column or, on
hexagonal grids, along one of the two other rows of neighbours. It becomes the linear mix of the
nearest sound points on both sides; where several lines have both, the shorter count for more. A
point with sound ones on one side only is left as it is, for nothing is extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Patterns, read_at

__all__ = ["FilledPatterns", "Filling", "filling"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Filling:
    """Which points are filled, and with what.

    Parameters
    ----------
    points
        (k,) indices of the points that are filled, in rising order.
    neighbours, weights
        (k, c) indices of the sound points that each is mixed of, and their shares, which add up to
        1; entries of no share name any point.
    left
        (l,) indices of points that are not sound and cannot be filled.
    """

    points: Ints
    neighbours: Ints
    weights: Floats
    left: Ints


def filling(grid: Grid, unsound: npt.NDArray[np.bool_]) -> Filling:
    """How the points marked in `unsound` (n,), in storage order, are filled from the others."""
    points = np.flatnonzero(unsound)
    xy = grid.positions() * (1.0, grid.row_distance)
    x, y = np.rint(grid.positions() * (2, 1)).astype(np.int64).T  # in half columns and rows
    lines = [(y, x), (x, y)]
    if grid.is_hexagonal:
        lines = [(y, x), (x - y, y), (x + y, y)]
    neighbours = np.repeat(points[:, None], 2 * len(lines), axis=1)
    weights = np.zeros(neighbours.shape)
    for i, (line, place) in enumerate(lines):
        before, after = (ends[points] for ends in _sound_ends(line, place, unsound))
        both = np.flatnonzero((before >= 0) & (after >= 0))
        ends = np.stack([before[both], after[both]], axis=1)  # (b, 2)
        apart = np.linalg.norm(xy[ends] - xy[points[both], None], axis=2)
        span = apart.sum(axis=1, keepdims=True)
        neighbours[both, 2 * i : 2 * i + 2] = ends
        weights[both, 2 * i : 2 * i + 2] = apart[:, ::-1] / span**3
    total = weights.sum(axis=1)
    fit = total > 0
    return Filling(points[fit], neighbours[fit], weights[fit] / total[fit, None], points[~fit])


def _sound_ends(line: Ints, place: Ints, unsound: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """(n,) index of the nearest sound point before and after each on its line, -1 for none."""
    order = np.lexsort([place, line])
    at = np.arange(len(order))
    bad, lines = unsound[order], line[order]
    first = np.maximum.accumulate(np.where(np.diff(lines, prepend=lines[0] - 1) != 0, at, 0))
    before = np.maximum.accumulate(np.where(bad, -1, at))
    backwards = np.where(bad, len(at), at)[::-1]
    after = np.minimum.accumulate(backwards)[::-1]
    last = np.append(lines, lines[-1] + 1)
    ends = np.where(last[1:] != last[:-1], at, len(at))[::-1]
    stop = np.minimum.accumulate(ends)[::-1]
    found = []
    for sound, there in ((before, before >= first), (after, after <= stop)):
        indices = np.full(len(order), -1, np.int64)
        indices[order[there]] = order[sound[there]]
        found.append(indices)
    return found[0], found[1]


class FilledPatterns:
    """Patterns with those of some points mixed of sound ones around: float32 where any are."""

    def __init__(self, patterns: Patterns, fill: Filling) -> None:
        self.patterns, self.fill = patterns, fill
        self.shape = patterns.shape
        self.dtype = np.dtype(np.float32) if len(fill.points) else patterns.dtype

    def read(self, start: int, stop: int) -> npt.NDArray:
        block = self.patterns.read(start, stop)
        first, last = np.searchsorted(self.fill.points, [start, stop])
        if first == last:
            return block.astype(self.dtype, copy=False)
        out = block.astype(self.dtype)
        neighbours, weights = self.fill.neighbours[first:last], self.fill.weights[first:last]
        used = np.unique(neighbours[weights > 0])
        sound = read_at(self.patterns, used).astype(np.float32)
        place = np.minimum(np.searchsorted(used, neighbours), len(used) - 1)
        for i, point in enumerate(self.fill.points[first:last] - start):
            part = weights[i] > 0  # 0 times infinity is not 0
            out[point] = np.tensordot(
                weights[i, part].astype(np.float32), sound[place[i, part]], axes=1
            )
        return out
