"""Grains of a sampled map, turned to what was measured in them.

Samples know better where grains end than how they are oriented: a grain that was measured at one
point may be off by some degrees everywhere else. Here a pixel takes the orientation measured
nearest to it on a way within its grain. A way leads from pixel to pixel and across no high-angle
boundary; each step is as long as one and the degrees that the orientation turns, so that a way
around is preferred to one across a subgrain's boundary. A grain in which nothing was measured
keeps what was sampled.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebsdarchive.multimodal.edge_maps import BOUNDARY_DEG
from ebsdarchive.multimodal.summaries import Turns

__all__ = ["aligned_to_grains"]

Floats = npt.NDArray[np.float64]


def aligned_to_grains(
    quaternions: Floats, known: Floats, measured: npt.NDArray[np.bool_], turns: Turns
) -> Floats:
    """(y, x, 4) orientations of a map, with those measured in their grains.

    Parameters
    ----------
    quaternions
        (y, x, 4) sampled unit quaternions.
    known
        (y, x, 4) measured ones; what was not measured may be anything.
    measured
        (y, x) where something was measured.
    turns
        By what the orientation turns between neighbouring pixels.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    sources = np.flatnonzero(measured)
    if not len(sources):
        return quaternions
    within = turns.degrees <= BOUNDARY_DEG
    ends = turns.first[within], turns.second[within]
    ways = coo_matrix((1 + turns.degrees[within], ends), (measured.size, measured.size))
    length, _, source = dijkstra(
        ways.tocsr(), directed=False, indices=sources, min_only=True, return_predecessors=True
    )
    found = quaternions.reshape(-1, 4).copy()
    reached = np.isfinite(length)
    found[reached] = known.reshape(-1, 4)[source[reached]]
    return found.reshape(quaternions.shape)
