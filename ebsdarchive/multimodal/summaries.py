"""What samples of a map have in common, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.multimodal.equivalents import nearest_equivalents

__all__ = [
    "OrientationSummary",
    "light_summary",
    "orientation_summary",
    "turned_to_neighbours",
]

Floats = npt.NDArray[np.float64]

ROUNDS = 3  # of averaging and taking the equivalents nearest to the mean


@dataclass(frozen=True)
class OrientationSummary:
    """Orientations of k samples at (y, x) points.

    Parameters
    ----------
    mean
        (y, x, 4) unit quaternions, sample to crystal.
    spread_deg
        (y, x) mean disorientation of the samples to the mean; 0 of a single one.
    """

    mean: Floats
    spread_deg: Floats


def orientation_summary(quaternions: npt.ArrayLike, point_group: str) -> OrientationSummary:
    """Mean and spread of (k, y, x, 4) orientations.

    Of equivalent quaternions those nearest to the mean count; the mean is their normalised sum,
    begun at the sample that agrees best with the others.
    """
    q = np.asarray(quaternions, np.float64)
    shape = q.shape[1:]
    q = q.reshape(len(q), -1, 4)
    mean = _most_central(q, point_group)
    for _ in range(ROUNDS if len(q) > 1 else 0):
        total = sum(nearest_equivalents(sample, mean, point_group)[0] for sample in q)
        mean = total / np.linalg.norm(total, axis=-1, keepdims=True)
    inner = np.mean([_angles_deg(sample, mean, point_group) for sample in q], axis=0)
    spread = np.zeros(len(mean)) if len(q) == 1 else inner
    return OrientationSummary(mean.reshape(shape), spread.reshape(shape[:-1]))


def light_summary(light: npt.ArrayLike) -> tuple[Floats, Floats]:
    """(p, y, x) mean of (k, p, y, x) samples, and their standard deviation, 0 of a single one."""
    x = np.asarray(light, np.float64)
    spread = np.zeros_like(x[0]) if len(x) == 1 else x.std(axis=0, ddof=1)
    return x.mean(axis=0), spread


def turned_to_neighbours(quaternions: Floats, point_group: str) -> Floats:
    """(y, x) largest disorientation, in degrees, to the next pixels, of (y, x, 4)."""
    shape = quaternions.shape[:2]
    number, q = np.arange(shape[0] * shape[1]).reshape(shape), quaternions.reshape(-1, 4)
    strength = np.zeros(number.size)
    for first, second in ((number[:-1], number[1:]), (number[:, :-1], number[:, 1:])):
        angle = _angles_deg(q[first.ravel()], q[second.ravel()], point_group)
        for ends in (first.ravel(), second.ravel()):
            strength[ends] = np.maximum(strength[ends], angle)
    return strength.reshape(shape)


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
    _, cosine = nearest_equivalents(q, reference, point_group)
    return np.degrees(2 * np.arccos(np.minimum(cosine, 1.0)))
