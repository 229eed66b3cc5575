"""Grains without indexing: basins of the diffraction gradient, joined where patterns are alike.

The watershed cuts the scan along all ridges of the gradient, weak ones too. Two parts are then one
grain if the patterns on both sides of the ridge between them correlate: a criterion that needs no
threshold in counts, and that noise, contrast and the detector leave alone.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.ridges import BandPatterns, Raster, Slopes
from ebsdarchive.archive.outlines import Grain

__all__ = ["SIDE", "Grains", "borders", "oriented_normals", "ranks_by_area", "segment", "sizes"]

SIDE = 1.0  # steps from a ridge to where the patterns beside it are taken
POINTS_AT_ONCE = 1 << 15

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Grains:
    """A scan cut into grains.

    Parameters
    ----------
    labels
        (ny, nx) int32 grain of each sample of the raster, from 1 on, largest grain first.
    correlation
        {(i, j): correlation of the patterns on both sides of the boundary}, i < j.
    """

    labels: npt.NDArray[np.int32]
    correlation: dict[tuple[int, int], float]

    @property
    def count(self) -> int:
        return int(self.labels.max())


def segment(
    slopes: Slopes,
    bands: BandPatterns,
    raster: Raster,
    *,
    correlation: float = 0.6,
    min_area: float = 3.0,
) -> Grains:
    """Cut a scan into grains.

    Parameters
    ----------
    slopes
        Of the field on `raster`.
    correlation
        Parts whose patterns correlate better than this are one grain.
    min_area
        Grains smaller than this, in squared steps along x, join the neighbour most like them.
    """
    basins = _basins(slopes.strength)
    sides = _sides(basins, slopes, bands, raster)
    areas = np.bincount(basins.ravel()) * float(raster.sample_length.prod())
    merging = _Merging(sides, areas)
    merging.join_alike(correlation)
    merging.absorb_small(min_area)
    root = merging.roots()
    final = root[basins]
    label = ranks_by_area(final, len(root))
    found = {}
    for (i, j), value in merging.correlations().items():
        a, b = sorted((int(label[i]), int(label[j])))
        found[a, b] = value
    return Grains(label[final], found)


def sizes(grains: Grains, raster: Raster) -> list[Grain]:
    """Size and place of every grain, in the order of their labels."""
    n = grains.count + 1
    samples, x, y = np.zeros((3, n))
    for rows in raster.bands_of_rows(sample_bytes=32):
        labels = grains.labels[rows].ravel()
        row, column = np.divmod(np.arange(labels.size), grains.labels.shape[1])
        samples += np.bincount(labels, minlength=n)
        x += np.bincount(labels, column, minlength=n)
        y += np.bincount(labels, row + rows.start, minlength=n)
    at_edge = np.zeros(n, bool)
    labels = grains.labels
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_edge[edge] = True
    area = samples * float(raster.sample_length.prod())
    scale = samples.clip(1) * raster.per_step
    return [
        Grain(i, float(area[i]), (float(x[i] / scale[i]), float(y[i] / scale[i])), bool(at_edge[i]))
        for i in range(1, n)
    ]


def ranks_by_area(labels: npt.NDArray[np.integer], count: int = 0) -> npt.NDArray[np.int32]:
    """(n,) rank of each label from 0 on by its area, from 1 on, the largest first.

    Of equal areas the smaller label comes first; n is `count`, or more if there are more labels.
    """
    area = np.bincount(labels.ravel(), minlength=count)
    rank = np.empty(len(area), np.int32)
    rank[np.argsort(-area, kind="stable")] = np.arange(1, len(area) + 1)
    return rank


def borders(labels: npt.NDArray[np.integer]) -> tuple[Ints, Ints]:
    """(m, 2) flat indices of neighbouring samples with different labels.

    Of those side by side, and of those below one another.
    """
    nx = labels.shape[1]
    row, column = np.nonzero(labels[:, 1:] != labels[:, :-1])
    beside = row * nx + column
    below = np.flatnonzero(labels[1:] != labels[:-1])
    return np.column_stack([beside, beside + 1]), np.column_stack([below, below + nx])


def oriented_normals(slopes: Slopes, pairs: Ints) -> npt.NDArray[np.float64]:
    """(m, 2) unit vectors across the ridge from the first to the second sample of each pair."""
    nx = slopes.strength.shape[1]
    normal = slopes.normal.reshape(-1, 2)
    first, second = normal[pairs[:, 0]].astype(np.float64), normal[pairs[:, 1]]
    mean = first + np.where((first * second).sum(axis=1) < 0, -1.0, 1.0)[:, None] * second
    row, column = np.divmod(pairs, nx)
    way = np.column_stack([np.diff(column, axis=1), np.diff(row, axis=1)])
    mean *= np.where((mean * way).sum(axis=1) < 0, -1.0, 1.0)[:, None]
    return mean / np.maximum(np.linalg.norm(mean, axis=1), 1e-12)[:, None]


def _basins(strength: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """(ny, nx) int32 basins of the watershed, from 0 on."""
    from skimage.measure import label
    from skimage.morphology import local_minima
    from skimage.segmentation import watershed

    markers = label(local_minima(strength), connectivity=2)
    if markers.max() < 2:
        return np.zeros(strength.shape, np.int32)
    return watershed(strength, markers).astype(np.int32) - 1


def _sides(
    basins: npt.NDArray[np.int32], slopes: Slopes, bands: BandPatterns, raster: Raster
) -> dict[tuple[int, int], npt.NDArray[np.float64]]:
    """{(i, j): (2, k)} sums of the patterns on the side of basin i and of basin j, i < j."""
    pairs = np.concatenate(borders(basins))
    flat = basins.ravel()
    pairs = np.where((flat[pairs[:, 0]] > flat[pairs[:, 1]])[:, None], pairs[:, ::-1], pairs)
    n = int(flat.max()) + 1
    edges, edge = np.unique(
        flat[pairs[:, 0]].astype(np.int64) * n + flat[pairs[:, 1]], return_inverse=True
    )
    sums = np.zeros((len(edges), 2, bands.length))
    for start in range(0, len(pairs), POINTS_AT_ONCE):
        part = slice(start, start + POINTS_AT_ONCE)
        for side, patterns in enumerate(_beside(pairs[part], slopes, bands, raster)):
            np.add.at(sums[:, side], edge[part], patterns)
    return {(int(e // n), int(e % n)): both for e, both in zip(edges, sums, strict=True)}


def _beside(
    pairs: Ints, slopes: Slopes, bands: BandPatterns, raster: Raster
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(m, k) patterns on the side of the first and of the second sample of each pair."""
    nx = slopes.strength.shape[1]
    rows, columns = np.divmod(pairs, nx)
    middle = np.column_stack([columns.mean(axis=1), rows.mean(axis=1)]) / raster.per_step
    shift = SIDE * oriented_normals(slopes, pairs) / (1.0, raster.grid.row_distance)
    first, second = (
        bands(np.clip(middle + sign * shift, 0.0, raster.grid.extent)) for sign in (-1, 1)
    )
    return first, second


