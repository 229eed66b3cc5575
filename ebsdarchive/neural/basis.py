"""The basis: a Karhunen-Loève transform (KLT) of a sample, and how many components it needs.

For an orthonormal basis the pixel error of a pattern splits into what the basis cannot hold and
the error of the coefficients, ||I - A B||^2 = ||I - Pr(I)||^2 + ||A - A*||^2. So a network that is
fitted to the coefficients A* is fitted to all pixels. With pixel weights w the same holds for
sqrt(w) (I - mean). Numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import FitError
from ebsdarchive.neural.pixels import change_inside, mean_pattern, values_inside
from ebsdarchive.neural.sample import Sample, noise_variance

__all__ = ["Basis", "Dictionary", "RankChoice", "choose_rank", "klt", "klt_of_sample"]

EXACT_SIZE = 1024  # up to this size of the smaller side an exact eigendecomposition is as fast
RANK_LIMIT = 512
SIGNAL_TO_NOISE = 0.1
FOLLOWERS = 8
MEDIAN_ERROR = 2.33  # standard error of a chi-squared median, relative, times sqrt(n)
FULL = 1e6  # signal to noise of a component without noise


@dataclass(frozen=True)
class Dictionary:
    """Patterns in whose span a basis is to be sought.

    Parameters
    ----------
    patterns
        (c, sy, sx) float32, in any scale, with or without a mean.
    mask
        (sy, sx) pixels where they are known, which are then those that are fitted; None for all.
    source
        Where they come from, for errors.
    """

    patterns: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_] | None
    source: str


@dataclass(frozen=True)
class Basis:
    """An orthonormal basis of weighted, mean-free patterns.

    Parameters
    ----------
    mean
        (sy, sx) counts.
    mask
        (sy, sx) pixels that the basis covers, m in number.
    weights
        (m,) weight of each pixel in the squared error.
    vectors
        (c, m) orthonormal rows, by descending variance.
    variances
        (c,) variance of each coefficient over the sample, counts squared.
    noise
        (c,) noise variance of each coefficient, NaN where the sample holds no neighbours.
    total_variance
        Sum of variances with all components that there are.
    coefficients
        (k, c) of the sample.
    """

    mean: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float32]
    vectors: npt.NDArray[np.float32]
    variances: npt.NDArray[np.float64]
    noise: npt.NDArray[np.float64]
    total_variance: float
    coefficients: npt.NDArray[np.float32]

    def project(self, patterns: npt.NDArray) -> npt.NDArray[np.float32]:
        """(b, sy, sx) patterns to their (b, c) coefficients A*."""
        change = change_inside(patterns, self.mean, self.mask)
        change *= np.sqrt(self.weights)
        return change @ self.vectors.T

    def synthesise(self, coefficients: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(b, c') coefficients, c' <= c, to (b, m) counts at the pixels of the mask."""
        values: npt.NDArray[np.float32] = coefficients @ self.vectors[: coefficients.shape[1]]
        values /= np.sqrt(self.weights)
        values += self.mean[self.mask]
        return values

    def truncate(self, components: int) -> Basis:
        """The basis of the first `components` vectors."""
        return Basis(
            self.mean,
            self.mask,
            self.weights,
            self.vectors[:components],
            self.variances[:components],
            self.noise[:components],
            self.total_variance,
            self.coefficients[:, :components],
        )


@dataclass(frozen=True)
class RankChoice:
    """A rank, and the figures that led to it; ranks count the constant component.

    `signal_to_noise_last` is that of the last component counted, before the margin.
    """

    rank: int
    rule: str
    rank_neighbours: int
    rank_tail: int
    signal_to_noise_last: float


def klt_of_sample(
    sample: Sample,
    mask: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float32],
    components: int,
    seed: int,
    dictionary: Dictionary | None = None,
    means: npt.NDArray[np.float32] | None = None,
) -> Basis:
    """The first `components` (or all that there are, if fewer) of sqrt(w) (I - mean).

    Parameters
    ----------
    dictionary
        What the components are to be sought in the span of.
    means
        (t, m) as `local_means` gives them, whose components are taken instead of the sample's.
    """
    mean = mean_pattern(sample)
    matrix = change_inside(sample.patterns, mean, mask)
    matrix *= np.sqrt(weights)
    total = float(np.einsum("ij,ij->", matrix, matrix, dtype=np.float64)) / len(matrix)
    if not np.isfinite(total):
        raise FitError("patterns: expected counts whose squares fit into float32, found larger")
    if means is not None:
        vectors, _ = klt(means * np.sqrt(weights), components, seed)
        coefficients = matrix @ vectors.T
        order = np.argsort(np.square(coefficients).sum(axis=0), kind="stable")[::-1]
        vectors, coefficients = vectors[order], coefficients[:, order]
    elif dictionary is None:
        vectors, coefficients = klt(matrix, components, seed)
    else:
        given = values_inside(dictionary.patterns, mask) * np.sqrt(weights)
        rows = _orthonormal(given.T).T  # (c', m)
        turn, coefficients = klt(matrix @ rows.T, components, seed)
        vectors = turn @ rows
    variances = np.mean(coefficients.astype(np.float64) ** 2, axis=0)
    noise = noise_variance(coefficients, sample.pairs)
    return Basis(mean, mask, weights, vectors, variances, noise, total, coefficients)


