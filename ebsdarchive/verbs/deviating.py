"""The smallest field whose orientations deviate little enough from those of the raw patterns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ebsdarchive.errors import ArgumentError
from ebsdarchive.scan import Scan, read_at
from ebsdarchive.verbs.progress import Progress

__all__ = ["within_deviation"]

LOSSES_PCT = (60.0, 35.0, 20.0, 12.0, 7.0, 4.0, 2.0, 1.0)  # that coding may cost, as tried
INDEXED_POINTS = 256


def within_deviation(
    fitted: Callable[..., Any], scan: Scan, deviation_deg: float, progress: Progress
) -> Any:
    """The coarsest of some codings whose orientations deviate little enough, by bisection."""
    from ebsdarchive.analysis.indexing import compare_orientations, hough_index

    if not (math.isfinite(deviation_deg) and deviation_deg > 0):
        raise ArgumentError(
            f"target deviation: expected more than 0 degrees, found {deviation_deg}"
        )
    n = scan.grid.size
    points = np.unique(np.linspace(0, n - 1, min(n, INDEXED_POINTS)).round().astype(np.int64))
    progress("indexing", 0, 1)
    measured = read_at(scan.patterns, points)
    background = scan.static_background
    if background is None:
        background = measured.mean(axis=0)
    raw = hough_index(measured, scan, static_background=background)
    found: dict[int, tuple[float, Any]] = {}

    def deviation_at(rung: int) -> float:
        result = fitted(coding_loss_pct=LOSSES_PCT[rung])
        progress("indexing", 0, 1)
        patterns = result.field(scan.grid).patterns(scan.grid.positions_at(points))
        indexed = hough_index(patterns, scan, static_background=background)
        mean = compare_orientations(raw.quaternions, indexed.quaternions, raw.point_group).mean_deg
        found[rung] = mean, result
        return mean

    low, high = 0, len(LOSSES_PCT) - 1  # of the rungs from coarse to fine
    while low < high:
        middle = (low + high) // 2
        if deviation_at(middle) <= deviation_deg:
            high = middle
        else:
            low = middle + 1
    if low not in found:
        deviation_at(low)
    mean, result = found[low]
    result.log["deviation_deg"] = mean
    result.log["target_met"] = mean <= deviation_deg
    said = "" if mean <= deviation_deg else f"target of {deviation_deg:g} not met: "
    result.log["notes"].append(f"{said}orientations deviate by {mean:.3g} degrees on average")
    return result
