"""The neural field evaluated anywhere in the scan: I = mean + sum over r of A_r(x, y) B_r(u, v).

Owns what a field is made of as it is stored, and its evaluation with numpy alone; how it is made
is in `fit`. Positions are in steps, intensities in counts, never clipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid

__all__ = ["Field", "FieldPatterns", "FieldTensors"]

BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class FieldTensors:
    """A field in its stored form.

    Parameters
    ----------
    config
        Plain JSON values: rank, width, depth (sine layers), omega_first, omega_hidden,
        activation ("sine") and the dtypes of the stored arrays.
    weights, biases
        Of the depth + 1 layers: (outputs, inputs) and (outputs,) float16. None at rank 1.
    basis
        (rank - 1, m) float16 at the m pixels of `mask`, in C order; no value beyond -1 … 1.
    basis_scale
        (rank - 1,) float32, what each row of `basis` is multiplied by.
    coefficient_scale
        (rank - 1,) float32, what each output of the network is multiplied by.
    mean_pattern
        (sy, sx) float32, counts: the constant component.
    mask
        (sy, sx) bool. Pixels outside decode to the mean pattern.
    """

    config: dict[str, Any]
    weights: list[npt.NDArray[np.float16]]
    biases: list[npt.NDArray[np.float16]]
    basis: npt.NDArray[np.float16]
    basis_scale: npt.NDArray[np.float32]
    coefficient_scale: npt.NDArray[np.float32]
    mean_pattern: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]

    @property
    def rank(self) -> int:
        """Number of components, the constant one included."""
        return len(self.basis_scale) + 1

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays as stored, the mask as one bit per pixel."""
        arrays: list[npt.NDArray] = [*self.weights, *self.biases, self.basis, self.basis_scale]
        arrays += [self.coefficient_scale, self.mean_pattern]
        return sum(array.nbytes for array in arrays) + (self.mask.size + 7) // 8


class Field:
    """A field over a scan's grid; thread-safe, since nothing changes after construction."""

    def __init__(self, tensors: FieldTensors, grid: Grid) -> None:
        self.tensors = tensors
        self.grid = grid
        activation = tensors.config.get("activation", "sine")
        if activation != "sine":
            raise ArgumentError(f"field: expected sine activations, found {activation!r}")
        hidden = len(tensors.weights) - 1
        factors: list[float] = []
        if tensors.weights:  # none at rank 1: the mean pattern alone
            config = tensors.config
            factors = [config["omega_first"], *[config["omega_hidden"]] * (hidden - 1), 1.0]
        # the factors omega and the scales are folded into the arrays once
        self._layers = [
            (np.ascontiguousarray(w.T, dtype=np.float32) * f, b.astype(np.float32) * f)
            for w, b, f in zip(tensors.weights, tensors.biases, map(np.float32, factors),
                               strict=True)
        ]  # fmt: skip
        self._basis = tensors.basis * tensors.basis_scale[:, None]  # (R - 1, m) float32
        self._mean = tensors.mean_pattern[tensors.mask]  # (m,)

    @property
    def pattern_shape(self) -> tuple[int, int]:
        """(sy, sx)."""
        sy, sx = self.tensors.mask.shape
        return sy, sx

    def coefficients(self, xy_steps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(m, 2) positions in steps to (m, rank - 1) coefficients A.

        Raises
        ------
        GeometryError
            If a position lies outside the scan.
        """
        xy = np.asarray(xy_steps, dtype=np.float64).reshape(-1, 2)
        self.grid.require_inside(xy)
        out = np.empty((len(xy), self.tensors.rank - 1), dtype=np.float32)
        if not self._layers:
            return out
        widest = max(weight.shape[1] for weight, _ in self._layers)
        for start, stop in _ranges(len(xy), 4 * widest):
            h = self.grid.normalise(xy[start:stop]).astype(np.float32)  # (b, 2)
            for weight, bias in self._layers[:-1]:
                h = np.sin(h @ weight + bias)  # (b, width), Sitzmann et al. 2020, eq. 3
            weight, bias = self._layers[-1]
            out[start:stop] = h @ weight + bias
        out *= self.tensors.coefficient_scale
        return out

    def masked(self, coefficients: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(b, rank - 1) coefficients to (b, pixels of the mask) counts."""
        if coefficients.shape[1] == 0:
            return np.repeat(self._mean[None], len(coefficients), axis=0)
        values = coefficients @ self._basis
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
        sy, sx = self.pattern_shape
        out = np.empty((len(coefficients), sy * sx), dtype=np.float32)
        inside = np.flatnonzero(self.tensors.mask)
        everywhere = len(inside) == sy * sx
        for start, stop in _ranges(len(out), 4 * sy * sx):
            values = self.masked(coefficients[start:stop])
            if everywhere:
                out[start:stop] = values
            else:
                out[start:stop] = self.tensors.mean_pattern.reshape(-1)
                out[start:stop, inside] = values
        return out.reshape(-1, sy, sx)


class FieldPatterns:
    """The field at the points of its grid, as `Patterns`: what raw patterns look like."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self.shape: tuple[int, int, int] = (field.grid.size, *field.pattern_shape)
        self.dtype = np.dtype(np.float32)

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        return self._field.patterns(self._field.grid.positions_of(start, stop))


def _ranges(count: int, row_bytes: int) -> list[tuple[int, int]]:
    """Ranges (start, stop) that cover `count` rows in blocks of `BLOCK_BYTES`."""
    length = max(1, BLOCK_BYTES // max(1, row_bytes))
    return [(start, min(start + length, count)) for start in range(0, count, length)]
