"""From a quantised network to a stored field: the closed-form basis, its step, measured errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.neural.field import ContinuousField, Outputs
from ebsdarchive.neural.pixels import change_inside, values_inside
from ebsdarchive.neural.sample import require_finite
from ebsdarchive.scan import Scan

__all__ = ["FieldErrors", "Refit", "measure_errors", "refit_basis", "solved_basis"]

RIDGE = 1e-7
PERCENTILES = (5, 25, 50, 75, 95, 99)
WORST = 10


@dataclass(frozen=True)
class Refit:
    """The least-squares basis for a network, and what it leaves.

    Parameters
    ----------
    basis
        (rank - 1, m) float32, counts per unit of a coefficient.
    mean_pattern
        (sy, sx) float32, counts.
    normal
        (rank, rank) mean of a'a, a being 1 and the coefficients of a point: an error d (rank,) of
        basis and mean at a pixel adds d' normal d to the squared error there.
    residual_energy
        Mean over points of the squared error of a pattern, counts squared.
    """

    basis: npt.NDArray[np.float32]
    mean_pattern: npt.NDArray[np.float32]
    normal: npt.NDArray[np.float64]
    residual_energy: float

    def added(
        self, basis: npt.NDArray, mean_pattern: npt.NDArray, mask: npt.NDArray[np.bool_]
    ) -> float:
        """Squared error of a pattern that another basis and mean pattern add to the residual's."""
        change = np.empty((len(basis) + 1, basis.shape[1]))
        change[0] = (mean_pattern - self.mean_pattern)[mask]
        change[1:] = basis - self.basis
        return float(np.einsum("ip,ip->", change, self.normal @ change))


@dataclass(frozen=True)
class FieldErrors:
    """What a stored field loses, measured on every pattern at the pixels of the mask.

    Parameters
    ----------
    mae_counts, mae_pct
        Mean absolute error over all points and pixels; in percent of the full range.
    rmse_counts
        Root mean square error.
    range_counts
        Lowest and highest count of the scan inside the mask.
    worst_index, worst_mae_counts
        The point with the largest mean absolute error.
    percentiles
        {percent: mean absolute error in counts that this part of the points stays below}.
    worst
        (k, 2) indices and mean absolute errors of the worst points.
    point_mae
        (n,) float32, counts.
    noise_counts
        Standard deviation of a pixel's noise, from neighbouring points; None without neighbours.
        An error near sqrt(2 / pi) = 0.8 of it is denoising rather than loss.
    """

    mae_counts: float
    mae_pct: float
    rmse_counts: float
    range_counts: tuple[float, float]
    worst_index: int
    worst_mae_counts: float
    percentiles: dict[int, float]
    worst: list[tuple[int, float]]
    point_mae: npt.NDArray[np.float32]
    noise_counts: float | None


def refit_basis(
    scan: Scan,
    network: Outputs | None,
    mean_pattern: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    progress: Callable[[float], None],
) -> Refit:
    """The least-squares basis and mean pattern for the coefficients of a network.

    One pass over all patterns accumulates A'A and A'I. Pixels separate, so that weights of pixels
    in the loss cancel; a ridge of 1e-7 keeps coefficients that are nearly dependent in bounds.

    Parameters
    ----------
    network
        None at rank 1.
    mean_pattern
        (sy, sx) counts, near the mean of the scan.
    """
    c = 1 if network is None else network.outputs + 1
    normal = np.zeros((c, c))
    moment = np.zeros((c, int(mask.sum())), dtype=np.float32)
    energy = 0.0
    for start, stop, patterns in scan.blocks():
        a = np.ones((stop - start, c), dtype=np.float32)
        if network is not None:
            a[:, 1:] = network(scan.grid.normalise(scan.grid.positions_of(start, stop)))
        normal += a.T.astype(np.float64) @ a
        change = change_inside(patterns, mean_pattern, mask)
        energy += float(np.einsum("ij,ij->", change, change, dtype=np.float64))
        moment += a.T @ change
        progress(stop)
    return solved_basis(normal, moment, energy, scan.grid.size, mean_pattern, mask)


def solved_basis(
    normal: npt.NDArray[np.float64],
    moment: npt.NDArray,
    energy: float,
    n: int,
    mean_pattern: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
) -> Refit:
    """The least-squares basis from sums over `n` points.

    Parameters
    ----------
    normal, moment
        (c, c) sum of a'a and (c, m) of a'd, a being 1 and the coefficients of a point, and d (m,)
        what its pattern is off `mean_pattern` inside the mask.
    energy
        Sum of d'd.
    """
    c = len(normal)
    ridged = normal + RIDGE * np.trace(normal) / c * np.eye(c)
    solved = np.linalg.solve(ridged, moment.astype(np.float64))
    held = 2 * float(np.einsum("ip,ip->", solved, moment, dtype=np.float64))
    held -= float(np.einsum("ip,ip->", solved, normal @ solved))
    mean = mean_pattern.copy()
    mean[mask] += solved[0].astype(np.float32)
    return Refit(solved[1:].astype(np.float32), mean, normal / n, max(energy - held, 0.0) / n)


def measure_errors(
    scan: Scan,
    field: ContinuousField,
    noise_counts: float | None,
    progress: Callable[[float], None],
    block_bytes: int = 16 << 20,
) -> FieldErrors:
    """Compare every pattern with what the stored field decodes to.

    Parameters
    ----------
    block_bytes
        Of patterns between two calls of `progress`.
    """
    mask = field.mask
    point_mae = np.empty(scan.grid.size, dtype=np.float32)
    squares = 0.0
    low, high = np.inf, -np.inf
    for start, stop, patterns in scan.blocks(block_bytes):
        require_finite(patterns, start, scan.grid)
        measured = values_inside(patterns, mask)
        low, high = min(low, float(measured.min())), max(high, float(measured.max()))
        error = field.inside(scan.grid.positions_of(start, stop))
        error -= measured
        squares += float(np.einsum("ij,ij->", error, error, dtype=np.float64))
        np.abs(error, out=error)
        point_mae[start:stop] = error.mean(axis=1, dtype=np.float64)
        progress(stop)
    mae = float(point_mae.mean(dtype=np.float64))
    span = high - low
    order = np.argsort(point_mae, kind="stable")[::-1][:WORST]
    worst = int(order[0])
    spread = np.percentile(point_mae, PERCENTILES)
    return FieldErrors(
        mae_counts=mae,
        mae_pct=100 * mae / span if span > 0 else 0.0,
        rmse_counts=float(np.sqrt(squares / scan.grid.size / int(mask.sum()))),
        range_counts=(low, high),
        worst_index=worst,
        worst_mae_counts=float(point_mae[worst]),
        percentiles=dict(zip(PERCENTILES, map(float, spread), strict=True)),
        worst=[(int(i), float(point_mae[i])) for i in order],
        point_mae=point_mae,
        noise_counts=noise_counts,
    )
