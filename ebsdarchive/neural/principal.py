"""The principal components of a field: its basis in a gauge that does not depend on the fit.

The stored basis may be turned and scaled at will against its coefficients. Here the patterns are
orthonormal, in counts, and the coefficients over the scan are uncorrelated, largest variance first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.neural.field import Field

__all__ = ["Principal", "principal_components"]

BLOCK = 4096


@dataclass(frozen=True)
class Principal:
    """Principal components of a field over its scan.

    Parameters
    ----------
    images
        (k, sy, sx) orthonormal patterns, NaN outside the mask.
    scores
        (n, k) coefficients in counts, mean 0.
    std_counts
        (rank - 1,) standard deviations of all components, in counts of the norm of a pattern.
    """

    images: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    std_counts: npt.NDArray[np.float64]

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """(rank - 1,) share of the variance that each component carries."""
        variances = np.square(self.std_counts)
        return np.asarray(variances / max(variances.sum(), 1e-300))


def principal_components(field: Field, count: int) -> Principal:
    """The first `count` principal components (fewer if the rank is lower).

    With B the basis (rank - 1, m) and G = B B^T = L L^T, patterns L^-1 B are orthonormal, and their
    coefficients are A L; the eigenvectors of cov(A L) turn both.
    """
    tensors = field.tensors
    rows = tensors.rank - 1
    basis = tensors.basis.astype(np.float64)
    gram = basis @ basis.T
    jitter = 1e-12 * np.trace(gram) / max(1, rows) + 1e-300
    lower = np.linalg.cholesky(gram + jitter * np.eye(rows))
    n = field.grid.size
    coefficients = np.empty((n, rows), np.float32)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        coefficients[start:stop] = field.coefficients(field.grid.positions_of(start, stop))
    mean = coefficients.mean(axis=0, dtype=np.float64)
    second = np.zeros((rows, rows))
    for start in range(0, n, BLOCK):
        block = coefficients[start : start + BLOCK] - mean
        second += block.T @ block
    variances, vectors = np.linalg.eigh(lower.T @ (second / n) @ lower)
    variances, vectors = variances[::-1], vectors[:, ::-1]
    chosen = vectors[:, :count]
    patterns = chosen.T @ np.linalg.solve(lower, basis)  # (k, m)
    # the sign is a convention: the strongest pixel of a pattern is bright
    if patterns.size:
        strongest = np.argmax(np.abs(patterns), axis=1)
        sign = np.sign(patterns[np.arange(len(patterns)), strongest])
        patterns, chosen = patterns * sign[:, None], chosen * sign
    images = np.full((len(patterns), *tensors.mask.shape), np.nan)
    images[:, tensors.mask] = patterns
    return Principal(
        images=images,
        scores=(coefficients - mean) @ (lower @ chosen),
        std_counts=np.sqrt(np.maximum(variances, 0)),
    )
