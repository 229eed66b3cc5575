"""The pass over all patterns that takes them to coefficients, and what else it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.neural.basis import Basis
from ebsdarchive.neural.pixels import values_inside
from ebsdarchive.neural.sample import require_finite
from ebsdarchive.scan import Scan

__all__ = ["Projection", "coefficient_limit", "project"]

HALF_PRECISION_BYTES = 384 << 20  # coefficients larger than this are held as float16
COEFFICIENT_BYTES = 768 << 20  # and no larger than this: the rank is limited instead


@dataclass(frozen=True)
class Projection:
    """All patterns on a basis.

    Parameters
    ----------
    targets
        (n, c) coefficients A* over `scale`; float16 where they would take 384 MiB as float32.
    scale
        (c,) root mean square of each coefficient over the sample, counts.
    mean_pattern
        (sy, sx) mean over all patterns, counts.
    range_counts
        Lowest and highest count inside the mask.
    signal_energy, residual_energy
        Per pattern, the mean weighted squared norm that the basis holds, and that it leaves.
    """

    targets: npt.NDArray
    scale: npt.NDArray[np.float32]
    mean_pattern: npt.NDArray[np.float32]
    range_counts: tuple[float, float]
    signal_energy: float
    residual_energy: float


def coefficient_limit(n: int) -> int:
    """Components for which the coefficients of `n` points stay within 768 MiB as float16."""
    return max(1, COEFFICIENT_BYTES // (2 * n))


def project(scan: Scan, basis: Basis, progress: Callable[[float], None]) -> Projection:
    """Project every pattern on `basis`, in blocks. Raises FitError on NaN or infinity."""
    n, sy, sx = scan.patterns.shape
    c = len(basis.vectors)
    half = 4 * n * c > HALF_PRECISION_BYTES
    targets = np.empty((n, c), dtype=np.float16 if half else np.float32)
    scale = np.sqrt(basis.variances).astype(np.float32)
    total = np.zeros((sy, sx))
    low, high = np.inf, -np.inf
    signal = residual = 0.0
    for start, stop, patterns in scan.blocks():
        require_finite(patterns, start, scan.grid)
        total += patterns.sum(axis=0, dtype=np.float64)
        inside = values_inside(patterns, basis.mask).astype(np.float32)
        low, high = min(low, float(inside.min())), max(high, float(inside.max()))
        inside -= basis.mean[basis.mask]
        inside *= np.sqrt(basis.weights)
        coefficients = inside @ basis.vectors.T  # (b, c)
        targets[start:stop] = coefficients / scale
        held = float(np.einsum("ij,ij->", coefficients, coefficients, dtype=np.float64))
        signal += held
        residual += float(np.einsum("ij,ij->", inside, inside, dtype=np.float64)) - held
        progress(stop)
    mean = (total / n).astype(np.float32)
    return Projection(targets, scale, mean, (low, high), signal / n, max(residual, 0.0) / n)
