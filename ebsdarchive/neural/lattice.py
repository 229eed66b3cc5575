"""A lattice of labels as a network: a label at every point, cubic B-splines between them.

Owns its evaluation with numpy alone; how it is found is in `lattice_fit`, how it is stored in
`codecs.lattices`. A(x, y) = sum over places p of beta(x - x_p) beta(y - y_p) values[label of p],
with the labels of the margin continued outwards: twice continuously differentiable, and constant
inside regions of one label.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["LatticeNetwork", "spline"]

REACH = 4  # places along an axis that a position depends on


class LatticeNetwork:
    """Labels of the points of a square grid and values of labels; thread-safe.

    Parameters
    ----------
    labels
        (ny, nx), 0 … k - 1.
    values
        (k, outputs) float32.
    """

    def __init__(self, labels: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> None:
        self.labels, self.values = labels, values
        self.outputs = values.shape[1]
        ny, nx = labels.shape
        self._last = np.array([nx - 1, ny - 1])
        self._around = np.pad(labels, ((1, 2), (1, 2)), mode="edge")

    def __call__(self, xy: npt.NDArray) -> npt.NDArray[np.float32]:
        """(m, 2) positions in -1 … 1 to (m, outputs)."""
        labels, t = self._near(xy)
        # the label of a place that counts: all that there is where it is the only one
        out = self.values[labels[:, 1, 1]]
        mixed = (labels != labels[:, 1:2, 1:2]).any(axis=(1, 2))
        weights = spline(t[mixed])  # (b, 2, 4)
        out[mixed] = self._weighted(labels[mixed], weights[:, 1], weights[:, 0])
        return out

    def derivative(self, xy: npt.NDArray) -> npt.NDArray[np.float32]:
        """(m, 2) positions in -1 … 1 to the (m, 2, outputs) derivatives along both axes."""
        labels, t = self._near(xy)
        out = np.zeros((len(xy), 2, self.outputs), dtype=np.float32)
        mixed = (labels != labels[:, 1:2, 1:2]).any(axis=(1, 2))
        weights, slopes = spline(t[mixed]), spline_slope(t[mixed])
        per_unit = self._last.astype(np.float32) / 2
        near = labels[mixed]
        out[mixed, 0] = per_unit[0] * self._weighted(near, weights[:, 1], slopes[:, 0])
        out[mixed, 1] = per_unit[1] * self._weighted(near, slopes[:, 1], weights[:, 0])
        return out

    def _near(self, xy: npt.NDArray) -> tuple[npt.NDArray[np.int64], npt.NDArray]:
        """(m, 4, 4) labels of the places around positions, and (m, 2) how far these are beyond
        the second of them."""
        place = (np.asarray(xy, np.float64) + 1) / 2 * self._last  # in steps
        before = np.clip(np.floor(place), 0, self._last).astype(np.int64)
        span = np.arange(REACH)
        rows, columns = before[:, 1, None] + span, before[:, 0, None] + span
        return self._around[rows[:, :, None], columns[:, None, :]], place - before

    def _weighted(
        self, labels: npt.NDArray[np.int64], rows: npt.NDArray, columns: npt.NDArray
    ) -> npt.NDArray[np.float32]:
        """(m, outputs) sums of values with weights (m, 4) of rows and of columns."""
        out = np.zeros((len(labels), self.outputs), dtype=np.float32)
        for i in range(REACH):
            for j in range(REACH):
                weight = (rows[:, i] * columns[:, j]).astype(np.float32)
                out += weight[:, None] * self.values[labels[:, i, j]]
        return out


def spline(t: npt.NDArray) -> npt.NDArray:
    """(…, 4) cubic B-spline's weights of four places for a position `t` (0 … 1) past the second."""
    parts = (1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3
    return np.stack(parts, axis=-1) / 6


def spline_slope(t: npt.NDArray) -> npt.NDArray:
    """Derivatives of `spline`."""
    parts = -((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2
    return np.stack(parts, axis=-1) / 2
