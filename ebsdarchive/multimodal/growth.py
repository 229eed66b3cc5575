"""Microstructures by grain growth: second family. Imports numba.

From single voxels on, grains coarsen in a Monte Carlo Potts model at zero temperature (Anderson et
al. 1984): a voxel takes the label of a neighbour where that does not lengthen the boundaries.
Mean size, spread and shape of the grains then come from curvature, not from a distribution that
somebody chose: curved boundaries, junctions at 120 degrees, and other neighbours than those of a
tessellation.
"""

from __future__ import annotations

from math import pi

import numba
import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.multimodal.texture import Texture

__all__ = ["Grown"]

Floats = npt.NDArray[np.float64]

VOXELS_PER_GRAIN = 9.0  # of a diameter at the end
SMALLEST_BOX = 48  # voxels along an edge
LARGEST_BOX = 320
SWEEPS_PER_COUNT = 4
MOST_SWEEPS = 2000


class Grown:
    """A periodic box of voxels whose grains have coarsened to a given mean size.

    Parameters
    ----------
    edge
        Least edge of the box.
    grain_size
        Diameter of the sphere of the mean grain's volume.
    """

    def __init__(
        self, edge: float, grain_size: float, texture: Texture, rng: np.random.Generator
    ) -> None:
        if not 0 < grain_size <= edge:
            raise ArgumentError(
                f"grain_size: expected above 0 to {edge} (edge), found {grain_size}"
            )
        self._voxel = grain_size / VOXELS_PER_GRAIN
        n = max(SMALLEST_BOX, int(np.ceil(edge / self._voxel / 2)) * 2)  # even: sublattices
        if n > LARGEST_BOX:
            raise ArgumentError(
                f"edge: expected at most {LARGEST_BOX * self._voxel:g} for grains of "
                f"{grain_size:g}, found {edge:g}"
            )
        self.edge = n * self._voxel
        self.labels = _coarsened(n, rng)
        self.quaternions = texture.sample(int(self.labels.max()) + 1, rng)

    def grain_at(self, points: Floats) -> npt.NDArray[np.int32]:
        """(n,) grain at (n, 3) positions: the one with most of the eight voxels about a point.

        Each voxel counts by its trilinear weight, so that boundaries are smoother than voxels.
        """
        n = len(self.labels)
        p = np.asarray(points, np.float64) / self._voxel - 0.5
        low = np.floor(p).astype(np.int64)
        share = p - low
        corners = np.indices((2, 2, 2)).reshape(3, 8).T
        at = (low[:, None] + corners) % n  # (n, 8, 3)
        labels = self.labels[at[..., 2], at[..., 1], at[..., 0]]
        weights = np.where(corners, share[:, None], 1 - share[:, None]).prod(axis=2)
        votes = ((labels[:, :, None] == labels[:, None]) * weights[:, None]).sum(axis=2)
        return np.take_along_axis(labels, votes.argmax(axis=1)[:, None], axis=1)[:, 0]


def _coarsened(n: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """(n, n, n) labels from 0 on, of grains of VOXELS_PER_GRAIN."""
    wanted = max(1, round(n**3 / (pi / 6 * VOXELS_PER_GRAIN**3)))
    labels = np.arange(n**3, dtype=np.int32).reshape(n, n, n)
    for sweep in range(MOST_SWEEPS):
        if sweep % SWEEPS_PER_COUNT == 0:
            left = np.count_nonzero(np.bincount(labels.ravel()))
            if left <= wanted:
                break
        _sweep(labels, rng.random(labels.shape, dtype=np.float32))
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


@numba.njit(nogil=True)
def _sweep(labels: npt.NDArray[np.int32], draws: npt.NDArray[np.float32]) -> None:
    """One trial at each voxel: its draw, 0 … 1, picks one of its neighbours of another grain.

    Sublattice by sublattice, so that no direction is favoured.
    """
    n = labels.shape[0]
    other = np.empty(26, np.int32)
    for colour in range(8):
        for z in range(colour >> 2, n, 2):
            for y in range(colour >> 1 & 1, n, 2):
                for x in range(colour & 1, n, 2):
                    own = labels[z, y, x]
                    unlike = 0
                    for dz in range(-1, 2):
                        zz = z + dz if z + dz < n else 0  # -1 is the last one
                        for dy in range(-1, 2):
                            yy = y + dy if y + dy < n else 0
                            for dx in range(-1, 2):
                                label = labels[zz, yy, x + dx if x + dx < n else 0]
                                if label != own:
                                    other[unlike] = label
                                    unlike += 1
                    if unlike == 0:
                        continue
                    candidate = other[int(draws[z, y, x] * unlike)]
                    like_candidate = 0
                    for i in range(unlike):
                        if other[i] == candidate:
                            like_candidate += 1
                    if like_candidate >= 26 - unlike:
                        labels[z, y, x] = candidate
