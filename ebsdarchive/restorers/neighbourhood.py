"""The mean of a pattern and of those around it that are like it.

After Brewick, Wright & Rowenhorst 2019 (NLPAR): points of another orientation count for little.
Which those are is told by `likeness`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid
from ebsdarchive.restorers.likeness import features_of, weights_of

__all__ = ["Neighbourhood", "neighbour_means"]

Floats = npt.NDArray[np.float32]

POINTS = 32  # of one scan row that are worked on together


@dataclass(frozen=True)
class Neighbourhood:
    """Weighted means of neighbourhoods.

    Parameters
    ----------
    means
        (k, sy, sx) of the points asked for, each among its own neighbours.
    n_effective
        (k,) how many patterns each is worth, 1 / sum of squared weights; 1 without like neighbours.
    """

    means: Floats
    n_effective: Floats


def neighbour_means(
    patterns: Floats,
    noise: Floats,
    grid: Grid,
    first: int,
    start: int,
    stop: int,
    mask: npt.NDArray[np.bool_],
    radius: int = 3,
) -> Neighbourhood:
    """Means of points `start` … `stop` of a scan.

    Parameters
    ----------
    patterns
        (m, sy, sx) of the consecutive points from `first` on, flattened (background 0, variance
        1): all within `radius` of the points asked for, so that no point's result depends on how
        the scan is cut.
    noise
        (m,) standard deviation of the pixel noise of each, on the same scale.
    mask
        (sy, sx) lit pixels.
    radius
        Of the window, in steps along x, and at most so many rows; 0: each pattern alone.
    """
    means = patterns[start - first : stop - first].copy()
    n_effective = np.ones(stop - start, np.float32)
    if radius < 1:
        return Neighbourhood(means, n_effective)
    flat = patterns.reshape(len(patterns), -1)
    features = features_of(patterns, noise, mask)
    starts = grid.row_starts
    reach = min(radius, int(radius / grid.row_distance + 1e-9))
    row = int(np.searchsorted(starts, start, side="right")) - 1
    at = start
    while at < stop:
        end = min(at + POINTS, int(starts[row + 1]), stop)
        own = np.arange(at, end)
        near = _near(grid, own, row, reach, radius, first, first + len(patterns))
        weights = weights_of(
            features[own - first],
            features[near - first],
            _window(grid, own, near, radius),
            np.searchsorted(near, own),
        )
        mixed = weights @ flat[near - first]  # (k, sy sx)
        means[at - start : end - start] = mixed.reshape(-1, *patterns.shape[1:])
        n_effective[at - start : end - start] = 1 / np.square(weights).sum(axis=1)
        at = end
        row += int(at == starts[row + 1])
    return Neighbourhood(means, n_effective)


def _near(
    grid: Grid,
    own: npt.NDArray[np.int64],
    row: int,
    reach: int,
    radius: int,
    first: int,
    stop: int,
) -> npt.NDArray[np.int64]:
    """Indices of the points that some of `own`, of one row, may have in their window."""
    starts = grid.row_starts
    left = int(own[0] - starts[row]) - radius - 1
    right = int(own[-1] - starts[row]) + radius + 1
    ranges = [
        np.arange(
            max(starts[r] + max(left, 0), first),
            min(starts[r] + right + 1, starts[r + 1], stop),
        )
        for r in range(max(row - reach, 0), min(row + reach + 1, grid.n_rows))
    ]
    return np.concatenate(ranges)


def _window(
    grid: Grid, own: npt.NDArray[np.int64], near: npt.NDArray[np.int64], radius: int
) -> npt.NDArray[np.bool_]:
    """(k, m) whether a point lies in the square window of another."""
    scale = np.array([1.0, grid.row_distance])
    apart = np.abs(grid.positions_at(own)[:, None] - grid.positions_at(near)[None]) * scale
    return np.asarray((apart <= radius + 1e-6).all(axis=2))
