"""A bounded sample of a scan's patterns: what masks, pixel weights, the basis and the rank are
estimated from. Owns which points are drawn and which of them are neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import FitError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Scan

__all__ = [
    "Sample",
    "draw_sample",
    "neighbour_pairs",
    "noise_counts",
    "noise_variance",
    "require_finite",
    "sample_indices",
]

SAMPLE_BYTES = 256 << 20  # as float32
RUN_LENGTH = 4  # consecutive points, so that the sample holds neighbours
CHI2_MEDIAN = 0.454936  # median of a chi-squared variable with one degree of freedom


@dataclass(frozen=True)
class Sample:
    """Patterns spread over a scan.

    Parameters
    ----------
    patterns
        (k, sy, sx) in the source's counts and dtype.
    indices
        (k,) index of each pattern in the scan, ascending.
    pairs
        (p,) positions i in the sample for which i and i + 1 are neighbouring points of the scan.
    """

    patterns: npt.NDArray
    indices: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int64]


def draw_sample(scan: Scan, seed: int, sample_bytes: int = SAMPLE_BYTES) -> Sample:
    """Runs of neighbouring patterns, jittered evenly over the scan; all of it where it fits.

    `sample_bytes` bounds the size of the sample as float32. Raises FitError on NaN or infinity.
    """
    n, sy, sx = scan.patterns.shape
    most = max(2, sample_bytes // (4 * sy * sx))
    indices = sample_indices(n, most, seed)
    patterns = np.empty((len(indices), sy, sx), scan.patterns.dtype)
    block = max(1, (16 << 20) // scan.pattern_bytes)
    breaks = np.flatnonzero(np.diff(indices) > 1) + 1
    done = 0
    for run in np.split(indices, breaks):
        for start in range(int(run[0]), int(run[-1]) + 1, block):
            stop = min(start + block, int(run[-1]) + 1)
            read = scan.patterns.read(start, stop)
            require_finite(read, start, scan.grid)
            patterns[done : done + stop - start] = read
            done += stop - start
    return Sample(patterns, indices, neighbour_pairs(scan.grid, indices))


def sample_indices(n: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """(k,) ascending point indices, k <= `most`: all points, or jittered runs of neighbours."""
    if n <= most:
        return np.arange(n)
    run = min(RUN_LENGTH, most)
    n_runs = most // run
    stride = n / n_runs
    # jitter: a stride that is a multiple of the row length would see one column only
    jitter = np.random.default_rng(seed).random(n_runs) * (stride - run)
    starts = np.floor(np.arange(n_runs) * stride + jitter).astype(np.int64)
    return np.unique(np.minimum(starts[:, None] + np.arange(run), n - 1))


def neighbour_pairs(grid: Grid, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(p,) i for which points `indices[i]` and `indices[i + 1]` are one step apart."""
    adjacent = np.flatnonzero(np.diff(indices) == 1)
    if len(adjacent) == 0:
        return adjacent
    columns = grid.n_columns
    if grid.n_columns_even is None or grid.n_columns_even == columns:
        row = indices // columns
    else:
        row = np.searchsorted(grid.row_starts, indices, side="right") - 1
    if columns == 1:
        return adjacent
    return adjacent[row[adjacent] == row[adjacent + 1]]


def noise_variance(values: npt.NDArray, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(c,) noise variance of each column of `values` (k, c), from differences of neighbours.

    Within a grain neighbours differ by noise alone; the median over pairs ignores the few that
    straddle a boundary. NaN where there is no pair.
    """
    if len(pairs) == 0:
        return np.full(values.shape[1], np.nan)
    difference = values[pairs + 1].astype(np.float32) - values[pairs]
    return np.median(difference**2, axis=0).astype(np.float64) / (2 * CHI2_MEDIAN)


def noise_counts(sample: Sample, mask: npt.NDArray[np.bool_], pixels: int = 1024) -> float | None:
    """Standard deviation in counts of a pixel's noise, over part of the mask's pixels."""
    if len(sample.pairs) == 0:
        return None
    chosen = np.flatnonzero(mask)
    chosen = chosen[:: max(1, len(chosen) // pixels)]
    values = sample.patterns.reshape(len(sample.patterns), -1)[:, chosen].astype(np.float32)
    return float(np.sqrt(noise_variance(values, sample.pairs).mean()))


def require_finite(patterns: npt.NDArray, first: int, grid: Grid) -> None:
    """Raise FitError naming the first NaN or infinite value; `first` is the index of pattern 0."""
    if patterns.dtype.kind != "f" or np.isfinite(patterns).all():
        return
    i, row, column = np.argwhere(~np.isfinite(patterns))[0]
    value = patterns[i, row, column]
    x, y = grid.positions_of(first + i, first + i + 1)[0]
    raise FitError(
        f"pattern {first + i} at ({x:g}, {y:g}): expected finite counts, found {value} at pixel "
        f"({column}, {row}); repair or cut out such patterns first"
    )
