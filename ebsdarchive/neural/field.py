"""The neural field evaluated anywhere in the scan: I = mean + sum over r of A_r(x, y) B_r(u, v).

Owns what a field is made of once it is decoded, and its evaluation with numpy alone; how it is made
is in `fit`, how it is stored in `coded`. Positions are in steps, intensities in counts, never
clipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid
from ebsdarchive.neural.lattice import LatticeNetwork

__all__ = [
    "ContinuousField",
    "Field",
    "FieldPatterns",
    "FieldTensors",
    "Network",
    "Outputs",
    "put_inside",
]

BLOCK_BYTES = 16 << 20


class ContinuousField(Protocol):
    """What fields of all encodings can be asked."""

    @property
    def grid(self) -> Grid:
        """The points that the field was fitted to."""

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(sy, sx) pixels that were fitted."""

    @property
    def pattern_shape(self) -> tuple[int, int]:
        """(sy, sx)."""

    def inside(self, xy_steps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(b, 2) positions in steps to (b, pixels of the mask) counts."""

    def patterns(self, xy_steps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(b, 2) positions in steps to (b, sy, sx) counts."""


@dataclass(frozen=True)
class FieldTensors:
    """A field, decoded.

    Parameters
    ----------
    weights, biases
        Of the sine layers and the linear one: (outputs, inputs) and (outputs,) float32. None at
        rank 1, and where there is a lattice.
    omega_first, omega_hidden
        Frequency factors of the first and of the other sine layers.
    basis
        (rank - 1, m) float32, counts for one unit of a coefficient, at the m pixels of `mask` in C
        order.
    mean_pattern
        (sy, sx) float32, counts: the constant component, and all there is outside the mask.
    mask
        (sy, sx) bool.
    lattice
        What gives the coefficients instead of sine layers, where it does.
    """

    weights: list[npt.NDArray[np.float32]]
    biases: list[npt.NDArray[np.float32]]
    omega_first: float
    omega_hidden: float
    basis: npt.NDArray[np.float32]
    mean_pattern: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    lattice: LatticeNetwork | None = None

    @property
    def width(self) -> int | None:
        """Outputs of a sine layer; None where there is none."""
        return len(self.biases[0]) if self.biases else None

    @property
    def rank(self) -> int:
        """Number of components, the constant one included."""
        return len(self.basis) + 1

    def network(self) -> Outputs | None:
        """What gives the coefficients, ready to be evaluated; None at rank 1."""
        if not self.weights:
            return self.lattice
        return Network(self.weights, self.biases, self.omega_first, self.omega_hidden)


class Outputs(Protocol):
    """What maps positions (m, 2) in -1 … 1 to coefficients; thread-safe."""

    outputs: int

    def __call__(self, xy: npt.NDArray) -> npt.NDArray[np.float32]:
        """(m, outputs)."""

    def derivative(self, xy: npt.NDArray) -> npt.NDArray[np.float32]:
        """(m, 2, outputs) along both axes."""


class Network:
    """Sine layers and a linear one, ready to be evaluated; thread-safe.

    Parameters
    ----------
    weights, biases, omega_first, omega_hidden
        As in `FieldTensors`.
    """

    def __init__(
        self,
        weights: Sequence[npt.NDArray],
        biases: Sequence[npt.NDArray],
        omega_first: float,
        omega_hidden: float,
    ) -> None:
        factors = [omega_first, *[omega_hidden] * (len(weights) - 2), 1.0]
        # the factors omega are folded into the arrays once
        self._layers = [
            (np.ascontiguousarray(w.T, dtype=np.float32) * f, b.astype(np.float32) * f)
            for w, b, f in zip(weights, biases, map(np.float32, factors), strict=True)
        ]
        self._widest = max(weight.shape[1] for weight, _ in self._layers)
        self.outputs = self._layers[-1][0].shape[1]

    def __call__(self, xy: npt.NDArray) -> npt.NDArray[np.float32]:
        """(m, 2) positions in -1 … 1 to (m, outputs)."""
        out = np.empty((len(xy), self.outputs), dtype=np.float32)
        for start, stop in _ranges(len(xy), 4 * self._widest):
            weight, bias = self._layers[-1]
            out[start:stop] = self.last_features(xy[start:stop]) @ weight + bias
        return out

    def derivative(self, xy: npt.NDArray) -> npt.NDArray[np.float32]:
        """(m, 2) positions in -1 … 1 to the (m, 2, outputs) derivatives along both axes.

        Forward mode: the two tangents go through the layers beside the values.
        """
        out = np.empty((len(xy), 2, self.outputs), dtype=np.float32)
        for start, stop in _ranges(len(xy), 12 * self._widest):
            h = xy[start:stop].astype(np.float32)  # (b, 2)
            tangents = [np.broadcast_to(axis, h.shape) for axis in np.eye(2, dtype=np.float32)]
            for weight, bias in self._layers[:-1]:
                phase = h @ weight + bias  # (b, width)
                h, slope = np.sin(phase), np.cos(phase)
                tangents = [(t @ weight) * slope for t in tangents]
            for axis, tangent in enumerate(tangents):
                out[start:stop, axis] = tangent @ self._layers[-1][0]
        return out

    def last_features(self, xy: npt.NDArray) -> npt.NDArray[np.float32]:
        """(m, 2) positions in -1 … 1 to the (m, width) outputs of the last sine layer."""
        h = xy.astype(np.float32)  # (m, 2)
        for weight, bias in self._layers[:-1]:
            h = np.sin(h @ weight + bias)  # (m, width), Sitzmann et al. 2020, eq. 3
        return h


class Field:
    """A field over a scan's grid; thread-safe, since nothing changes after construction."""

    def __init__(self, tensors: FieldTensors, grid: Grid) -> None:
        self.tensors = tensors
        self.grid = grid
        self._network = tensors.network()
        self._mean = tensors.mean_pattern[tensors.mask]  # (m,)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(sy, sx) pixels that the basis covers."""
        return self.tensors.mask

    @property
    def pattern_shape(self) -> tuple[int, int]:
        """(sy, sx)."""
        sy, sx = self.tensors.mask.shape
        return sy, sx

    def coefficients(self, xy_steps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(m, 2) positions in steps to (m, rank - 1) coefficients A, of about unit variance.

        Raises
        ------
        GeometryError
            If a position lies outside the scan.
        """
        xy = self.grid.inside(xy_steps)
        if self._network is None:
            return np.empty((len(xy), 0), dtype=np.float32)
        return self._network(self.grid.normalise(xy))

    def coefficient_derivatives(self, xy_steps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(m, 2) positions in steps to (m, 2, rank - 1) dA/dx and dA/dy, for one step of its axis.

        Raises
        ------
        GeometryError
            If a position lies outside the scan.
        """
        xy = self.grid.inside(xy_steps)
        if self._network is None:
            return np.empty((len(xy), 2, 0), dtype=np.float32)
        per_step = self.grid.normalised_per_step().astype(np.float32)
        return self._network.derivative(self.grid.normalise(xy)) * per_step[:, None]

    def inside(self, xy_steps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(b, 2) positions in steps to (b, pixels of the mask) counts."""
        return self.masked(self.coefficients(xy_steps))

    def masked(self, coefficients: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(b, rank - 1) coefficients to (b, pixels of the mask) counts."""
        if coefficients.shape[1] == 0:
            return np.repeat(self._mean[None], len(coefficients), axis=0)
        values = coefficients @ self.tensors.basis
        values += self._mean
        return values

    def patterns(self, xy_steps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(m, 2) positions in steps to (m, sy, sx) patterns in counts.

        Raises
        ------
        GeometryError
            If a position lies outside the scan.
        """
        coefficients = self.coefficients(xy_steps)
        tensors = self.tensors
        out = np.empty((len(coefficients), *self.pattern_shape), dtype=np.float32)
        for start, stop in _ranges(len(out), 4 * tensors.mask.size):
            values = self.masked(coefficients[start:stop])
            put_inside(out[start:stop], values, tensors.mask, tensors.mean_pattern)
        return out


def put_inside(
    out: npt.NDArray[np.float32],
    values: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    mean_pattern: npt.NDArray[np.float32],
) -> None:
    """Fill `out` (b, sy, sx): `values` (b, pixels of the mask), and the mean pattern outside."""
    if mask.all():
        out.reshape(len(out), -1)[:] = values
    else:
        out[:] = mean_pattern
        out.reshape(len(out), -1)[:, np.flatnonzero(mask)] = values


class FieldPatterns:
    """The field at the points of its grid, as `Patterns`: what raw patterns look like."""

    def __init__(self, field: ContinuousField) -> None:
        self.field = field
        self.shape: tuple[int, int, int] = (field.grid.size, *field.pattern_shape)
        self.dtype = np.dtype(np.float32)

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        return self.field.patterns(self.field.grid.positions_of(start, stop))


def _ranges(count: int, row_bytes: int) -> list[tuple[int, int]]:
    """Ranges (start, stop) that cover `count` rows in blocks of `BLOCK_BYTES`."""
    length = max(1, BLOCK_BYTES // max(1, row_bytes))
    return [(start, min(start + length, count)) for start in range(0, count, length)]