class _Merging:
    """Regions that are joined step by step, and the patterns beside the borders between them."""

    def __init__(
        self, sides: dict[tuple[int, int], npt.NDArray[np.float64]], areas: npt.NDArray
    ) -> None:
        self._parent = list(range(len(areas)))
        self._areas = areas.astype(np.float64)
        self._sides: list[dict[int, npt.NDArray[np.float64]]] = [{} for _ in areas]
        for (i, j), both in sides.items():
            self._sides[i][j] = both  # (2, 1 + k): own side first
            self._sides[j][i] = both[::-1]

    def correlation(self, i: int, j: int) -> float:
        """Of the patterns on both sides of the border between two regions."""
        own, other = self._sides[i][j]
        return float((own @ other) / np.sqrt(max((own @ own) * (other @ other), 1e-30)))

    def join_alike(self, least: float) -> None:
        """Join the two regions that are most alike, again and again, down to `least`."""
        queue = [
            (-self.correlation(i, j), i, j)
            for i, others in enumerate(self._sides)
            for j in others
            if i < j
        ]
        queue = [entry for entry in queue if -entry[0] > least]
        heapq.heapify(queue)
        while queue:
            value, i, j = heapq.heappop(queue)
            if j not in self._sides[i] or -value != self.correlation(i, j):
                continue  # joined or changed since
            for other in self._join(i, j):
                changed = self.correlation(i, other)
                if changed > least:
                    a, b = sorted((i, other))
                    heapq.heappush(queue, (-self.correlation(a, b), a, b))

    def absorb_small(self, min_area: float) -> None:
        """Join regions below `min_area`, smallest first, to the neighbour most like them."""
        queue = [(area, i) for i, area in enumerate(self._areas) if self._parent[i] == i]
        heapq.heapify(queue)
        while queue:
            area, i = heapq.heappop(queue)
            if area >= min_area:
                return
            if self._parent[i] != i or area != self._areas[i] or not self._sides[i]:
                continue
            nearest = max(self._sides[i], key=lambda j: self.correlation(i, j))
            self._join(nearest, i)
            heapq.heappush(queue, (self._areas[nearest], nearest))

    def _join(self, i: int, j: int) -> list[int]:
        """Make region j part of region i; returns i's neighbours."""
        self._parent[j] = i
        self._areas[i] += self._areas[j]
        del self._sides[i][j], self._sides[j][i]
        for other, both in self._sides[j].items():
            del self._sides[other][j]
            joined = self._sides[i][other] + both if other in self._sides[i] else both
            self._sides[i][other], self._sides[other][i] = joined, joined[::-1]
        self._sides[j] = {}
        return list(self._sides[i])

    def roots(self) -> npt.NDArray[np.int64]:
        """(basins,) index, from 0 on, of the region that each basin belongs to."""
        found = np.arange(len(self._parent))
        parent = np.array(self._parent)
        while (found != parent[found]).any():
            found = parent[found]
        return found

    def correlations(self) -> dict[tuple[int, int], float]:
        """Of all borders that are left."""
        return {
            (i, j): self.correlation(i, j)
            for i, others in enumerate(self._sides)
            for j in others
            if i < j
        }
