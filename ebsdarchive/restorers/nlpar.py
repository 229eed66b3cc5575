"""``nlpar``: non-local pattern averaging and reindexing, by PyEBSDIndex.

A pattern becomes the mean of those in a square window around it, weighted by exp(-d / lambda^2)
with d their distance in units of what noise alone would give (Brewick, Wright and Rowenhorst 2019,
Ultramicroscopy 200, 50). PyEBSDIndex's compiled functions work on arrays; here they are given
blocks with enough rows around that no pattern can tell a block from the whole scan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid
from ebsdarchive.restorers.restorer import Estimate, Progress, Restorer, Surroundings, WholeScan

__all__ = ["Nlpar"]

RADIUS = 3  # PyEBSDIndex's own
TARGET_WEIGHT = 0.34  # of a pattern in its own mean of nine, on average: PyEBSDIndex's middle one
LAMBDAS = (1e-3, 10.0)
NEAREST = 1  # radius in which noise and lambda are estimated
SAMPLED_BYTES = 1 << 30  # of patterns that lambda is estimated from, as float32


@dataclass(frozen=True)
class Nlpar:
    """Non-local averaging of similar patterns in a window.

    Parameters
    ----------
    search_radius
        Half the window less its centre, in points; by default 3, or less in a scan without room.
    lam
        By default the one at which a pattern counts for 0.34 in the mean of its nine nearest, on
        average over the scan.
    brightest
        Largest count of the scan; pixels at it are taken for saturated and not compared.
    """

    search_radius: int | None = None
    lam: float | None = None
    brightest: float | None = None

    name = "nlpar"
    version = "1"

    @property
    def config(self) -> Mapping[str, Any]:
        return {
            "search_radius": self.search_radius,
            "lambda": self.lam,
            "brightest_counts": self.brightest,
        }

    @property
    def halo_rows(self) -> int:
        """Windows at the first and last rows reach twice as far inwards, and noise a row more."""
        return 2 * (RADIUS if self.search_radius is None else self.search_radius) + NEAREST

    def prepare(self, whole: WholeScan, progress: Progress) -> Restorer:
        grid = whole.grid
        _require_square(grid)
        most = (min(grid.n_rows, grid.n_columns) - 1) // 2
        radius = min(RADIUS, most) if self.search_radius is None else self.search_radius
        if not 1 <= radius <= most:
            raise ArgumentError(
                f"nlpar: expected room for a window of {2 * max(radius, 1) + 1} x "
                f"{2 * max(radius, 1) + 1} points, found a scan of {grid.n_rows} rows and "
                f"{grid.n_columns} columns; give a smaller --search-radius or another method"
            )
        brightest, distances = _distances(whole, progress)
        lam = _lambda_for(distances) if self.lam is None else self.lam
        return replace(self, search_radius=radius, lam=float(lam), brightest=brightest)

    def restore(self, patterns: npt.NDArray[np.float32], surroundings: Surroundings) -> Estimate:
        assert self.search_radius is not None
        assert self.lam is not None
        assert self.brightest is not None
        columns = surroundings.grid.n_columns
        rows = len(patterns) // columns
        data, lit = _columns_of(patterns, surroundings.mask, self.brightest)
        sigma, _ = _noise(data, lit, rows, columns)
        own = surroundings.own
        calculated = np.array(
            [0, own.start // columns, columns, (own.stop - own.start) // columns], np.int64
        )
        averaged = _pyebsdindex().nlpar_nb(
            data,
            np.float32(self.lam),
            np.int64(self.search_radius),
            np.float32(0.0),
            sigma,
            np.int64(rows),
            np.int64(columns),
            calculated,
            lit,
            True,
        )
        return Estimate(averaged[own, :-1].reshape(-1, *patterns.shape[1:]))


def _require_square(grid: Grid) -> None:
    if grid.is_hexagonal:
        raise ArgumentError(
            "nlpar: expected a square grid, found a hexagonal one; choose kikuchi, neighbour, klt "
            "or field"
        )


def _columns_of(
    patterns: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], brightest: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """(n, sy sx + 1) patterns with the scan's largest count behind each, and the lit columns.

    PyEBSDIndex takes the largest count of what it is given for saturation: with this column, which
    is not lit, it finds that of the scan in every block.
    """
    n = len(patterns)
    data = np.empty((n, mask.size + 1), np.float32)
    data[:, :-1] = patterns.reshape(n, -1)
    data[:, -1] = brightest
    return data, np.flatnonzero(mask.ravel())


def _noise(
    data: npt.NDArray[np.float32], lit: npt.NDArray[np.int64], rows: int, columns: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(rows, columns) noise of each pattern in counts, and (rows, columns, 9) distances."""
    sigma, distances, _ = _pyebsdindex().sigma_numba(
        data,
        np.uint64(NEAREST),
        np.int64(rows),
        np.int64(columns),
        np.array([0, rows], np.uint64),
        np.array([0, columns], np.uint64),
        lit.astype(np.uint64),
        True,
    )
    return sigma, distances


def _distances(whole: WholeScan, progress: Progress) -> tuple[float, npt.NDArray[np.float32]]:
    """The scan's largest count, and (n, 9) distances of its points to their nearest ones.

    All points of a scan of up to 1 GiB, and of a larger one rows spread over it.
    """
    grid, n_columns = whole.grid, whole.grid.n_columns
    n, sy, sx = whole.patterns.shape
    rows_at_once = max(1, (32 << 20) // (4 * sy * sx * n_columns))
    parts = [
        (start, min(start + rows_at_once, grid.n_rows))
        for start in range(0, grid.n_rows, rows_at_once)
    ]
    brightest = -np.inf
    for start, stop in parts:
        block = whole.patterns.read(start * n_columns, stop * n_columns)
        brightest = max(brightest, float(block.max()))
        progress(stop, 2 * grid.n_rows)
    found = []
    for start, stop in parts[:: max(1, -(-4 * n * sy * sx // SAMPLED_BYTES))]:
        first, last = max(0, start - 2 * NEAREST), min(stop + 2 * NEAREST, grid.n_rows)
        block = whole.patterns.read(first * n_columns, last * n_columns)
        data, lit = _columns_of(block.astype(np.float32, copy=False), whole.mask, brightest)
        _, distances = _noise(data, lit, last - first, n_columns)
        found.append(distances[start - first : stop - first].reshape(-1, distances.shape[2]))
        progress(grid.n_rows + stop, 2 * grid.n_rows)
    return brightest, np.concatenate(found)


def _lambda_for(distances: npt.NDArray[np.float32]) -> float:
    """The lambda at which the weight of a pattern in its mean is nearest to the target."""
    excess = np.maximum(distances, 0.0).astype(np.float64)

    def miss(lam: float) -> float:
        weights = np.exp(-excess / lam**2).sum(axis=1) + 1e-12
        return float(np.abs(TARGET_WEIGHT - 1 / weights).mean())

    # the miss may be flat at either end, so look along the whole range first
    tried = np.geomspace(*LAMBDAS, 25)
    best = int(np.argmin([miss(lam) for lam in tried]))
    bounds = (tried[max(0, best - 1)], tried[min(len(tried) - 1, best + 1)])
    return float(minimize_scalar(miss, bounds=bounds, method="bounded").x)


def _pyebsdindex() -> Any:
    from pyebsdindex.nlpar_cpu import NLPAR

    return NLPAR
