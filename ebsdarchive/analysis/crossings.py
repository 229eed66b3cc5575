"""Where a path crosses grain boundaries: maxima of the diffraction gradient between two patterns.

A maximum of S along a path is a boundary where the bands on its two sides differ, by the same
measure as in `grains`: a path that runs beside a boundary meets maxima, too. It lies where the
pattern is half way between those of its sides, taken from the field at the measured points and
linear between them; on simulated scans that is twice as close to the truth as the maximum itself,
whose place depends on what the field does between the points. Nothing is indexed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.grains import SIDE
from ebsdarchive.analysis.ridges import BandPatterns, half_way
from ebsdarchive.analysis.scan_path import ScanPath
from ebsdarchive.geometry import linear_weights
from ebsdarchive.neural.gradient import DiffractionGradient

__all__ = ["Crossing", "GradientAlong", "find_crossings", "gradient_along"]

PER_STEP = 20  # samples on a step, at least: half as many miss 10 % of S where a field ripples
ROUNDS = 3  # of moving to the half-way pattern, and the sides with it
BETWEEN_SIDES = 41  # places between both sides of a maximum where patterns are asked for
FLAT = 0.05  # a maximum that rises less than this part of its height is none

Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class GradientAlong:
    """S along a path, finely sampled, however few patterns are asked for.

    Parameters
    ----------
    distance
        (k,) from the beginning of the path.
    s
        (k,) counts per step.
    """

    distance: npt.NDArray[np.float64]
    s: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Crossing:
    """A boundary that a path crosses. Lengths are in steps along x.

    Parameters
    ----------
    distance
        From the beginning of the path.
    xy
        (x, y) in steps.
    s, s_distance
        The maximum of S, in counts per step, and its distance from the beginning of the path.
    width
        Full width of the maximum of S along the path, half way down to the higher of the minima
        beside it.
    correlation
        Of the band patterns on both sides: 1 would be no boundary at all.
    sides
        Distances from the beginning of the path at which the patterns beside it were taken.
    phases
        Names of the phases on both sides; None where nothing was indexed there.
    confidence
        Confidence metric on both sides; None where nothing was indexed.
    disorientation_deg
        Between both sides; None where one is not indexed, or their phases differ.
    """

    distance: float
    xy: tuple[float, float]
    s: float
    s_distance: float
    width: float
    correlation: float
    sides: tuple[float, float]
    phases: tuple[str | None, str | None] = (None, None)
    confidence: tuple[float, float] | None = None
    disorientation_deg: float | None = None


def gradient_along(
    path: ScanPath,
    gradient: DiffractionGradient,
    smoothing: float,
    progress: Progress | None = None,
) -> GradientAlong:
    """S along a path, of the field smoothed by a Gaussian of `smoothing` steps in both directions.

    As in `smoothed_slopes`, derivatives are averaged with their signs before their norm is taken,
    and beyond the edge of the scan they are those of the edge.

    Parameters
    ----------
    progress
        Told (length that is done, of all).
    """
    distances, strengths = [], []
    corners = path.corners
    for start, stop in pairwise(corners):
        if stop > start:
            leg = np.linspace(start, stop, int(np.ceil((stop - start) * PER_STEP)) + 1)
            strengths.append(_smoothed_leg(path, leg, gradient, smoothing, progress))
            distances.append(leg)
    # a corner belongs to the leg before it
    distance = np.concatenate([distances[0], *(leg[1:] for leg in distances[1:])])
    s = np.concatenate([strengths[0], *(leg[1:] for leg in strengths[1:])])
    return GradientAlong(distance, s)


def _smoothed_leg(
    path: ScanPath,
    leg: npt.NDArray[np.float64],
    gradient: DiffractionGradient,
    sigma: float,
    progress: Progress | None,
) -> npt.NDArray[np.float32]:
    """(k,) S at the evenly spaced distances (k,) of a straight part of a path."""
    from scipy.ndimage import gaussian_filter1d

    aspect = np.array([1.0, path.grid.row_distance])
    first, last = path.at(leg[[0, -1]]) * aspect
    way = (last - first) / np.hypot(*(last - first))
    step = float(leg[1] - leg[0])
    halo = int(np.ceil(4 * sigma / step))
    aside = np.arange(-halo, halo + 1) * step
    weights = np.exp(-0.5 * (aside / sigma) ** 2) if sigma > 0 else np.ones(1)
    weights /= weights.sum()
    along = np.arange(-halo, len(leg) + halo) * step
    rows = []
    length = max(1, gradient.block_length // len(aside))
    for start in range(0, len(along), length):
        at = first + along[start : start + length, None] * way
        xy = (at[:, None] + aside[:, None] * (-way[1], way[0])) / aspect  # (b, o, 2)
        slopes = gradient.slopes(np.clip(xy, 0.0, path.grid.extent).reshape(-1, 2))
        slopes = slopes.reshape(*xy.shape[:2], slopes.shape[1] * slopes.shape[2])
        rows.append(np.tensordot(slopes, weights, axes=([1], [0])))
        if progress is not None:
            progress(leg[0] + (leg[-1] - leg[0]) * (start + len(at)) / len(along), path.length)
    mean = np.concatenate(rows)  # (k + 2 halo, 2 r)
    if sigma > 0:
        mean = gaussian_filter1d(mean, sigma / step, axis=0, mode="nearest")
    return np.linalg.norm(mean[halo : halo + len(leg)], axis=1).astype(np.float32)


def find_crossings(
    path: ScanPath, along: GradientAlong, bands: BandPatterns, correlation: float = 0.6
) -> list[Crossing]:
    """The boundaries that a path crosses, in order.

    Each maximum of S is moved to the half-way pattern near it. Those whose sides then correlate by
    `correlation` or more are given up one by one, the lowest first, so that of a boundary with two
    maxima the higher is left. Sides are a step away along the path, or half way to the next
    maximum; a path that meets a boundary at a grazing angle may therefore not be said to cross it.
    """
    from scipy.signal import find_peaks, peak_widths

    even = np.linspace(0.0, path.length, max(3, int(np.ceil(path.length * PER_STEP)) + 1))
    s = np.interp(even, along.distance, along.s)
    step = even[1]
    peaks, found = find_peaks(s, prominence=0)
    kept = [int(peak) for peak in peaks[found["prominences"] > FLAT * s[peaks]]]
    maxima = [_between_samples(s, peak) * step for peak in kept]
    placed: list[_Place] = []
    while kept:
        placed = _placed(bands, path, maxima)
        given_up = [i for i, place in enumerate(placed) if place.correlation >= correlation]
        if not given_up:
            break
        lowest = min(given_up, key=lambda i: s[kept[i]])
        del kept[lowest], maxima[lowest]
    if not kept:
        return []
    widths = peak_widths(s, kept, rel_height=0.5)[0] * step
    return [
        Crossing(
            distance=place.distance,
            xy=(float(x), float(y)),
            s=float(s[peak]),
            s_distance=float(maximum),
            width=float(width),
            correlation=place.correlation,
            sides=place.sides,
        )
        for place, (x, y), peak, maximum, width in zip(
            placed, path.at([place.distance for place in placed]), kept, maxima, widths, strict=True
        )
    ]


@dataclass(frozen=True)
class _Place:
    """Where a boundary would be, near a maximum of S."""

    distance: float
    sides: tuple[float, float]
    correlation: float


def _placed(bands: BandPatterns, path: ScanPath, maxima: list[float]) -> list[_Place]:
    """Half-way patterns near maxima; each stays nearer to its own than to the next maximum."""
    middles = [(a + b) / 2 for a, b in pairwise(maxima)]
    found = []
    for maximum, low, high in zip(maxima, [0.0, *middles], [*middles, path.length], strict=True):
        at = maximum
        for _ in range(ROUNDS):
            sides = max(low, at - SIDE), min(high, at + SIDE)
            line = np.linspace(*sides, BETWEEN_SIDES)
            rows = _linear(bands, path, line)
            at += float(half_way(rows[None], line - at)[0])
        found.append(
            _Place(float(at), (float(sides[0]), float(sides[1])), _correlation(rows[0], rows[-1]))
        )
    return found


def _correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Cosine between two band patterns."""
    return float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30)


def _linear(
    bands: BandPatterns, path: ScanPath, distance: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(k, r) band patterns along a path: the field's at measured points, linear between them."""
    points, weights = linear_weights(path.grid, path.at(distance))
    used, place = np.unique(points, return_inverse=True)
    rows = bands(path.grid.positions_at(used))
    return np.einsum("kc,kcr->kr", weights, rows[place.reshape(points.shape)])


def _between_samples(s: npt.NDArray[np.float64], peak: int) -> float:
    """Where the parabola through a maximum and its neighbours is highest, in samples."""
    before, top, after = s[peak - 1 : peak + 2]
    bend = before - 2 * top + after
    return peak + (0.5 * (before - after) / bend if bend < 0 else 0.0)
