"""Boundaries by the strength of edges, of light or orientation: mean over samples, threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.grains import ranks_by_area
from ebsdarchive.errors import ArgumentError

__all__ = [
    "BOUNDARY_DEG", "HIGH_ANGLE_DEG", "Edges", "edge_strength", "edges_of", "grains_of", "knee",
    "require_area",
]  # fmt: skip

Floats = npt.NDArray[np.float64]

HIGH_ANGLE_DEG = 15.0  # from which on boundaries count as high-angle ones, all the same
BOUNDARY_DEG = 0.9 * HIGH_ANGLE_DEG  # in the mean: 9 of 10 samples agree on a boundary
SMOOTHING = 0.01  # of the sorted strengths, as a share of their number
CURVE = 2000  # points of the sorted curve that the knee is looked for on
SHORTEST = 8  # pixels of a piece of boundary; what is shorter is noise


@dataclass(frozen=True)
class Edges:
    """Boundaries of a map (y, x).

    Parameters
    ----------
    strength
        Mean over the samples, and of that and the map that they come to.
    threshold
        Strength from which on a pixel belongs to a boundary.
    lines
        bool, what is above the threshold, thinned to lines of one pixel; specks are left out.
    probability
        Share of the samples that are above the threshold.
    """

    strength: Floats
    threshold: float
    lines: npt.NDArray[np.bool_]
    probability: Floats


def edges_of(
    strengths: npt.ArrayLike, threshold: float | None = None, summed_up: Floats | None = None
) -> Edges:
    """Boundaries by the strengths of edges in (k, y, x) samples of a map.

    Parameters
    ----------
    threshold
        By default that at the knee of the mean.
    summed_up
        (y, x) strengths in the map that the samples come to; half of what counts.

    Raises
    ------
    ArgumentError
        If the map is too small to have any.
    """
    from skimage.morphology import skeletonize

    each = np.asarray(strengths, np.float64)
    require_area(each.shape[1:])
    mean = each.mean(axis=0)
    if summed_up is not None:
        mean = (mean + summed_up) / 2
    threshold = knee(mean) if threshold is None else threshold
    lines = skeletonize(_pieces(mean > threshold, SHORTEST, corners=True) > 0)
    return Edges(mean, threshold, lines, (each > threshold).mean(axis=0))


def require_area(shape: tuple[int, ...]) -> None:
    """Raise ArgumentError if a map of this shape is too small to have boundaries."""
    if min(shape) < 3:
        raise ArgumentError(f"boundaries: expected a map of at least 3 x 3 points, found {shape}")


def edge_strength(channels: npt.ArrayLike) -> Floats:
    """(y, x) length of the Sobel gradient of (c, y, x) channels: change per pixel."""
    from scipy.ndimage import sobel

    slopes = [
        sobel(image, axis=axis, mode="nearest") / 8
        for image in np.asarray(channels, np.float64)
        for axis in (0, 1)
    ]
    return np.sqrt(np.sum(np.square(slopes), axis=0))


def knee(strength: npt.ArrayLike) -> float:
    """Where the curve of the sorted strengths bends: few strong pixels before, many weak behind.

    Of a map without a bend, its largest value: nothing is above it.
    """
    from kneed import KneeLocator
    from scipy.ndimage import gaussian_filter1d

    falling = np.sort(np.asarray(strength, np.float64).ravel())[::-1]
    smooth = gaussian_filter1d(falling, SMOOTHING * len(falling), mode="nearest")
    at = np.linspace(0, len(smooth) - 1, min(CURVE, len(smooth))).round().astype(int)
    if np.ptp(smooth) <= 1e-12:
        return float(falling[0])
    found = KneeLocator(at, smooth[at], curve="convex", direction="decreasing").knee
    return float(falling[0] if found is None else smooth[int(found)])


def grains_of(edges: Edges, smallest: int = SHORTEST) -> npt.NDArray[np.int32]:
    """(y, x) labels from 1 on, largest grain first: watershed of the strength.

    It begins where the strength is below the threshold, in pieces of `smallest` pixels or more.
    """
    from skimage.segmentation import watershed

    seeds = _pieces(edges.strength <= edges.threshold, smallest)
    if not seeds.any():
        return np.ones(edges.strength.shape, np.int32)
    found = np.asarray(watershed(edges.strength, seeds))
    return ranks_by_area(found)[found]


def _pieces(
    mask: npt.NDArray[np.bool_], smallest: int, *, corners: bool = False
) -> npt.NDArray[np.int32]:
    """(y, x) labels of the connected pieces of `smallest` pixels or more; 0 elsewhere.

    Pixels are connected by their sides, and by their corners where that is asked for.
    """
    from scipy.ndimage import label

    pieces, _ = label(mask, structure=np.ones((3, 3)) if corners else None)
    enough = np.bincount(pieces.ravel()) >= smallest
    enough[0] = False
    return np.where(enough[pieces], pieces, 0).astype(np.int32)
