"""From a master pattern to patterns on a detector: directions of the pixels, and the projection.

Imports numba; the rest of the room imports this module only when patterns are asked for.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import GeometryError
from ebsdarchive.scan import Detector

__all__ = ["pixel_directions", "project"]

# arctan(t) / t for 0 <= t <= 1 as a polynomial in t**2, error below 2e-8.
# Abramowitz & Stegun, Handbook of Mathematical Functions, 4.4.49.
_ATAN = tuple(
    np.float32(c)
    for c in (
        1.0,
        -0.3333314528,
        0.1999355085,
        -0.1420889944,
        0.1065626393,
        -0.0752896400,
        0.0429096138,
        -0.0161657367,
        0.0028662257,
    )
)
_A0, _A1, _A2, _A3, _A4, _A5, _A6, _A7, _A8 = _ATAN
_ONE = np.float32(1)
_TINY = np.float32(1e-20)
_FOUR_OVER_PI = np.float32(4 / math.pi)


def pixel_directions(detector: Detector) -> npt.NDArray[np.float32]:
    """(3, sy * sx) unit vectors from the source point to the pixel centres, in the sample frame.

    The sample frame is EDAX TSL's (RD, TD, ND), as in kikuchipy. Needs one projection centre for
    all points.

    References
    ----------
    kikuchipy, EBSDDetector, Notes (sample-detector geometry).
    """
    if detector.pc_bruker is None or np.shape(detector.pc_bruker) != (3,):
        raise GeometryError("projection centre: expected one (PCx, PCy, PCz) for all points")
    pcx, pcy, pcz = detector.pc_bruker
    ny, nx = detector.shape
    right = ((np.arange(nx) + 0.5) / nx - pcx) * (nx / ny)
    up = pcy - (np.arange(ny) + 0.5) / ny
    to_pixel = np.empty((3, ny, nx))
    to_pixel[0], to_pixel[1], to_pixel[2] = right, up[:, None], pcz
    directions = _detector_axes(detector).T @ to_pixel.reshape(3, -1)
    directions /= np.linalg.norm(directions, axis=0)
    return np.ascontiguousarray(directions, dtype=np.float32)


def _detector_axes(detector: Detector) -> npt.NDArray[np.float64]:
    """(3, 3): rows are the detector's x (right), y (up) and z (outwards) in the sample frame."""
    axes = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    turns = (
        (0, -(detector.sample_tilt_deg or 0.0)),
        (0, detector.tilt_deg or 0.0),
        (1, -(detector.azimuth_deg or 0.0)),
        (2, -(detector.twist_deg or 0.0)),
    )
    for about, angle_deg in turns:
        axes = axes @ _rotation_matrix(axes[about], math.radians(angle_deg)).T
    return axes


def _rotation_matrix(axis: npt.NDArray[np.float64], angle: float) -> npt.NDArray[np.float64]:
    """(3, 3) matrix that turns column vectors about the unit vector `axis` (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def project(quaternions, directions, master, out):  # pragma: no cover (compiled)
    """Look up a master pattern in the direction of every pixel.

    Parameters
    ----------
    quaternions
        (k, 4) float64 unit quaternions, sample to crystal.
    directions
        (3, p) float32 unit vectors in the sample frame.
    master
        (2, m, m) float32, upper and lower hemisphere in the square Lambert projection.
    out
        (k, p) float32, overwritten: bilinearly interpolated intensities.

    References
    ----------
    Callahan & De Graef, Microsc. Microanal. 19 (2013) 1255; D. Roşca, Astron. Astrophys. 520
    (2010) A63 (square Lambert projection).
    """
    size = master.shape[1]
    half = np.float32((size - 1) / 2)
    last = np.float32(size - 1.001)
    n_pixels = directions.shape[1]
    flat = master.reshape(-1)
    corner = np.empty(n_pixels, np.int32)
    along_i = np.empty(n_pixels, np.float32)
    along_j = np.empty(n_pixels, np.float32)
    for k in range(quaternions.shape[0]):
        a, b, c, d = quaternions[k]
        r00 = np.float32(a * a + b * b - c * c - d * d)
        r01 = np.float32(2 * (b * c - a * d))
        r02 = np.float32(2 * (b * d + a * c))
        r10 = np.float32(2 * (b * c + a * d))
        r11 = np.float32(a * a - b * b + c * c - d * d)
        r12 = np.float32(2 * (c * d - a * b))
        r20 = np.float32(2 * (b * d - a * c))
        r21 = np.float32(2 * (c * d + a * b))
        r22 = np.float32(a * a - b * b - c * c + d * d)
        # Two loops: this one has no branches and no look-ups, so that it is vectorised.
        for p in range(n_pixels):
            u, v, w = directions[0, p], directions[1, p], directions[2, p]
            x = r00 * u + r01 * v + r02 * w
            y = r10 * u + r11 * v + r12 * w
            z = r20 * u + r21 * v + r22 * w
            abs_x, abs_y = abs(x), abs(y)
            longer, shorter = max(abs_x, abs_y), min(abs_x, abs_y)
            radius = math.sqrt((x * x + y * y) / (_ONE + abs(z)))  # = sqrt(1 - |z|)
            t = shorter / max(longer, _TINY)
            t2 = t * t
            atan = _A7 + t2 * _A8
            atan = _A5 + t2 * (_A6 + t2 * atan)
            atan = _A3 + t2 * (_A4 + t2 * atan)
            atan = _A1 + t2 * (_A2 + t2 * atan)
            atan = t * (_A0 + t2 * atan)
            across = radius * _FOUR_OVER_PI * atan
            lambert_x = math.copysign(radius if abs_x >= abs_y else across, x)  # -1 … 1
            lambert_y = math.copysign(across if abs_x >= abs_y else radius, y)
            i = min(max((lambert_y + _ONE) * half, np.float32(0)), last)
            j = min(max((lambert_x + _ONE) * half, np.float32(0)), last)
            row, column = np.int32(i), np.int32(j)
            along_i[p] = i - np.float32(row)
            along_j[p] = j - np.float32(column)
            hemisphere = np.int32(0 if z >= 0 else size)
            corner[p] = (hemisphere + row) * np.int32(size) + column
        for p in range(n_pixels):
            q = corner[p]
            top = flat[q] + along_j[p] * (flat[q + 1] - flat[q])
            q += size
            bottom = flat[q] + along_j[p] * (flat[q + 1] - flat[q])
            out[k, p] = top + along_i[p] * (bottom - top)
