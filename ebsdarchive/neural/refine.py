"""From a trained network to a stored field: rounding, the closed-form basis, measured errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ebsdarchive.neural.field import Field, FieldTensors
from ebsdarchive.neural.pixels import values_inside
from ebsdarchive.scan import Scan

__all__ = ["FieldErrors", "measure_errors", "network_tensors", "refit_basis", "rounding_error"]

RIDGE = 1e-7


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
    point_mae: npt.NDArray[np.float32]
    noise_counts: float | None


def network_tensors(
    weights: Sequence[npt.NDArray],
    biases: Sequence[npt.NDArray],
    scale: npt.NDArray[np.float32],
    mean_pattern: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    omega_first: float,
    omega_hidden: float,
    dtype: type[np.floating] = np.float16,
) -> FieldTensors:
    """A field with its network rounded to `dtype`, and a basis of zeros that `refit_basis` fills.

    Outputs of the network stand for coefficients over `scale` (rank - 1,).
    """
    components, m = len(scale), int(mask.sum())
    config = {
        "rank": components + 1,
        "width": len(biases[0]) if len(biases) else 0,
        "depth": max(len(weights) - 1, 0),
        "activation": "sine",
        "omega_first": float(omega_first),
        "omega_hidden": float(omega_hidden),
        "network_dtype": np.dtype(dtype).name,
        "basis_dtype": np.dtype(dtype).name,
        "mean_dtype": "float32",
    }
    return FieldTensors(
        config=config,
        weights=[np.asarray(weight).astype(dtype) for weight in weights],
        biases=[np.asarray(bias).astype(dtype) for bias in biases],
        basis=np.zeros((components, m), dtype=dtype),
        basis_scale=np.ones(components, dtype=np.float32),
        coefficient_scale=np.asarray(scale, dtype=np.float32),
        mean_pattern=np.asarray(mean_pattern, dtype=np.float32),
        mask=mask,
    )


def refit_basis(
    scan: Scan, tensors: FieldTensors, progress: Callable[[float], None]
) -> FieldTensors:
    """The field with the least-squares basis and mean pattern for its coefficients.

    One pass over all patterns accumulates A'A and A'I. Pixels separate, so that weights of pixels
    in the loss cancel; a ridge of 1e-7 keeps coefficients that are nearly dependent in bounds.
    """
    mask, mean = tensors.mask, tensors.mean_pattern
    field = Field(tensors, scan.grid)
    scale = np.append(np.float32(1), tensors.coefficient_scale)
    c = tensors.rank
    normal = np.zeros((c, c))
    moment = np.zeros((c, int(mask.sum())), dtype=np.float32)
    for start, stop, patterns in scan.blocks():
        a = np.ones((stop - start, c), dtype=np.float32)
        a[:, 1:] = field.coefficients(scan.grid.positions_of(start, stop))
        a /= scale
        normal += a.T.astype(np.float64) @ a
        change = values_inside(patterns, mask).astype(np.float32)
        change -= mean[mask]
        moment += a.T @ change
        progress(stop)
    normal[np.diag_indices(c)] += RIDGE * np.trace(normal) / c
    solved = np.linalg.solve(normal, moment.astype(np.float64))
    basis = solved[1:] / tensors.coefficient_scale[:, None]
    mean = mean.copy()
    mean[mask] += solved[0].astype(np.float32)
    largest = np.abs(basis).max(axis=1, initial=0.0)
    basis_scale = np.where(largest > 0, largest, 1.0).astype(np.float32)
    return replace(
        tensors,
        basis=(basis / basis_scale[:, None]).astype(tensors.basis.dtype),
        basis_scale=basis_scale,
        mean_pattern=mean,
    )


def measure_errors(
    scan: Scan,
    tensors: FieldTensors,
    range_counts: tuple[float, float],
    noise_counts: float | None,
    progress: Callable[[float], None],
) -> FieldErrors:
    """Compare every pattern with what the stored field decodes to."""
    field = Field(tensors, scan.grid)
    point_mae = np.empty(scan.grid.size, dtype=np.float32)
    squares = 0.0
    for start, stop, patterns in scan.blocks():
        error = field.masked(field.coefficients(scan.grid.positions_of(start, stop)))
        error -= values_inside(patterns, tensors.mask)
        squares += float(np.einsum("ij,ij->", error, error, dtype=np.float64))
        np.abs(error, out=error)
        point_mae[start:stop] = error.mean(axis=1, dtype=np.float64)
        progress(stop)
    mae = float(point_mae.mean(dtype=np.float64))
    span = range_counts[1] - range_counts[0]
    worst = int(np.argmax(point_mae))
    return FieldErrors(
        mae_counts=mae,
        mae_pct=100 * mae / span if span > 0 else 0.0,
        rmse_counts=float(np.sqrt(squares / scan.grid.size / tensors.basis.shape[1])),
        range_counts=range_counts,
        worst_index=worst,
        worst_mae_counts=float(point_mae[worst]),
        point_mae=point_mae,
        noise_counts=noise_counts,
    )


def rounding_error(
    stored: FieldTensors,
    weights: Sequence[npt.NDArray],
    biases: Sequence[npt.NDArray],
    scan: Scan,
    residual_energy: float,
    points: int = 4096,
) -> float:
    """What rounding the network adds to the error, relative to what the basis leaves.

    Mean over up to `points` points of ||A_stored - A||^2, over `residual_energy` (both counts
    squared). Half of it is, for small values, the relative rise of the mean absolute error.
    """
    exact = replace(stored, weights=list(weights), biases=list(biases))
    step = max(1, scan.grid.size // points)
    xy = scan.grid.positions()[::step]
    change = Field(exact, scan.grid).coefficients(xy) - Field(stored, scan.grid).coefficients(xy)
    added = float(np.mean(np.sum(change.astype(np.float64) ** 2, axis=1)))
    return added / residual_energy if residual_energy > 0 else 0.0
