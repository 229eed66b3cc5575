"""The diffraction gradient S(x, y): how fast the pattern changes over the specimen.

S is the norm of the derivative of the pattern itself, from the analytic derivative of the field:

    S² = (‖∂I/∂x‖² + ‖∂I/∂y‖²) / m,   ‖∂I/∂x‖² = ∂A/∂xᵀ G ∂A/∂x,   G = B Bᵀ

with norms over the m pixels of the field's mask and lengths in steps along x. It is the
root-mean-square change of a pixel, in counts per step: the size of the detector, the scale of the
coefficients and the choice of a basis have no part in it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ebsdarchive.neural.field import Field

__all__ = ["DiffractionGradient", "pattern_gauge"]

BLOCK_BYTES = 16 << 20
_ALONG = np.linspace(-3.0, 3.0, 13)  # where a Gaussian of unit width is sampled, on each axis

Progress = Callable[[float, float], None]


class DiffractionGradient:
    """S of a field, anywhere in the scan; thread-safe."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._gauge = pattern_gauge(field.tensors.basis)

    def __call__(
        self, xy_steps: npt.ArrayLike, progress: Progress | None = None, *, sigma: float = 0.0
    ) -> npt.NDArray[np.float32]:
        """(m, 2) positions in steps to (m,) S in counts per step along x.

        Memory beside the result is bounded, however many positions there are.

        Parameters
        ----------
        progress
            Told (positions, of all) after each block.
        sigma
            Standard deviation, in steps along x, of a Gaussian that the field is smoothed by first:
            what it makes of noise cancels. Costs 169 times as much.

        Raises
        ------
        GeometryError
            If a position lies outside the scan.
        """
        xy = np.asarray(xy_steps, dtype=np.float64).reshape(-1, 2)
        out = np.empty(len(xy), np.float32)
        for start in range(0, len(xy), self.block_length):
            slopes = self.smoothed_slopes(xy[start : start + self.block_length], sigma)
            out[start : start + len(slopes)] = np.sqrt((slopes**2).sum(axis=(1, 2)))
            if progress is not None:
                progress(start + len(slopes), len(xy))
        return out

    def slopes(self, xy_steps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(m, 2) positions in steps to (m, 2, rank - 1) derivatives along x and y.

        They stand in an orthonormal gauge: the norm of each is the root-mean-square change of a
        pixel in counts per step along x, and S that of both.
        """
        slopes = self.field.coefficient_derivatives(xy_steps)
        slopes[:, 1] /= self.field.grid.row_distance
        return slopes @ self._gauge

    def smoothed_slopes(
        self, xy_steps: npt.NDArray[np.float64], sigma: float
    ) -> npt.NDArray[np.float32]:
        """`slopes` of the field smoothed by a Gaussian of `sigma` steps along x.

        Beyond the edges of the scan the slopes at the edge count.
        """
        if sigma == 0:
            return self.slopes(xy_steps)
        grid = self.field.grid
        grid.require_inside(xy_steps)
        y, x = np.meshgrid(_ALONG, _ALONG)
        weights = np.exp(-(x**2 + y**2) / 2).ravel()
        shifts = np.column_stack([x.ravel(), y.ravel() / grid.row_distance]) * sigma
        total = np.zeros((len(xy_steps), 2, len(self._gauge)), np.float32)
        for shift, weight in zip(shifts, weights / weights.sum(), strict=True):
            total += np.float32(weight) * self.slopes(np.clip(xy_steps + shift, 0.0, grid.extent))
        return total

    @property
    def block_length(self) -> int:
        """Positions to ask for slopes at once, so that memory stays bounded."""
        return max(1, BLOCK_BYTES // (16 * self.field.tensors.rank))


def pattern_gauge(basis: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(rank - 1, rank - 1) matrix Q with Q Qᵀ = B Bᵀ / m for a basis B of (rank - 1, m).

    ‖a Q‖ is then the root mean square of the pattern a B. Columns stand in falling order of size.
    """
    gram = np.zeros((len(basis), len(basis)))
    step = max(1, BLOCK_BYTES // (8 * max(1, len(basis))))
    for start in range(0, basis.shape[1], step):
        part = basis[:, start : start + step].astype(np.float64)
        gram += part @ part.T
    # an eigendecomposition, since a coded basis may hold a component that is zero
    values, vectors = np.linalg.eigh(gram / max(1, basis.shape[1]))
    gauge = vectors * np.sqrt(np.clip(values, 0.0, None))
    return np.ascontiguousarray(gauge[:, ::-1], dtype=np.float32)
