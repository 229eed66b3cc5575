"""Means over small areas of a scan, in which the basis of a scan of many grains is sought.

A sample of patterns meets some grains and misses others. Its KLT then describes its own patterns,
down to their noise, far better than those of the scan. Means over areas of a few points know every
grain that is not smaller, with little noise; they take one pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ebsdarchive.neural.basis import Basis, choose_rank
from ebsdarchive.neural.pixels import change_inside
from ebsdarchive.neural.sample import Sample
from ebsdarchive.scan import Scan

__all__ = ["knows_only_its_sample", "local_means"]

MOST_BYTES = 480 << 20  # of all means
MOST_AREAS = 8192
UNKNOWN = 1.1  # times what a basis leaves of its own patterns, from which on it is of these alone


def knows_only_its_sample(basis: Basis, sample: Sample, others: Sample) -> bool:
    """Whether the KLT of a sample leaves far more of other patterns of the scan than of its own, as
    far as its components are above the noise."""
    basis = basis.truncate(choose_rank(basis, len(sample.pairs)).rank - 1)
    values = change_inside(others.patterns, basis.mean, basis.mask)
    values *= np.sqrt(basis.weights)
    held = values @ basis.vectors.T
    left = np.square(values).sum(dtype=np.float64) - np.square(held).sum(dtype=np.float64)
    own = max(basis.total_variance - float(basis.variances.sum()), 0.0)
    # c components of k patterns hold about c / k more of their noise than of that of others
    fitted = min(len(basis.variances) / max(len(sample.patterns), 1), 0.5)
    expected = own * (1 + fitted) / (1 - fitted)
    return bool(left / len(values) > UNKNOWN * expected + 1e-9 * basis.total_variance)


def local_means(
    scan: Scan,
    mean_pattern: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    progress: Callable[[float], None],
) -> npt.NDArray[np.float32]:
    """(t, m) what the mean patterns of square areas are off `mean_pattern`, times the root of their
    share of the points, as many as 480 MiB and 8,192 areas allow.

    Parameters
    ----------
    mean_pattern
        (sy, sx) counts.
    mask
        (sy, sx), m pixels.
    """
    grid, pixels = scan.grid, int(mask.sum())
    most = max(1, min(MOST_AREAS, MOST_BYTES // (4 * pixels)))
    side = max(1, math.ceil(math.sqrt(grid.size / most)))
    while (count := math.prod(int(end // side) + 1 for end in grid.extent)) > most:
        side += 1
    columns = int(grid.extent[0] // side) + 1
    sums, points = np.zeros((count, pixels), np.float32), np.zeros(count)
    for start, stop, patterns in scan.blocks():
        change = change_inside(patterns, mean_pattern, mask)
        column, row = (grid.positions_of(start, stop) // side).T
        area = (row * columns + column).astype(np.int64)
        met, place = np.unique(area, return_inverse=True)
        ones = np.ones(stop - start, np.float32)
        sums[met] += sparse.csr_matrix((ones, (place, np.arange(stop - start)))) @ change
        points += np.bincount(area, minlength=count)
        progress(stop)
    sums /= np.sqrt(np.maximum(points, 1) * grid.size)[:, None].astype(np.float32)
    return sums
