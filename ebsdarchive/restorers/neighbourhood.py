"""The mean of a pattern and of those around it that are like it.

After Brewick, Wright & Rowenhorst 2019 (NLPAR): points of another orientation count for little,
because their patterns differ by more than noise. Differences are taken on binned patterns, where
bands weigh more than in single pixels, and in standard deviations of what noise alone would give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid

__all__ = ["Neighbourhood", "neighbour_means"]

Floats = npt.NDArray[np.float32]

BINNED = 32  # px, about: the size at which patterns are compared
ALIKE = 2.0  # a difference of so many standard deviations is that of a like pattern,
FALL = 1.0  # and the weight falls by the square root of e within this many more
SPREAD = 4.0  # variance of noise in binned patterns, at most, over that of independent pixels
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
    small, expected = _binned(patterns, noise, mask)
    starts = grid.row_starts
    reach = min(radius, int(radius / grid.row_distance + 1e-9))
    row = int(np.searchsorted(starts, start, side="right")) - 1
    at = start
    while at < stop:
        end = min(at + POINTS, int(starts[row + 1]), stop)
        own = np.arange(at, end)
        near = _near(grid, own, row, reach, radius, first, first + len(patterns))
        d2 = _distances(small[own - first], small[near - first])
        most = expected[own - first, None] + expected[near - first]
        weights = _weights(
            d2, most, _window(grid, own, near, radius), np.searchsorted(near, own), small.shape[1]
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


def _distances(own: Floats, near: Floats) -> Floats:
    """(k, m) mean square differences of (k, f) and (m, f)."""
    squares = np.square(own).sum(axis=1)[:, None] + np.square(near).sum(axis=1)
    return np.maximum(squares - 2 * own @ near.T, 0) / own.shape[1]


def _weights(
    d2: Floats,
    most: Floats,
    window: npt.NDArray[np.bool_],
    itself: npt.NDArray[np.int64],
    pixels: int,
) -> Floats:
    """(k, m) weights that add up to 1; `itself` (k,) tells which of the m each of the k is.

    With d² the mean square difference of f pixels and 2 σ² that which noise alone makes of it:
    z = (d² / 2 σ² - 1) sqrt(f / 2), w = exp(-max(z - ALIKE, 0)² / 2 FALL²). 2 σ² is the second
    smallest d² of a window, for most points have two like neighbours, but not above `most`, for
    some have none.
    """
    others = np.where(window, d2, np.inf)
    np.put_along_axis(others, itself[:, None], np.inf, axis=1)
    noise = most
    if others.shape[1] > 2:
        noise = np.minimum(np.partition(others, 1, axis=1)[:, 1:2], most)
    z = (others / np.maximum(noise, 1e-12) - 1) * np.sqrt(pixels / 2)
    weights = np.exp(-np.square(np.maximum(z - ALIKE, 0)) / (2 * FALL**2))
    np.put_along_axis(weights, itself[:, None], 1.0, axis=1)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _binned(patterns: Floats, noise: Floats, mask: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """(m, f) means over squares of lit pixels, and the variance (m,) that noise has in them.

    That is measured on second differences of the means, which bands hardly have, and is not less
    than that of independent pixels.
    """
    m, sy, sx = patterns.shape
    size = max(1, round(min(sy, sx) / BINNED))
    ny, nx = sy // size, sx // size
    cut = patterns[:, : ny * size, : nx * size].reshape(m, ny, size, nx, size)
    blocks = mask[: ny * size, : nx * size].reshape(ny, size, nx, size)
    lit = np.asarray(blocks.all(axis=(1, 3)))  # (ny, nx)
    means = cut.mean(axis=(2, 4), dtype=np.float32)
    change = (means[:, 1:, 1:] - means[:, 1:, :-1] - means[:, :-1, 1:] + means[:, :-1, :-1]) / 2
    whole = lit[1:, 1:] & lit[1:, :-1] & lit[:-1, 1:] & lit[:-1, :-1]
    measured = np.square(change[:, whole]).sum(axis=1) / max(1, np.count_nonzero(whole))
    independent = np.square(noise / size)
    variance = np.clip(measured, independent, SPREAD * independent)
    return np.ascontiguousarray(means[:, lit]), variance.astype(np.float32)
