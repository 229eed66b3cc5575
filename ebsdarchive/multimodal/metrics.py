"""How far found boundaries and orientations are from true ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.deviation import compare_orientations

__all__ = ["Chamfer", "blurred_bce", "chamfer", "disorientation_deg"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

BLUR_SIGMA, BLUR_RADIUS = 3.0, 5  # pixels
CLOSEST = 1e-3  # to 0 and 1, of what is compared by its logarithm


@dataclass(frozen=True)
class Chamfer:
    """Distances between two sets of pixels.

    Parameters
    ----------
    forward
        Mean distance of found pixels to the nearest true one: what is found and is not there.
    backward
        Mean distance of true pixels to the nearest found one: what is there and is not found.
    """

    forward: float
    backward: float

    @property
    def both(self) -> float:
        """Mean of the two."""
        return (self.forward + self.backward) / 2


def chamfer(found: Mask, true: Mask) -> Chamfer:
    """Distances in pixels between boundaries (y, x); the map's diagonal where one side has none."""
    from scipy.ndimage import distance_transform_edt

    def mean_distance(from_: Mask, to: Mask) -> float:
        if not from_.any():
            return 0.0 if not to.any() else float(np.hypot(*to.shape))
        if not to.any():
            return float(np.hypot(*to.shape))
        return float(distance_transform_edt(~to)[from_].mean())

    return Chamfer(mean_distance(found, true), mean_distance(true, found))


def blurred_bce(found: Mask, true: Mask) -> float:
    """Binary cross-entropy (nats per pixel) of boundaries (y, x), both blurred.

    The blur is a Gaussian of 3 pixels within 5; a long straight line of one pixel has 1 at its
    middle. The least that can be had is not 0 but the entropy of the blurred truth.
    """
    p, t = (np.clip(_blurred(mask), CLOSEST, 1 - CLOSEST) for mask in (found, true))
    return float(-(t * np.log(p) + (1 - t) * np.log(1 - p)).mean())


def disorientation_deg(found: npt.ArrayLike, true: npt.ArrayLike, point_group: str) -> Floats:
    """(...) angles between (..., 4) orientations, reduced by symmetry (orix)."""
    a, b = np.asarray(found, np.float64), np.asarray(true, np.float64)
    angles = compare_orientations(a.reshape(-1, 4), b.reshape(-1, 4), point_group).deviation_deg
    return angles.reshape(a.shape[:-1])


def _blurred(mask: Mask) -> Floats:
    from scipy.ndimage import gaussian_filter

    at = np.arange(-BLUR_RADIUS, BLUR_RADIUS + 1)
    across = np.exp(-0.5 * (at / BLUR_SIGMA) ** 2)
    line = float(across.max() / across.sum())  # of a long line, at its middle
    return gaussian_filter(mask.astype(np.float64), BLUR_SIGMA, radius=BLUR_RADIUS) / line
