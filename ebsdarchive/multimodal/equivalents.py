"""Of all orientations that a crystal's symmetry makes one, the one that is wanted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebsdarchive.crystal_map import symmetry_quaternions
from ebsdarchive.simulation.rotations import product

__all__ = ["nearest_equivalents"]

Floats = npt.NDArray[np.float64]

AT_ONCE = 1 << 16  # orientations; all their cosines fit a cache
TIE = 1e-9  # cosines closer than this are equal up to rounding


def nearest_equivalents(
    quaternions: Floats, reference: Floats, point_group: str
) -> tuple[Floats, Floats]:
    """The equivalent of each orientation that is nearest to a reference, with the sign nearest to
    it.

    Parameters
    ----------
    quaternions
        (n, 4) unit quaternions, sample to crystal, scalar first; of NaN comes NaN.
    reference
        (4,) for all or (n, 4).

    Returns
    -------
    equivalents : (n, 4)
        Of those equally near, as on a seam of the zone, always the same.
    cosine : (n,)
        Of half the angle to the reference, from 0 on.
    """
    s = symmetry_quaternions(point_group)
    references = np.broadcast_to(reference, quaternions.shape)
    found, cosine = np.empty(quaternions.shape), np.empty(len(quaternions))
    for start in range(0, len(quaternions), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        q = quaternions[part]
        # <s q, r> = <s, r q*>, for s acts on the left of sample to crystal
        inner = product(references[part], q * [1, -1, -1, -1]) @ s.T
        best = np.argmax(np.abs(inner) - TIE * np.arange(len(s)), axis=1)
        inner = np.take_along_axis(inner, best[:, None], axis=1)
        found[part] = np.where(inner < 0, -1.0, 1.0) * product(s[best], q)
        cosine[part] = np.abs(inner[:, 0])
    return found, cosine
