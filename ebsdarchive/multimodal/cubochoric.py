"""Rotations as points of a cube of equal volume: cubochoric coordinates (Roşca et al. 2014).

A uniform distribution of rotations is a uniform one in the cube of edge π^(2/3). orix has the way
from the cube to the ball of homochoric coordinates only, for sampling; both ways are here.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import numpy.typing as npt

__all__ = ["HALF_EDGE", "from_cubochoric", "to_cubochoric"]

Floats = npt.NDArray[np.float64]

HALF_EDGE = pi ** (2 / 3) / 2
BALL_RADIUS = (3 * pi / 4) ** (1 / 3)
SCALE = (pi / 6) ** (1 / 6)  # of the cube, before its six pyramids become sectors of the ball
BETA = SCALE * HALF_EDGE
ANGLES = np.linspace(0, pi, 20001)  # linear interpolation between them errs by 1e-9 rad
RADII = (0.75 * (ANGLES - np.sin(ANGLES))) ** (1 / 3)


def to_cubochoric(quaternions: npt.ArrayLike) -> Floats:
    """(..., 3) points within ±HALF_EDGE of (..., 4) unit quaternions, scalar first.

    A quaternion and its negative are one rotation and one point; NaN stays NaN.
    """
    q = np.asarray(quaternions, np.float64)
    q = np.where(q[..., :1] < 0, -q, q)
    length = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(length, q[..., :1])
    radius = np.cbrt(0.75 * (angle - np.sin(angle)))
    ball = radius * q[..., 1:] / np.where(length > 0, length, 1.0)
    shape = ball.shape
    return _ball_to_cube(ball.reshape(-1, 3)).reshape(shape)


def from_cubochoric(points: npt.ArrayLike) -> Floats:
    """(..., 4) unit quaternions with w ≥ 0 of (..., 3) points; those outside go to its surface."""
    cube = np.clip(np.asarray(points, np.float64), -HALF_EDGE, HALF_EDGE)
    ball = _cube_to_ball(cube.reshape(-1, 3)).reshape(cube.shape)
    radius = np.linalg.norm(ball, axis=-1, keepdims=True)
    half = np.interp(radius, RADII, ANGLES) / 2
    axis = ball / np.where(radius > 0, radius, 1.0)
    return np.concatenate([np.cos(half), np.sin(half) * axis], axis=-1)


def _pyramids(points: Floats) -> npt.NDArray[np.int64]:
    """(n, 3) order of the axes in which the largest coordinate comes last."""
    largest = np.argmax(np.abs(points), axis=1)
    return (largest[:, None] + np.array([1, 2, 3])) % 3


def _ball_to_cube(ball: Floats) -> Floats:
    """Inverse of `_cube_to_ball`."""
    order = _pyramids(ball)
    x, y, z = np.take_along_axis(ball, order, axis=1).T
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.linalg.norm(ball, axis=1)
        to_disc = np.sqrt(2 * r / (r + np.abs(z)))
        x, y, z = x * to_disc, y * to_disc, np.copysign(r * sqrt(pi / 6), z)
        swap = np.abs(y) > np.abs(x)
        a, b = np.where(swap, y, x), np.where(swap, x, y)  # |a| ≥ |b|
        squared = a * a + b * b
        s = np.sqrt(squared + a * a)
        along = sqrt(0.5) * BETA / BALL_RADIUS
        along = along * np.sqrt(s * s * squared / (s * s - np.abs(a) * s))
        cosine = np.clip((b * b + np.abs(a) * s) / (sqrt(2) * squared), -1, 1)
        across = along * np.arccos(cosine) * (12 / pi)
    flat = (squared == 0) | (r == 0)
    a = np.where(flat, 0.0, np.copysign(along, a))
    b = np.where(flat, 0.0, np.copysign(across, b))
    z = np.where(r == 0, 0.0, z)
    cube = np.empty_like(ball)
    columns = np.column_stack([np.where(swap, b, a), np.where(swap, a, b), z]) / SCALE
    np.put_along_axis(cube, order, columns, axis=1)
    return cube


def _cube_to_ball(cube: Floats) -> Floats:
    """(n, 3) homochoric coordinates: each pyramid over a face becomes a sector of the ball."""
    order = _pyramids(cube)
    x, y, z = np.take_along_axis(cube * SCALE, order, axis=1).T
    swap = np.abs(y) > np.abs(x)
    a, b = np.where(swap, y, x), np.where(swap, x, y)
    with np.errstate(invalid="ignore", divide="ignore"):
        angle = (pi / 12) * np.where(a == 0, 0.0, b / a)
        q = BALL_RADIUS / BETA * 2**0.25 * a / np.sqrt(sqrt(2) - np.cos(angle))
        a, b = q * (sqrt(2) * np.cos(angle) - 1), q * sqrt(2) * np.sin(angle)
        squared = a * a + b * b
        shrink = np.sqrt(1 - pi * squared / (24 * z * z))
        height = sqrt(6 / pi) * z - sqrt(pi / 24) * squared / z
    flat = z == 0  # the centre
    columns = np.column_stack(
        [np.where(swap, b, a) * shrink, np.where(swap, a, b) * shrink, height]
    )
    ball = np.empty_like(cube)
    np.put_along_axis(ball, order, np.where(flat[:, None], 0.0, columns), axis=1)
    return ball
