"""The patterns of a lattice's labels: the least-squares pattern of each, over all points.

One pass over the scan; what follows is in closed form. The components that describe these patterns
best (reduced-rank regression: the KLT of the scan as far as labels can tell) know every grain, and
noise hardly, where those of a sample know the grains that it happened to meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import splu

from ebsdarchive.codecs.lattices import QuantisedLattice
from ebsdarchive.neural.basis import klt
from ebsdarchive.neural.lattice_fit import RIDGE, label_weights, uncorrelated
from ebsdarchive.neural.pixels import change_inside
from ebsdarchive.neural.refine import Refit, solved_basis
from ebsdarchive.scan import Scan

__all__ = ["LabelPatterns", "fits_in_memory", "gather_label_patterns"]

MOST_BYTES = 512 << 20  # of the patterns of all labels; there are three such arrays for a while
PIXELS_AT_ONCE = 1024


@dataclass(frozen=True)
class LabelPatterns:
    """What a scan says of the patterns of labels.

    Parameters
    ----------
    labels
        (ny, nx), 0 … k - 1.
    normal, mean
        (k, k) mean over points of products of the labels' weights, and (k,) of the weights, which
        are the lattice's at the points and add up to 1.
    moment
        (k, m) float32: sum over points of weight times what a pattern is off `mean_pattern`.
    energy
        Sum over points of the squares of that.
    mean_pattern
        (sy, sx) counts.
    mask
        (sy, sx), m pixels.
    """

    labels: npt.NDArray[np.int64]
    normal: sparse.csc_matrix
    mean: npt.NDArray[np.float64]
    moment: npt.NDArray[np.float32]
    energy: float
    mean_pattern: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]

    def components(
        self, pixel_weights: npt.NDArray, most: int, seed: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(k, c) values of labels on the c <= `most` best components, of unit variance over the
        points and uncorrelated, and (c,) their energies, descending.

        Parameters
        ----------
        pixel_weights
            (m,) of pixels in the squared error.
        """
        n, k, pixels = self.labels.size, len(self.mean), self.moment.shape[1]
        gram = n * self.normal + RIDGE * sparse.identity(k, format="csc")
        # without pivoting, of a symmetric matrix P' L D L' P: its root is D^-1/2 U P
        factors = splu(
            gram, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        patterns = np.empty_like(self.moment)
        for start in range(0, pixels, PIXELS_AT_ONCE):
            some = slice(start, start + PIXELS_AT_ONCE)
            patterns[:, some] = factors.solve(self.moment[:, some].astype(np.float64))
        patterns -= (self.mean @ patterns).astype(np.float32)
        patterns *= np.sqrt(pixel_weights).astype(np.float32)
        root = sparse.diags(factors.U.diagonal() ** -0.5) @ factors.U  # (k, k)
        rooted = root.astype(np.float32) @ patterns[np.argsort(factors.perm_r)]
        values = patterns @ klt(rooted, most, seed)[0].T
        return uncorrelated(values.astype(np.float64), self.normal, self.mean, 0.0)

    def above_noise(self, energies: npt.NDArray, noise_counts: float) -> int:
        """How many components have more energy than any of white noise would have, as k patterns
        of m pixels (Marchenko and Pastur's edge), at its standard deviation in a pixel."""
        k, pixels = self.moment.shape
        edge = noise_counts**2 * (np.sqrt(k) + np.sqrt(pixels)) ** 2 / self.labels.size
        return int(np.count_nonzero(energies > edge))

    def refit(self, values: npt.NDArray[np.float32]) -> Refit:
        """The least-squares basis and mean pattern for values (k, o) of labels, as `refit_basis`
        would find them with another pass over the scan."""
        n, features = self.labels.size, np.column_stack([np.ones(len(values)), values])
        normal = n * (features.T @ (self.normal @ features))
        moment = features.astype(np.float32).T @ self.moment
        return solved_basis(normal, moment, self.energy, n, self.mean_pattern, self.mask)


def fits_in_memory(lattice: QuantisedLattice, mask: npt.NDArray[np.bool_]) -> bool:
    """Whether the patterns of a lattice's labels may be gathered."""
    return 4 * len(lattice.values) * int(mask.sum()) <= MOST_BYTES


def gather_label_patterns(
    scan: Scan,
    labels: npt.NDArray[np.int64],
    mean_pattern: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    progress: Callable[[float], None],
) -> LabelPatterns:
    """One pass over all patterns of a scan.

    Parameters
    ----------
    labels
        (ny, nx), 0 … k - 1; each occurs.
    mean_pattern
        (sy, sx) counts, near the mean of the scan.
    """
    n, k = labels.size, int(labels.max()) + 1
    weights = label_weights(labels, k)
    moment = np.zeros((k, int(mask.sum())), dtype=np.float32)
    energy = 0.0
    for start, stop, patterns in scan.blocks():
        change = change_inside(patterns, mean_pattern, mask)
        energy += float(np.einsum("ij,ij->", change, change, dtype=np.float64))
        some = weights[start:stop].tocsc()
        met = np.flatnonzero(np.diff(some.indptr))
        moment[met] += some[:, met].T.astype(np.float32) @ change
        progress(stop)
    normal, mean = (weights.T @ weights).tocsc() / n, np.asarray(weights.sum(axis=0)).ravel() / n
    return LabelPatterns(labels, normal, mean, moment, energy, mean_pattern, mask)
