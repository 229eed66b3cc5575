"""How the patterns of a field mix between its points, so that grain boundaries stay sharp.

Inside a grain the mix is linear, which has the least noise. Where the points around a position are
unlike each other, it is the cubic convolution of Keys (IEEE Trans. Acoust. 29, 1981, eq. 15), and a
part of it is taken of one grain alone: the one that has most of the weight there. What was tried
beside it, and what it gains on points that were held out, is in benchmarks/README.md.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import points_around
from ebsdarchive.neural.field import Field
from ebsdarchive.neural.gradient import pattern_gauge

__all__ = ["SharpMix"]

KEYS_A = -0.75  # slope of the cubic kernel at one step
LIKE = 4.0  # standard deviation of likeness, in distances between neighbouring points
ONE_GRAIN = 0.3  # part of a mix across a boundary that is taken of one grain
UNLIKE_SHARE = 0.25  # of the linear weight on other grains, from which a mix is all cubic
PAIRS = 512  # of neighbouring points, that the distance between neighbours is measured on
BLOCK_BYTES = 16 << 20
NEAREST = [5, 6, 9, 10]  # of the sixteen points around, those at less than a step on both axes


class SharpMix:
    """Weights of the points around positions; thread-safe."""

    def __init__(self, field: Field) -> None:
        self._field = field

    @cached_property
    def _gauge(self) -> npt.NDArray[np.float32]:
        return pattern_gauge(self._field.tensors.basis)

    @property
    def block_length(self) -> int:
        """Positions to ask for at once, so that memory stays bounded."""
        return max(1, BLOCK_BYTES // (4 * 16 * (self._field.tensors.rank + 64)))

    def weights(
        self, xy: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """(m, 2) positions in steps to (m, 16) indices of points and their weights, of sum 1.

        At a point its own weight is 1.
        """
        indices, away = points_around(self._field.grid, xy)
        linear = np.maximum(1 - np.abs(away), 0.0).prod(axis=-1)
        cubic = keys_kernel(away).prod(axis=-1)
        like = self._likeness(indices)  # (m, 4, 16)
        votes = np.where(linear[:, NEAREST] > 0, np.einsum("mkj,mj->mk", like, cubic), -np.inf)
        grain = like[np.arange(len(xy)), votes.argmax(axis=1)]  # (m, 16)
        own = grain * linear
        unlike = 1 - own.sum(axis=1, keepdims=True)
        boundary = np.clip(unlike / UNLIKE_SHARE, 0.0, 1.0)
        mixed = boundary * cubic + (1 - boundary) * linear
        return indices, ONE_GRAIN * own / own.sum(axis=1, keepdims=True) + (1 - ONE_GRAIN) * mixed

    def _likeness(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(m, 4, 16) from 0 to 1: how like the four nearest points the sixteen around are."""
        used, place = np.unique(indices, return_inverse=True)
        patterns = self._of_points(used)[place.reshape(indices.shape)]  # (m, 16, rank - 1)
        square = np.einsum("mjr,mjr->mj", patterns, patterns)
        products = patterns[:, NEAREST] @ patterns.swapaxes(1, 2)
        apart = square[:, NEAREST, None] + square[:, None] - 2 * products
        return np.exp(
            -np.maximum(apart, 0.0).astype(np.float64) / (2 * (LIKE * self._typical) ** 2)
        )

    def _of_points(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(k, rank - 1): patterns of points, as coordinates with the distances of patterns."""
        return self._field.coefficients(self._field.grid.positions_at(indices)) @ self._gauge

    @cached_property
    def _typical(self) -> float:
        """The median distance of neighbouring points in a sample, as a root mean square of pixels
        in counts; never 0."""
        grid = self._field.grid
        points = np.random.default_rng(0).integers(0, grid.size, PAIRS)
        here, apart = self._of_points(points), []
        for step in np.eye(2):
            beside = grid.indices_of(np.minimum(grid.positions_at(points) + step, grid.extent))
            other = beside != points
            apart.append(np.linalg.norm(self._of_points(beside[other]) - here[other], axis=1))
        found = np.concatenate(apart)
        return max(float(np.median(found)) if len(found) else 0.0, float(np.finfo(np.float32).tiny))


def keys_kernel(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The kernel of cubic convolution: 1 at 0, and 0 at all other whole numbers."""
    x, a = np.abs(x), KEYS_A
    inner = ((a + 2) * x - (a + 3)) * x**2 + 1
    outer = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0.0))
