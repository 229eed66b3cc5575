"""Grain boundaries as polylines between samples: cracks of the label map, moved onto the ridge.

A boundary begins with the cracks between samples of two grains. Each crack moves along the
direction in which patterns change most, to where the field is half way between the patterns on both
sides; what is left of the raster's stairs is smoothed away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.grains import SIDE, Grains, borders, oriented_normals
from ebsdarchive.analysis.ridges import BandPatterns, Raster, Slopes, half_way
from ebsdarchive.archive.outlines import Boundary
from ebsdarchive.neural.gradient import DiffractionGradient

__all__ = ["lines_between", "trace"]

SMOOTHING = 0.5  # steps, standard deviation along a boundary
OFFSETS = np.linspace(-SIDE, SIDE, 17)  # steps across it, where the field is asked
CRACKS_AT_ONCE = 1 << 12

Corner = tuple[int, int]
Floats = npt.NDArray[np.float64]


def trace(
    grains: Grains,
    slopes: Slopes,
    bands: BandPatterns,
    gradient: DiffractionGradient,
    raster: Raster,
) -> list[Boundary]:
    """All boundaries of a scan that was cut into grains."""

    def moved(middle: Floats, pairs: npt.NDArray[np.int64]) -> Floats:
        return _onto_ridge(middle, pairs, slopes, bands, raster)

    return [
        Boundary(pair, xy, gradient(xy), grains.correlation[pair])
        for pair, xy in lines_between(grains.labels, raster, moved)
    ]


def lines_between(
    labels: npt.NDArray[np.int32],
    raster: Raster,
    moved: Callable[[Floats, npt.NDArray[np.int64]], Floats] | None = None,
) -> list[tuple[tuple[int, int], Floats]]:
    """Boundaries of labelled samples: the labels on both sides, and (m, 2) vertices in steps.

    Parameters
    ----------
    moved
        Takes (b, 2) middles of cracks, in steps, and the (b, 2) flat indices of the samples on
        their sides; gives where the boundary passes. By default there.
    """
    beside, below = borders(labels)
    pairs = np.concatenate([beside, below])
    if len(pairs) == 0:
        return []
    nx = labels.shape[1]
    row, column = np.divmod(pairs[:, 1], nx)
    # the two corners that a crack joins; corner (r, c) is above and left of sample (r, c)
    ends = np.stack([np.column_stack([row, column]), np.column_stack([row, column])], axis=1)
    ends[: len(beside), 1, 0] += 1
    ends[len(beside) :, 1, 1] += 1
    middle = (ends.mean(axis=1)[:, ::-1] - 0.5) / raster.per_step
    points = middle if moved is None else moved(middle, pairs)
    chains = _chains(ends, np.sort(labels.ravel()[pairs], axis=1))
    junctions = _junctions(chains, points)
    found = []
    for (i, j), corners, cracks in chains:
        closed = corners[0] == corners[1]
        xy = _smoothed(points[cracks], raster, closed and len(junctions[corners[0]]) == 2)
        if not (closed and len(junctions[corners[0]]) == 2):
            first, last = (_meeting(corner, junctions, labels.shape, raster) for corner in corners)
            xy = np.concatenate([[first], xy, [last]])
        found.append(((i, j), xy))
    return found


def _onto_ridge(
    middle: npt.NDArray[np.float64],
    pairs: npt.NDArray[np.int64],
    slopes: Slopes,
    bands: BandPatterns,
    raster: Raster,
) -> npt.NDArray[np.float64]:
    """(m, 2) positions where the field is half way between both sides, near `middle`."""
    aspect = np.array([1.0, raster.grid.row_distance])
    out = np.empty_like(middle)
    for start in range(0, len(middle), CRACKS_AT_ONCE):
        part = slice(start, start + CRACKS_AT_ONCE)
        across = oriented_normals(slopes, pairs[part]) / aspect  # (b, 2), in steps
        at = middle[part, None] + OFFSETS[:, None] * across[:, None]  # (b, o, 2)
        at = np.clip(at, 0.0, raster.grid.extent)
        patterns = bands(at.reshape(-1, 2)).reshape(*at.shape[:2], -1)
        shift = half_way(patterns, OFFSETS)
        out[part] = middle[part] + shift[:, None] * across
    return np.clip(out, 0.0, raster.grid.extent)


def _chains(
    ends: npt.NDArray[np.int64], sides: npt.NDArray[np.int32]
) -> list[tuple[tuple[int, int], tuple[Corner, Corner], list[int]]]:
    """Cracks in order, between the corners where a boundary of two grains ends.

    Returns
    -------
    list of (labels of both sides, first and last corner, indices of the cracks)
    """
    at: dict[Corner, list[int]] = defaultdict(list)
    corners = [((a, b), (c, d)) for (a, b), (c, d) in ends.tolist()]
    for crack, both in enumerate(corners):
        for corner in both:
            at[corner].append(crack)
    pair = [(i, j) for i, j in sides.tolist()]
    used = [False] * len(corners)

    def is_end(corner: Corner) -> bool:
        return len(at[corner]) != 2 or pair[at[corner][0]] != pair[at[corner][1]]

    def walk(crack: int, corner: Corner) -> tuple[Corner, list[int]]:
        """From `corner` along `crack` to the end of the boundary, or once around."""
        passed = []
        while not used[crack]:
            used[crack] = True
            passed.append(crack)
            a, b = corners[crack]
            corner = b if corner == a else a
            if is_end(corner):
                break
            crack = next((c for c in at[corner] if c != crack), crack)
        return corner, passed

    chains = []
    starts = [corner for corner in at if is_end(corner)]
    for corner in starts:
        for crack in at[corner]:
            if not used[crack]:
                last, passed = walk(crack, corner)
                chains.append((pair[crack], (corner, last), passed))
    for crack, both in enumerate(corners):  # what is left is closed
        if not used[crack]:
            _, passed = walk(crack, both[0])
            chains.append((pair[crack], (both[0], both[0]), passed))
    return chains


def _junctions(
    chains: list[tuple[tuple[int, int], tuple[Corner, Corner], list[int]]],
    points: npt.NDArray[np.float64],
) -> dict[Corner, list[npt.NDArray[np.float64]]]:
    """The last point of each boundary that ends at a corner."""
    found: dict[Corner, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for _, (first, last), cracks in chains:
        found[first].append(points[cracks[0]])
        found[last].append(points[cracks[-1]])
    return found


def _meeting(
    corner: Corner,
    junctions: dict[Corner, list[npt.NDArray[np.float64]]],
    shape: tuple[int, int],
    raster: Raster,
) -> npt.NDArray[np.float64]:
    """(2,) where the boundaries of a corner meet: amid their last points, or at the scan's edge."""
    xy = np.mean(junctions[corner], axis=0)
    x_max, y_max = raster.grid.extent
    row, column = corner
    if row in (0, shape[0]):
        xy[1] = 0.0 if row == 0 else y_max
    if column in (0, shape[1]):
        xy[0] = 0.0 if column == 0 else x_max
    return xy


def _smoothed(xy: npt.NDArray[np.float64], raster: Raster, closed: bool) -> npt.NDArray[np.float64]:
    """(m, 2) points, smoothed along the boundary; a closed one ends where it begins."""
    from scipy.ndimage import gaussian_filter1d

    sigma = SMOOTHING * raster.per_step
    smooth = gaussian_filter1d(xy, sigma, axis=0, mode="wrap" if closed else "nearest")
    return np.concatenate([smooth, smooth[:1]]) if closed else smooth
