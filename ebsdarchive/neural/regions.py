"""Regions of a map of vectors: neighbours are merged while that is cheaper than keeping them apart.

Owns the merging alone (Mumford and Shah's functional with constant regions, minimised as by
Koepfler, Lopez and Morel 1994); what a region and its boundary cost is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import sparse

__all__ = ["Regions", "edges_of_map"]

LEVELS = 10  # the price of regions is doubled so many times, from a 512th of it
FEW = 1e-3  # of the regions: so few merges end a level, but for the last one
EDGES_AT_ONCE = 1 << 16

Edges = npt.NDArray[np.int64]  # (e, 2) pairs of regions


class Regions:
    """Regions of some points, each of them one at first.

    Parameters
    ----------
    vectors
        (n, c) float32.

    Attributes
    ----------
    labels
        (n,) region of each point, 0 … k - 1.
    count, total
        (k,) points and (k, c) sum of the vectors of each region.
    """

    def __init__(self, vectors: npt.NDArray[np.float32]) -> None:
        self.labels = np.arange(len(vectors))
        self.count: npt.NDArray = np.ones(len(vectors))
        self.total = vectors.copy()

    @property
    def mean(self) -> npt.NDArray[np.float32]:
        """(k, c) mean vector of each region."""
        return np.asarray(self.total / self.count[:, None], np.float32)

    def merge(
        self,
        edges: Edges,
        lengths: npt.NDArray,
        region_cost: Callable[[npt.NDArray], npt.NDArray],
        edge_cost: float,
        levels: int = LEVELS,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        """Merge pairs of regions, the best partners of each other first, as long as it pays.

        Merging adds to the squared error what both are off their common mean, and saves what the
        smaller of the two and the boundary between them cost.

        Parameters
        ----------
        edges, lengths
            Pairs of regions that may be merged, and the length (e,) of the boundary between them.
        region_cost
            Squared error that a region of so many points is worth.
        edge_cost
            Squared error that a unit of boundary is worth.
        """
        for level in range(levels):
            part = 2.0 ** (level + 1 - levels)
            while len(edges):
                change = self._rise(edges)
                smaller = self.count[edges].min(axis=1)
                change -= part * (region_cost(smaller) + edge_cost * lengths)
                pairs = _mutual(edges, change, len(self.count))
                if len(pairs):
                    edges, lengths = self._join(pairs, edges, lengths)
                if len(pairs) <= (FEW * len(self.count) if level < levels - 1 else 0):
                    break
            if progress is not None:
                progress((level + 1) / levels)

    def _rise(self, edges: Edges) -> npt.NDArray:
        """(e,) squared error that merging would add."""
        mean, out = self.mean, np.empty(len(edges))
        for start in range(0, len(edges), EDGES_AT_ONCE):
            a, b = edges[start : start + EDGES_AT_ONCE].T
            squares = np.square(mean[a] - mean[b]).sum(axis=1)
            weight = self.count[a] * self.count[b] / (self.count[a] + self.count[b])
            out[start : start + EDGES_AT_ONCE] = weight * squares
        return out

    def _join(self, pairs: Edges, edges: Edges, lengths: npt.NDArray) -> tuple[Edges, npt.NDArray]:
        """Merge pairs; returns the edges between what there is then."""
        into = np.arange(len(self.count))
        into[pairs[:, 1]] = pairs[:, 0]
        kept, new = np.unique(into, return_inverse=True)
        gather = sparse.csr_matrix(
            (np.ones(len(new), np.float32), (new, np.arange(len(new)))), (len(kept), len(new))
        )
        self.labels, self.total = new[self.labels], gather @ self.total
        self.count = np.bincount(new, self.count)
        return _joined(new[edges], lengths)


def edges_of_map(labels: npt.NDArray[np.int64]) -> tuple[Edges, npt.NDArray]:
    """Pairs of labels that meet in a (ny, nx) map, and how long their common boundary is."""
    across = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=1)
    down = np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=1)
    edges = np.concatenate([across, down])
    return _joined(edges, np.ones(len(edges)))


def _joined(edges: Edges, lengths: npt.NDArray) -> tuple[Edges, npt.NDArray]:
    """Each pair of different regions once, with the sum of its lengths."""
    apart = edges[:, 0] != edges[:, 1]
    edges, lengths = np.sort(edges[apart], axis=1), lengths[apart]
    if len(edges) == 0:
        return edges, lengths
    key = edges[:, 0] * (int(edges.max()) + 1) + edges[:, 1]
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    return edges[first], np.bincount(which.ravel(), lengths)


def _mutual(edges: Edges, change: npt.NDArray, count: int) -> Edges:
    """Pairs that are each other's best partners, and better merged than not."""
    useful = change < 0
    one = np.concatenate([edges[useful, 0], edges[useful, 1]])
    other = np.concatenate([edges[useful, 1], edges[useful, 0]])
    order = np.lexsort((other, np.tile(change[useful], 2), one))
    one, other = one[order], other[order]
    first = np.flatnonzero(np.diff(one, prepend=-1))
    best = np.full(count, -1)
    best[one[first]] = other[first]
    chosen = np.flatnonzero(best >= 0)
    chosen = chosen[(best[best[chosen]] == chosen) & (chosen < best[chosen])]
    return np.stack([chosen, best[chosen]], axis=1)
