"""What samples of a map have in common, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.multimodal.equivalents import nearest_equivalents

__all__ = [
    "OrientationSummary",
    "Turns",
    "light_summary",
    "orientation_median",
    "orientation_summary",
    "spread_about",
    "turned_to_neighbours",
    "turns_between",
]

Floats = npt.NDArray[np.float64]

ROUNDS = 7  # of averaging
NEAREST_DEG = 0.5  # to the median, from which on a sample weighs no more


@dataclass(frozen=True)
class OrientationSummary:
    """Orientations of k samples at (y, x) points.

    Parameters
    ----------
    median
        (y, x, 4) unit quaternions, sample to crystal.
    spread_deg
        (y, x) mean disorientation of the samples to the median; 0 of a single one.
    """

    median: Floats
    spread_deg: Floats


def orientation_summary(quaternions: npt.ArrayLike, point_group: str) -> OrientationSummary:
    """Geometric median and spread of (k, y, x, 4) orientations."""
    q = np.asarray(quaternions, np.float64)
    median = orientation_median(q, point_group)
    return OrientationSummary(median, spread_about(median, q, point_group))


def orientation_median(q: Floats, point_group: str) -> Floats:
    """(y, x, 4) geometric median of (k, y, x, 4) orientations.

    That is the orientation of the least mean disorientation to all samples: unlike their mean it
    stays where most are if one is far off. It is begun at the sample that agrees best with the
    others, and found by sums of those equivalents that are nearest to it, each weighed by the
    inverse of its angle (Weiszfeld 1937; on rotations Fletcher et al. 2009, doi:10.1016/
    j.neuroimage.2008.10.052).
    """
    each = q.reshape(len(q), -1, 4)
    median = _most_central(each, point_group)
    for turn in range(ROUNDS if len(q) > 1 else 0):
        near = [nearest_equivalents(sample, median, point_group) for sample in each]
        angles = np.stack([_opened_deg(cosine) for _, cosine in near])
        if turn == 0 and len(q) == 2:
            angles[:] = 1  # as near to one as to the other
        weights = 1 / np.maximum(angles, NEAREST_DEG)
        total = sum(w[:, None] * one for w, (one, _) in zip(weights, near, strict=True))
        median = total / np.linalg.norm(total, axis=-1, keepdims=True)
    return median.reshape(q.shape[1:])


def spread_about(median: Floats, quaternions: Floats, point_group: str) -> Floats:
    """(y, x) mean disorientation of (k, y, x, 4) samples to (y, x, 4); 0 of a single one."""
    if len(quaternions) == 1:
        return np.zeros(median.shape[:-1])
    flat = median.reshape(-1, 4)
    angles = [_angles_deg(sample.reshape(-1, 4), flat, point_group) for sample in quaternions]
    return np.mean(angles, axis=0).reshape(median.shape[:-1])


def light_summary(light: npt.ArrayLike) -> tuple[Floats, Floats]:
    """(p, y, x) mean of (k, p, y, x) samples, and their standard deviation, 0 of a single one."""
    x = np.asarray(light, np.float64)
    spread = np.zeros_like(x[0]) if len(x) == 1 else x.std(axis=0, ddof=1)
    return x.mean(axis=0), spread


@dataclass(frozen=True)
class Turns:
    """Disorientations `degrees` (p,) of all pairs of neighbouring pixels, above or beside one
    another; `first` and `second` (p,) are their numbers."""

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    degrees: Floats


def turns_between(quaternions: Floats, point_group: str) -> Turns:
    """Of the pixels of a map (y, x, 4)."""
    shape = quaternions.shape[:2]
    number, q = np.arange(shape[0] * shape[1]).reshape(shape), quaternions.reshape(-1, 4)
    first = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    second = np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])
    return Turns(first, second, _angles_deg(q[first], q[second], point_group))


def turned_to_neighbours(quaternions: Floats, point_group: str) -> Floats:
    """(y, x) largest disorientation, in degrees, to the next pixels, of (y, x, 4)."""
    turns = turns_between(quaternions, point_group)
    strength = np.zeros(quaternions.shape[0] * quaternions.shape[1])
    for ends in (turns.first, turns.second):
        np.maximum.at(strength, ends, turns.degrees)
    return strength.reshape(quaternions.shape[:2])


def _most_central(q: Floats, point_group: str) -> Floats:
    """(n, 4) of each point the sample with the least sum of angles to the others."""
    if len(q) < 3:
        return q[0]
    cost = np.zeros(q.shape[:2])
    for i in range(len(q)):
        for j in range(i):
            angle = _angles_deg(q[i], q[j], point_group)
            cost[i] += angle
            cost[j] += angle
    return np.take_along_axis(q, cost.argmin(axis=0)[None, :, None], axis=0)[0]


def _angles_deg(q: Floats, reference: Floats, point_group: str) -> Floats:
    """(n,) disorientations."""
    return _opened_deg(nearest_equivalents(q, reference, point_group)[1])


def _opened_deg(cosine: Floats) -> Floats:
    """Angles of the cosines of their halves."""
    return np.degrees(2 * np.arccos(np.minimum(cosine, 1.0)))
