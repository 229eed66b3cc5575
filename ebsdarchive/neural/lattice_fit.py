"""A lattice of labels for the coefficients of a scan: regions, their boundaries, their values.

Owns the order of these steps and what a bit is worth in them; knows coefficients, not patterns. No
training: merging of neighbours, moves of single places, one sparse least-squares solution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from ebsdarchive.codecs.lattices import QuantisedLattice, steps_of_labels
from ebsdarchive.neural.lattice import spline
from ebsdarchive.neural.regions import Regions, edges_of_map

__all__ = ["LatticeOptions", "fit_lattice", "label_weights", "rounded_lattice", "uncorrelated"]

SEEN = 48  # components, the strongest, by which regions are told apart
BITS_PER_EDGE = 1.0  # of a boundary, for each two places that it separates
ALIKE = 4  # regions nearest in values that one may share a label with
SWEEPS, ROUNDS = 2, 2  # of moves over all places; of values and moves in turn
ATTEMPTS = 6  # with regions that are worth less and less
RIDGE = 1e-3  # points
ROUNDING = 0.4  # magnitudes are rounded down more often than up: fewer bits for the same error
WEAKEST = 0.5  # squared images' steps of energy that an output has at least
NEAR = spline(np.array(0.0))[:3]  # weights of a place's neighbours and itself at points


@dataclass(frozen=True)
class LatticeOptions:
    """What a lattice is fitted for.

    Parameters
    ----------
    bit
        Squared error of a pattern, counts squared, that a bit is worth.
    value_step
        Rounding of any value may add value_step^2 / 12 to the squared error of a pattern.
    image_step
        Of the images that will be multiplied by the outputs, counts.
    noise
        The part of the squared error of a pattern that is not for a lattice to learn.
    most
        Squared error of a pattern, noise left out, to stay below even where bits do not pay for it.
    """

    bit: float
    value_step: Callable[[int], float]
    image_step: float
    noise: float
    most: float


def fit_lattice(
    targets: npt.NDArray,
    scale: npt.NDArray[np.float32],
    shape: tuple[int, int],
    how: LatticeOptions,
    progress: Callable[[float], None] | None = None,
) -> tuple[QuantisedLattice, float]:
    """The lattice, rounded, and the squared error of a pattern before it is.

    Its outputs are uncorrelated, of unit variance, by descending energy, as `round_network` makes
    them.

    Parameters
    ----------
    targets
        (n, c) coefficients over `scale` (c,), counts.
    shape
        (ny, nx) of the points.
    """
    vectors = targets[:, :SEEN].astype(np.float32) * scale[:SEEN]
    energies = np.maximum(scale.astype(np.float64) ** 2 - how.noise / len(scale), 0)
    # what tells regions apart in a few components does so in all
    seen = float(energies[:SEEN].sum() / max(energies.sum(), 1e-30))
    bit = how.bit * max(seen, 1e-3)
    for attempt in range(ATTEMPTS):
        labels = _regions(vectors, energies, shape, bit, how, progress)
        for _ in range(ROUNDS):
            values = _Values(labels, vectors, np.ones(vectors.shape[1], np.float32)).solved
            labels = _moved(labels, vectors, values, bit * len(vectors) * BITS_PER_EDGE)
        found = _Values(labels, targets, scale)
        if found.error - how.noise <= how.most or attempt == ATTEMPTS - 1:
            break
        bit /= 2
    values, energies = uncorrelated(
        found.solved, found.normal, found.mean, WEAKEST * how.image_step**2
    )
    return rounded_lattice(labels, values, energies, how.value_step), found.error


def _regions(
    vectors: npt.NDArray[np.float32],
    energies: npt.NDArray,
    shape: tuple[int, int],
    bit: float,
    how: LatticeOptions,
    progress: Callable[[float], None] | None,
) -> npt.NDArray[np.int64]:
    """(ny, nx) labels, those of regions that lie apart but are alike being the same."""
    n = len(vectors)
    sizes = np.geomspace(1, max(n, 2), 64)
    # a value of variance e has about log2(17 e / step^2) / 2 bits, 17 = 2 pi e (Gaussian)
    signal = energies / (12 * max(how.bit, 1e-30) / np.log(4))
    bits = 0.5 * np.log2(1 + 17 * signal * sizes[:, None] / n).sum(axis=1)

    def cost(count: npt.NDArray) -> npt.NDArray:
        return bit * n * np.interp(count, sizes, bits)

    regions, points = Regions(vectors), np.arange(n).reshape(shape)
    edge = bit * n * BITS_PER_EDGE
    regions.merge(*edges_of_map(points), cost, edge, progress=progress)
    while len(regions.count) > 1:
        before, k = len(regions.count), min(ALIKE + 1, len(regions.count))
        near = cKDTree(regions.mean).query(regions.mean, k=k)[1]
        pairs = np.stack([np.repeat(np.arange(before), k), near.ravel()], axis=1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]  # of equal ones the first may not be itself
        regions.merge(pairs, np.zeros(len(pairs)), cost, edge, levels=1)
        if len(regions.count) == before:
            break
    return regions.labels.reshape(shape)


class _Values:
    """The least-squares values of labels for targets (n, c) over `scale`.

    Attributes
    ----------
    solved
        (k, c) counts.
    normal, mean
        (k, k) mean over points of products of the labels' weights, and (k,) of the weights.
    error
        Squared error of a pattern, counts squared.
    """

    def __init__(
        self,
        labels: npt.NDArray[np.int64],
        targets: npt.NDArray,
        scale: npt.NDArray[np.float32],
    ) -> None:
        n, k = labels.size, int(labels.max()) + 1
        weights = label_weights(labels, k)
        moment = np.empty((k, targets.shape[1]))
        energy = 0.0
        for start in range(0, targets.shape[1], 32):
            some = slice(start, start + 32)
            counts = targets[:, some].astype(np.float64) * scale[some]
            moment[:, some] = weights.T @ counts
            energy += float(np.square(counts).sum())
        gram = (weights.T @ weights).tocsc()
        self.normal, self.mean = gram / n, np.asarray(weights.sum(axis=0)).ravel() / n
        self.solved = splu(gram + RIDGE * sparse.identity(k, format="csc")).solve(moment)
        fitted = 2 * (moment * self.solved).sum() - ((gram @ self.solved) * self.solved).sum()
        self.error = max(energy - float(fitted), 0.0) / n


def uncorrelated(
    values: npt.NDArray, normal: sparse.spmatrix, mean: npt.NDArray, least: float
) -> tuple[npt.NDArray, npt.NDArray]:
    """(k, o) values of outputs that are uncorrelated and of unit variance over the points, and (o,)
    energies, descending, that these stand for; without those below `least`.

    Parameters
    ----------
    values
        (k, c) of labels, counts.
    normal, mean
        (k, k) mean over points of products of the labels' weights, and (k,) of the weights.
    """
    centre = mean @ values
    covariance = values.T @ (normal @ values) - np.outer(centre, centre)
    energies, vectors = np.linalg.eigh(covariance)
    energies, vectors = energies[::-1], vectors[:, ::-1]
    kept = energies > max(least, 1e-7 * energies[0], 1e-30)
    kept[0] = True
    energies = np.maximum(energies[kept], 1e-30)
    return (values - centre) @ vectors[:, kept] / np.sqrt(energies), energies


def label_weights(labels: npt.NDArray[np.int64], k: int) -> sparse.csr_matrix:
    """(n, k) weights of the labels at the points."""
    around = np.pad(labels, 1, mode="edge")
    (ny, nx), n = labels.shape, labels.size
    total = sparse.csr_matrix((n, k))
    for i in range(3):
        for j in range(3):
            columns = around[i : i + ny, j : j + nx].ravel()
            entries = np.full(n, NEAR[i] * NEAR[j])
            total = total + sparse.csr_matrix((entries, columns, np.arange(n + 1)), (n, k))
    return total


def _moved(
    labels: npt.NDArray[np.int64],
    vectors: npt.NDArray[np.float32],
    values: npt.NDArray,
    edge_cost: float,
) -> npt.NDArray[np.int64]:
    """Labels after single places took those of neighbours, wherever that costs less.

    Places three apart have no point in common: they move at once.
    """
    labels, (ny, nx) = labels.copy(), labels.shape
    values = values.astype(np.float32)
    error = np.asarray(label_weights(labels, len(values)) @ values, np.float32) - vectors
    error = error.reshape(ny, nx, -1)
    weights = _margin_weights(ny), _margin_weights(nx)
    for _ in range(SWEEPS):
        for colour in range(9):
            _move_some(labels, error, values, weights, colour, edge_cost)
    return np.unique(labels, return_inverse=True)[1].reshape(ny, nx)


def _move_some(
    labels: npt.NDArray[np.int64],
    error: npt.NDArray[np.float32],
    values: npt.NDArray[np.float32],
    weights: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    colour: int,
    edge_cost: float,
) -> None:
    """Move the places of one colour, in place, and bring `error` (ny, nx, c) up to date."""
    ny, nx = labels.shape
    around = np.pad(labels, 1, mode="edge")
    sides = [around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]]
    differs = np.any([side != labels for side in sides], axis=0)
    rows, columns = divmod(colour, 3)
    places = np.zeros_like(differs)
    places[rows::3, columns::3] = True
    y, x = np.nonzero(differs & places)
    if len(y) == 0:
        return
    own = labels[y, x]
    beside = np.stack([side[y, x] for side in sides])  # (4, m)
    weight = weights[0][y][:, :, None] * weights[1][x][:, None, :]  # (m, 3, 3)
    at = np.clip(y[:, None] + (-1, 0, 1), 0, ny - 1), np.clip(x[:, None] + (-1, 0, 1), 0, nx - 1)
    pull = np.einsum("mij,mijc->mc", weight, error[at[0][:, :, None], at[1][:, None, :]])
    square = np.square(weight).sum(axis=(1, 2))
    edges = (beside != own).sum(axis=0)
    best, chosen = np.zeros(len(y)), own.copy()
    for candidate in beside:
        step = values[candidate] - values[own]
        change = 2 * np.einsum("mc,mc->m", pull, step) + square * np.square(step).sum(axis=1)
        change = change + edge_cost * ((beside != candidate).sum(axis=0) - edges)
        better = (candidate != own) & (change < best)
        best, chosen = np.where(better, change, best), np.where(better, candidate, chosen)
    moved = np.flatnonzero(chosen != own)
    labels[y[moved], x[moved]] = chosen[moved]
    step = values[chosen[moved]] - values[own[moved]]
    for i in range(3):
        for j in range(3):
            part = weight[moved, i, j, None] * step
            # a point beyond the margin is one inside, with weight 0
            np.add.at(error, (at[0][moved, i], at[1][moved, j]), part)


def _margin_weights(n: int) -> npt.NDArray[np.float32]:
    """(n, 3) weight of each place of an axis at the point before, its own, and the one after."""
    weights = np.repeat(NEAR[None], n, axis=0)
    weights[0, 1] += NEAR[0]  # labels go on beyond the margin
    weights[-1, 1] += NEAR[2]
    weights[0, 0] = weights[-1, 2] = 0
    return weights.astype(np.float32)


def rounded_lattice(
    labels: npt.NDArray[np.int64],
    values: npt.NDArray,
    energies: npt.NDArray,
    value_step: Callable[[int], float],
) -> QuantisedLattice:
    """The lattice in whole steps, each of which adds the same error.

    Parameters
    ----------
    values, energies
        As `uncorrelated` gives them.
    value_step
        As in `LatticeOptions`.
    """
    counts = value_step(values.size) / np.sqrt(energies)  # step of a label that is everywhere
    step = float(np.float32(np.exp(np.log(counts).mean())))
    exponents = np.clip(np.rint(2 * np.log2(counts / step)), -100, 100).astype(np.int64)
    steps = steps_of_labels(labels, len(values), step)[:, None] * np.exp2(exponents / 2)
    whole = np.floor(np.abs(values) / steps + ROUNDING)
    return QuantisedLattice(labels, (np.sign(values) * whole).astype(np.int64), step, exponents)
