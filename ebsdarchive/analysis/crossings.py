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

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.grains import SIDE
from ebsdarchive.analysis.ridges import BandPatterns, half_way
from ebsdarchive.analysis.scan_path import ScanPath
from ebsdarchive.geometry import linear_weights
from ebsdarchive.neural.gradient import DiffractionGradient

__all__ = ["Crossing", "GradientAlong", "find_crossings", "gradient_along"]

PER_STEP = 10  # samples of S on a step of the path; its maxima are found between them
BETWEEN_SIDES = 41  # places between both sides of a maximum where patterns are asked for
FLAT = 0.05  # a maximum that rises less than this part of its height is none

Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class GradientAlong:
    """S along a path, sampled evenly and finely, however few patterns are asked for.

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
    """S along a path, at a scale of `smoothing` steps.

    Parameters
    ----------
    progress
        Told (positions, of all).
    """
    count = max(3, int(np.ceil(path.length * PER_STEP)) + 1)
    distance = np.linspace(0.0, path.length, count)
    return GradientAlong(distance, gradient.smoothed(path.at(distance), smoothing, progress))


def find_crossings(
    path: ScanPath, along: GradientAlong, bands: BandPatterns, correlation: float = 0.6
) -> list[Crossing]:
    """The boundaries that a path crosses, in order.

    Maxima of S whose sides correlate by `correlation` or more are given up one by one, the lowest
    first: what is left of a boundary with two maxima is the higher, and both sides of it are taken
    anew, a step away or half way to the next boundary.
    """
    from scipy.signal import find_peaks, peak_widths

    s = along.s.astype(np.float64)
    step = along.distance[1]
    peaks, found = find_peaks(s, prominence=0)
    kept = [int(peak) for peak in peaks[found["prominences"] > FLAT * s[peaks]]]
    maxima = [_between_samples(s, peak) * step for peak in kept]
    while kept:
        sides = _sides(maxima, path.length)
        alike = _correlations(_linear(bands, path, np.ravel(sides)))
        given_up = [i for i, value in enumerate(alike) if value >= correlation]
        if not given_up:
            break
        lowest = min(given_up, key=lambda i: s[kept[i]])
        del kept[lowest], maxima[lowest]
    if not kept:
        return []
    widths = peak_widths(s, kept, rel_height=0.5)[0] * step
    found = []
    for peak, maximum, width, value, (before, after) in zip(
        kept, maxima, widths, alike, sides, strict=True
    ):
        line = np.linspace(before, after, BETWEEN_SIDES)
        rows = _linear(bands, path, line)
        at = maximum + float(half_way(rows[None], line - maximum)[0])
        x, y = path.at([at])[0]
        found.append(
            Crossing(
                distance=at,
                xy=(float(x), float(y)),
                s=float(s[peak]),
                s_distance=maximum,
                width=float(width),
                correlation=float(value),
                sides=(float(before), float(after)),
            )
        )
    return found


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


def _sides(maxima: list[float], length: float) -> npt.NDArray[np.float64]:
    """(k, 2) distances along the path of the patterns before and after each maximum."""
    at = np.array(maxima)
    middles = (at[:-1] + at[1:]) / 2
    before = np.maximum(at - SIDE, np.concatenate([[0.0], middles]))
    after = np.minimum(at + SIDE, np.concatenate([middles, [length]]))
    return np.column_stack([before, after])


def _correlations(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(2 k, r) band patterns, two and two, to the (k,) cosines between them."""
    pairs = rows.reshape(-1, 2, rows.shape[1])
    norms = np.linalg.norm(pairs, axis=2).prod(axis=1)
    return (pairs[:, 0] * pairs[:, 1]).sum(axis=1) / np.maximum(norms, 1e-30)
