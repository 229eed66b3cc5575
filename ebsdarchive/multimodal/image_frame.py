"""Orientations in the frame of the map's image, in which light and channels are thought.

x runs along a row, y down a column, z into the specimen. EDAX's RD points down the map and its TD
along a row, its ND out of the specimen; Oxford's x runs along a row and its y up the map.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.scan import SampleFrame
from ebsdarchive.simulation.rotations import product

__all__ = ["from_image_frame", "to_image_frame"]

Floats = npt.NDArray[np.float64]

_HALF_TURNS = {  # from the image's frame to the sample's
    "edax": (0.0, sqrt(0.5), sqrt(0.5), 0.0),
    "oxford": (0.0, 1.0, 0.0, 0.0),
}


def to_image_frame(quaternions: npt.ArrayLike, frame: SampleFrame = "edax") -> Floats:
    """(..., 4) image to crystal, of (..., 4) sample to crystal; scalar first, NaN stays NaN."""
    return _turned(quaternions, _half_turn(frame))


def from_image_frame(quaternions: npt.ArrayLike, frame: SampleFrame = "edax") -> Floats:
    """(..., 4) sample to crystal, of (..., 4) image to crystal: the inverse."""
    return _turned(quaternions, -_half_turn(frame))


def _half_turn(frame: SampleFrame) -> Floats:
    if frame not in _HALF_TURNS:
        raise ArgumentError(f"frame: expected one of {', '.join(_HALF_TURNS)}, found {frame!r}")
    return np.array(_HALF_TURNS[frame])


def _turned(quaternions: npt.ArrayLike, first: Floats) -> Floats:
    q = np.asarray(quaternions, np.float64)
    flat = q.reshape(-1, 4)
    return product(flat, np.broadcast_to(first, flat.shape)).reshape(q.shape)
