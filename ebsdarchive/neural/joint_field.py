"""The joint field evaluated anywhere: one network of x, y, u and v (4D-INR, arXiv:2606.10352).

Owns what such a field is made of once it is decoded, and its evaluation with numpy alone; how it is
made is in `joint_fit`, how it is stored in `joint_storage`. Every pixel of every pattern is a run
through all layers, so that decoding costs some thousand times what it costs for a tensor field.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import FitError
from ebsdarchive.geometry import Grid
from ebsdarchive.neural.field import put_inside

__all__ = ["JointField", "JointTensors", "detector_coordinates", "require_steady"]

SAMPLES = 4096  # that go through the layers at once: their activations stay in a core's cache
TABLE_PIXELS = 16_384  # pixels whose part of the first layer is held at once
STEADY_PATTERNS = 4
UNSTEADY = 8.0  # times what one machine differs from exact arithmetic, another may


@dataclass(frozen=True)
class JointTensors:
    """A joint field, decoded; arrays of float32 unless they were rounded to float16.

    Parameters
    ----------
    frequencies
        (m, 2) Fourier features: waves along u and v per unit of the detector coordinates.
    position_weight
        (width, 2) of the first layer, for the scan coordinates.
    sine_weight, cosine_weight
        (width, m) of the first layer, for the features.
    hidden_weight
        (depth - 1, width, width): layer, output, input.
    bias
        (depth, width).
    output_weight
        (width,).
    omega_first, omega_hidden
        Frequency factors of the first and of the other sine layers.
    scale_counts
        Intensity of one unit of the network's output.
    mean_pattern
        (sy, sx) float32, counts: what the output is added to, and all there is outside the mask.
    mask
        (sy, sx) bool.
    """

    frequencies: npt.NDArray
    position_weight: npt.NDArray
    sine_weight: npt.NDArray
    cosine_weight: npt.NDArray
    hidden_weight: npt.NDArray
    bias: npt.NDArray
    output_weight: npt.NDArray
    omega_first: float
    omega_hidden: float
    scale_counts: float
    mean_pattern: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]

    @property
    def width(self) -> int:
        """Outputs of a sine layer."""
        return len(self.output_weight)

    def arrays(self) -> dict[str, npt.NDArray]:
        """The weights by name, without the fixed frequencies."""
        names = ("position_weight", "sine_weight", "cosine_weight", "hidden_weight", "bias")
        return {name: getattr(self, name) for name in (*names, "output_weight")}

    def as_type(self, dtype: npt.DTypeLike) -> JointTensors:
        """The field with all weights rounded to a type."""
        rounded: dict[str, Any] = {name: a.astype(dtype) for name, a in self.arrays().items()}
        return replace(self, **rounded)


class JointField:
    """A joint field over a scan's grid; thread-safe, since nothing changes after construction.

    Parameters
    ----------
    dtype
        What is calculated in; patterns are float32 all the same.
    """

    def __init__(
        self, tensors: JointTensors, grid: Grid, dtype: npt.DTypeLike = np.float32
    ) -> None:
        self.tensors, self.grid = tensors, grid
        kind: type[np.floating[Any]] = np.float64 if np.dtype(dtype) == np.float64 else np.float32
        first, hidden = kind(tensors.omega_first), kind(tensors.omega_hidden)
        bias = tensors.bias.astype(kind)
        # the factors omega are folded into the arrays once
        self._position = tensors.position_weight.astype(kind).T * first  # (2, width)
        features = np.concatenate([tensors.sine_weight, tensors.cosine_weight], axis=1)
        self._features = np.ascontiguousarray(features.T, dtype=kind) * first  # (2 m, width)
        self._first_bias = bias[0] * first
        self._hidden = [
            (np.ascontiguousarray(w.T, dtype=kind) * hidden, b * hidden)
            for w, b in zip(tensors.hidden_weight, bias[1:], strict=True)
        ]
        self._output = tensors.output_weight.astype(kind) * kind(tensors.scale_counts)
        self._mean = tensors.mean_pattern[tensors.mask]  # (pixels of the mask,)
        self._kind = kind

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(sy, sx) pixels that the network gives."""
        return self.tensors.mask

    @property
    def pattern_shape(self) -> tuple[int, int]:
        """(sy, sx)."""
        sy, sx = self.tensors.mask.shape
        return sy, sx

    def inside(self, xy_steps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(b, 2) positions in steps to (b, pixels of the mask) counts.

        Raises
        ------
        GeometryError
            If a position lies outside the scan.
        """
        xy = self.grid.inside(xy_steps)
        shift = self.grid.normalise(xy).astype(self._kind) @ self._position + self._first_bias
        uv = detector_coordinates(self.mask)
        out = np.empty((len(xy), len(uv)), dtype=np.float32)
        for start in range(0, len(uv), TABLE_PIXELS):
            table = self._table(uv[start : start + TABLE_PIXELS])  # (p, width)
            for i, row in enumerate(shift):
                for begin in range(0, len(table), SAMPLES):
                    part = table[begin : begin + SAMPLES]
                    at = start + begin
                    out[i, at : at + len(part)] = self._rest(part + row)
        out += self._mean
        return out

    def patterns(self, xy_steps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(m, 2) positions in steps to (m, sy, sx) patterns in counts.

        Raises
        ------
        GeometryError
            If a position lies outside the scan.
        """
        values = self.inside(xy_steps)
        out = np.empty((len(values), *self.pattern_shape), dtype=np.float32)
        put_inside(out, values, self.mask, self.tensors.mean_pattern)
        return out

    def _table(self, uv: npt.NDArray[np.float32]) -> npt.NDArray:
        """(p, 2) detector coordinates to their (p, width) part of the first layer."""
        table = np.empty((len(uv), self.tensors.width), self._kind)
        frequencies = self.tensors.frequencies.astype(self._kind)
        m = len(frequencies)
        for start in range(0, len(uv), SAMPLES):
            phase = self._kind(2 * np.pi) * (uv[start : start + SAMPLES] @ frequencies.T)
            features = np.empty((len(phase), 2 * m), self._kind)
            np.sin(phase, out=features[:, :m])
            np.cos(phase, out=features[:, m:])
            table[start : start + SAMPLES] = features @ self._features
        return table

    def _rest(self, h: npt.NDArray) -> npt.NDArray:
        """(p, width) arguments of the first sines, which are lost, to (p,) counts from the mean."""
        np.sin(h, out=h)
        for weight, bias in self._hidden:
            h = h @ weight  # (p, width)
            h += bias
            np.sin(h, out=h)
        return h @ self._output


def detector_coordinates(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """(pixels of the mask, 2) coordinates (U, V) of each, -1 … 1 along columns and rows."""
    sy, sx = mask.shape
    row, column = np.nonzero(mask)
    u = 2 * column / (sx - 1) - 1 if sx > 1 else 0.0 * column
    v = 2 * row / (sy - 1) - 1 if sy > 1 else 0.0 * row
    return np.column_stack([u, v]).astype(np.float32)


def require_steady(field: JointField, margin_counts: float) -> None:
    """Raise FitError unless other machines decode this field within a margin of this one.

    What float32 differs from float64 at a few patterns tells how far machines may differ.
    """
    n = field.grid.size
    points = np.unique(np.linspace(0, n - 1, min(n, STEADY_PATTERNS)).astype(np.int64))
    some = field.grid.positions_at(points)
    exact = JointField(field.tensors, field.grid, np.float64)
    spread = float(np.abs(field.inside(some) - exact.inside(some)).max())
    if UNSTEADY * spread > margin_counts:
        raise FitError(
            f"max error: expected a joint field that all machines decode within "
            f"{margin_counts:.2g} counts, found {UNSTEADY * spread:.2g}; allow a larger error, or "
            f"use the tensor method"
        )