def klt(
    matrix: npt.NDArray[np.float32], components: int, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(c, m) orthonormal vectors of `matrix` (k, m) and its (k, c) coefficients on them.

    Exact where the smaller side is small, else by randomised SVD with two power iterations (Halko,
    Martinsson, Tropp 2011, algorithms 4.4 and 5.1). Directions without variance are left out.
    """
    k, m = matrix.shape
    components = min(components, k, m)
    if min(k, m) > EXACT_SIZE and components + 16 < min(k, m) // 2:
        rng = np.random.default_rng(seed)
        sketch = matrix @ rng.standard_normal((m, components + 16), dtype=np.float32)
        for _ in range(2):
            sketch = matrix @ _orthonormal(matrix.T @ _orthonormal(sketch))
        rows = _orthonormal(sketch).T @ matrix  # (c + 16, m) holds the leading components
    else:
        rows = matrix
    if len(rows) <= m:
        energies, turn = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    else:
        energies, turn = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    kept = np.argsort(energies)[::-1][:components]
    kept = kept[energies[kept] > max(energies.max(initial=0.0), 0.0) * 1e-7 * 4]
    turn = turn[:, kept].astype(np.float32)
    vectors = turn.T @ rows if len(rows) <= m else turn.T
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors), matrix @ vectors.T


def _orthonormal(columns: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Orthonormal columns of the same span; products only, which bear busy cores better than QR."""
    wide = columns.astype(np.float64)
    energies, turn = np.linalg.eigh(wide.T @ wide)
    kept = energies > energies.max(initial=0.0) * 1e-12
    return (wide @ (turn[:, kept] / np.sqrt(energies[kept]))).astype(np.float32)


def choose_rank(basis: Basis, n_pairs: int) -> RankChoice:
    """The number of components above the noise floor, a margin, and one for the mean.

    Neighbour rule: within a grain, neighbouring points differ by noise alone, so that half the
    median squared difference of their coefficients (over the median of chi-squared) is the noise
    variance of a component, and what its variance exceeds that by is signal. Components count up
    to the last one for which signal / noise, averaged over it and its seven followers, exceeds a
    tenth and three standard errors of that average. A third more are taken, because signal that
    only few grains have hides in the noise of the whole scan.

    Tail rule: components above what white noise would give, the Marchenko-Pastur edge (see
    `_tail_count`). It decides only where the neighbour rule finds nothing (no neighbours in the
    sample, or every point another grain), since detector noise is rarely white.

    `n_pairs` is the number of neighbours that `basis.noise` was estimated from.
    """
    c = len(basis.variances)
    if c == 0:
        return RankChoice(1, "no variance", 1, 1, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(basis.noise > 0, basis.variances / basis.noise - 1, FULL)
    ratio = np.minimum(ratio, FULL)
    padded = np.concatenate([ratio, np.full(FOLLOWERS - 1, ratio[-1])])
    smooth = np.convolve(padded, np.ones(FOLLOWERS) / FOLLOWERS, mode="valid")
    floor = max(SIGNAL_TO_NOISE, 3 * MEDIAN_ERROR / np.sqrt(FOLLOWERS * max(n_pairs, 1)))
    above = int(np.argmin(np.append(smooth > floor, False))) if n_pairs else 0
    tail = _tail_count(basis)
    count, rule = (above, "neighbours") if above else (tail, "tail")
    rank = 1 + min(count + math.ceil(count / 3), c)
    return RankChoice(rank, rule, above + 1, tail + 1, float(ratio[max(count - 1, 0)]))


def _tail_count(basis: Basis) -> int:
    """Components above the Marchenko-Pastur edge noise (1 + sqrt(m / k))^2, by iteration.

    The noise of k patterns of m pixels is what all other components leave. Two standard deviations
    of the largest noise component (Johnstone 2001) and the spread of pixel weights are added.
    """
    k, m = len(basis.coefficients), basis.vectors.shape[1]
    roots = np.sqrt(k) + np.sqrt(m)
    spread = (k**-0.5 + m**-0.5) ** (1 / 3) / roots
    weights = basis.weights.astype(np.float64)
    widened = (1 + 2 * spread) * np.mean(weights**2) / np.mean(weights) ** 2
    count = 0
    while count < min(len(basis.variances), k - 1, m - 1):
        rest = basis.total_variance - basis.variances[:count].sum()
        noise = max(rest, 0.0) / ((m - count) * (1 - count / k))
        found = int(np.sum(basis.variances > noise * roots**2 / k * widened))
        if found <= count:
            break
        count = found
    return count
