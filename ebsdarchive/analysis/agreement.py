"""How well grains and boundaries that were found agree with others: a truth, or indexed ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid

__all__ = ["adjusted_rand_index", "grains_by_disorientation", "midpoints"]


def adjusted_rand_index(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Agreement of two labellings of the same points: 1 for the same parts, 0 for chance.

    References
    ----------
    Hubert & Arabie, Journal of Classification 2 (1985) 193, eq. 5.
    """
    _, first = np.unique(np.ravel(a), return_inverse=True)
    _, second = np.unique(np.ravel(b), return_inverse=True)
    n = len(first)
    _, both = np.unique(first.astype(np.int64) * (second.max() + 1) + second, return_counts=True)

    def pairs(counts: npt.NDArray) -> float:
        counts = counts.astype(np.float64)
        return float((counts * (counts - 1)).sum() / 2)

    together = pairs(both)
    in_a, in_b = pairs(np.bincount(first)), pairs(np.bincount(second))
    expected = in_a * in_b / max(1.0, n * (n - 1) / 2)
    largest = (in_a + in_b) / 2
    return 1.0 if largest == expected else (together - expected) / (largest - expected)


def grains_by_disorientation(
    quaternions: npt.NDArray[np.float64],
    shape: tuple[int, int],
    point_group: str,
    threshold_deg: float = 5.0,
) -> npt.NDArray[np.int32]:
    """Grains of an indexed square grid: neighbours with less disorientation belong together.

    Parameters
    ----------
    quaternions
        (ny * nx, 4) sample to crystal; NaN where not indexed, which is a grain of its own.
    shape
        (ny, nx).

    Returns
    -------
    (ny, nx) ndarray of int32
        Labels from 1 on.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from ebsdarchive.analysis.indexing import compare_orientations

    index = np.arange(shape[0] * shape[1]).reshape(shape)
    first = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    second = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    found = compare_orientations(quaternions[first], quaternions[second], point_group)
    alike = found.deviation_deg < threshold_deg  # NaN is not
    graph = coo_array(
        (np.ones(int(alike.sum()), np.int8), (first[alike], second[alike])), (index.size,) * 2
    )
    _, labels = connected_components(graph, directed=False)
    return (labels + 1).astype(np.int32).reshape(shape)


def midpoints(labels: npt.NDArray[np.integer], grid: Grid) -> npt.NDArray[np.float64]:
    """(m, 2) positions in steps midway between neighbours of a square map with other labels.

    Parameters
    ----------
    labels
        (ny, nx), spread over the extent of `grid`.
    """
    ny, nx = labels.shape
    y, x = np.nonzero(labels[:, 1:] != labels[:, :-1])
    beside = np.column_stack([x + 0.5, y])
    y, x = np.nonzero(labels[1:] != labels[:-1])
    below = np.column_stack([x, y + 0.5])
    per_sample = np.array(grid.extent) / np.maximum((nx - 1, ny - 1), 1)
    return np.concatenate([beside, below]) * per_sample
