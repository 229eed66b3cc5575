"""Orientations as three image channels: cubochoric coordinates within the symmetry's zone.

Of the equivalent orientations the one of the smallest rotation angle stands for all: orix's
fundamental zone. The zone has seams: where a rotation leaves through one face it comes back
through the opposite one, and both points are one orientation. A grain on a seam therefore flickers
between two colours; where the grains are known, each grain keeps to one side of the seam.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ebsdarchive.crystal_map import symmetry_quaternions
from ebsdarchive.errors import ArgumentError
from ebsdarchive.multimodal.cubochoric import from_cubochoric, to_cubochoric
from ebsdarchive.multimodal.equivalents import nearest_equivalents

__all__ = ["HEXAGONAL", "from_channels", "reduce_orientations", "to_channels"]

Floats = npt.NDArray[np.float64]

HEXAGONAL = "6/mmm"
IDENTITY = np.array([1.0, 0, 0, 0])
MARGIN = 1.08  # room beyond the faces of the zone, for the spread of a grain that lies on one
DIRECTIONS = 200_000


def to_channels(
    quaternions: npt.ArrayLike,
    point_group: str = HEXAGONAL,
    *,
    grains: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float32]:
    """Orientations as channels.

    Parameters
    ----------
    quaternions
        (..., 4) sample to crystal, scalar first; NaN where there is none, and NaN comes back.
    grains
        (...) integer labels from 0: the orientations of a grain stay on one side of a seam. Each
        orientation is reduced by itself without them.

    Returns
    -------
    (3, ...) float32
        Cubochoric coordinates in units of the largest that the zone has along each axis, with a
        little room: within [-1, 1], but for grains on a seam with a spread of several degrees.
    """
    q = np.asarray(quaternions, np.float64)
    if q.shape[-1:] != (4,):
        raise ArgumentError(f"quaternions: expected a last axis of 4, found shape {q.shape}")
    if grains is None:
        reduced = reduce_orientations(q, point_group)
    else:
        labels = np.asarray(grains)
        if labels.shape != q.shape[:-1]:
            raise ArgumentError(f"grains: expected shape {q.shape[:-1]}, found {labels.shape}")
        flat = _reduce_by_grain(q.reshape(-1, 4), point_group, labels.ravel())
        reduced = flat.reshape(q.shape)
    return np.moveaxis(to_cubochoric(reduced) / _extent(point_group), -1, 0).astype(np.float32)


def from_channels(channels: npt.ArrayLike, point_group: str = HEXAGONAL) -> Floats:
    """(..., 4) unit quaternions of (3, ...) channels, reduced to the zone, w ≥ 0."""
    cube = np.moveaxis(np.asarray(channels, np.float64), 0, -1) * _extent(point_group)
    return reduce_orientations(from_cubochoric(cube), point_group)


def reduce_orientations(quaternions: npt.ArrayLike, point_group: str = HEXAGONAL) -> Floats:
    """(..., 4) the equivalent of each with the smallest rotation angle, w ≥ 0."""
    q = np.asarray(quaternions, np.float64)
    flat = q.reshape(-1, 4)
    return nearest_equivalents(flat, IDENTITY, point_group)[0].reshape(q.shape)


def _reduce_by_grain(q: Floats, point_group: str, labels: npt.NDArray) -> Floats:
    """(n, 4) the equivalents next to their grain's mean, which is the reduced one."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    near_first, _ = nearest_equivalents(q, q[first][inverse], point_group)
    total = np.stack([np.bincount(inverse, column) for column in near_first.T], axis=1)
    mean = total / np.linalg.norm(total, axis=1, keepdims=True)
    reduced, _ = nearest_equivalents(mean, IDENTITY, point_group)
    return nearest_equivalents(q, reduced[inverse], point_group)[0]


@lru_cache
def _extent(point_group: str) -> Floats:
    """(3,) largest cubochoric coordinate in the zone along each axis, and a margin.

    Along a direction n the zone ends at the nearest of the planes r · m = tan(α / 4) of Rodrigues
    vectors r, one for each rotation by α about m.
    """
    s = symmetry_quaternions(point_group)
    s = s[np.abs(s[:, 0]) < 1 - 1e-9]
    s = np.where(s[:, :1] < 0, -s, s)
    sine = np.linalg.norm(s[:, 1:], axis=1)
    quarter = np.tan(np.arctan2(sine, s[:, 0]) / 2)
    index = np.arange(DIRECTIONS) + 0.5
    z = 1 - 2 * index / DIRECTIONS
    azimuth = index * np.pi * (1 + np.sqrt(5))
    ring = np.sqrt(1 - z * z)
    n = np.column_stack([ring * np.cos(azimuth), ring * np.sin(azimuth), z])
    nearest = np.full(DIRECTIONS, np.inf)
    with np.errstate(divide="ignore"):
        for axis, tangent in zip(s[:, 1:] / sine[:, None], quarter, strict=True):
            nearest = np.minimum(nearest, tangent / np.abs(n @ axis))
    half = np.arctan(nearest)
    surface = np.column_stack([np.cos(half), np.sin(half)[:, None] * n])
    return MARGIN * np.abs(to_cubochoric(surface)).max(axis=0)
