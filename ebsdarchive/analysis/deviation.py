"""How far two sets of orientations of the same points differ, for any point group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError

__all__ = ["LIMITS_DEG", "Agreement", "compare_orientations", "compare_phases"]

LIMITS_DEG = (2, 4, 5, 10)


@dataclass(frozen=True)
class Agreement:
    """How far the orientations of two results differ, over points that both have indexed.

    Parameters
    ----------
    deviation_deg
        (n,) symmetry-reduced angle; NaN where one of the two is not indexed, or they are indexed as
        different phases.
    within_4_deg
        Share of all points whose deviation is below 4 degrees.
    mean_deg, median_deg
        Of the deviation over the points that both have indexed.
    """

    deviation_deg: npt.NDArray[np.float64]
    within_4_deg: float
    mean_deg: float
    median_deg: float

    def within(self, limit_deg: float) -> float:
        """Share of all points whose deviation is below a limit."""
        known = np.isfinite(self.deviation_deg)
        below = np.count_nonzero(self.deviation_deg[known] < limit_deg)
        return below / max(1, len(self.deviation_deg))

    @property
    def compared(self) -> int:
        """Number of points whose orientations could be compared."""
        return int(np.count_nonzero(np.isfinite(self.deviation_deg)))


def compare_orientations(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], point_group: str
) -> Agreement:
    """Symmetry-reduced angle between orientations, point by point.

    Parameters
    ----------
    a, b
        (n, 4) quaternions, sample to crystal; NaN where not indexed.
    point_group
        Hermann-Mauguin symbol, of any of the 32 groups; orientations are told apart by its
        rotations alone, those of its proper subgroup.

    Raises
    ------
    ArgumentError
        If there is no such point group.
    """
    deviation = np.full(len(a), np.nan)
    _add_deviations(deviation, a, b, point_group)
    return _agreement(deviation)


def compare_phases(
    a: npt.NDArray[np.float64],
    b: npt.NDArray[np.float64],
    phase_a: npt.NDArray[np.int32],
    phase_b: npt.NDArray[np.int32],
    point_groups: Mapping[int, str],
) -> Agreement:
    """As `compare_orientations`, each point with the point group of its phase.

    Parameters
    ----------
    phase_a, phase_b
        (n,) ids of phases; points where they differ have no deviation.
    point_groups
        {phase_id: point group}.
    """
    deviation = np.full(len(a), np.nan)
    for phase_id, point_group in point_groups.items():
        rows = np.flatnonzero((phase_a == phase_id) & (phase_b == phase_id))
        part = np.full(len(rows), np.nan)
        _add_deviations(part, a[rows], b[rows], point_group)
        deviation[rows] = part
    return _agreement(deviation)


def _add_deviations(
    out: npt.NDArray[np.float64], a: npt.NDArray, b: npt.NDArray, point_group: str
) -> None:
    from orix.quaternion import Orientation
    from orix.quaternion import symmetry as symmetries

    groups = [group for group in symmetries._groups if group.name == point_group]
    if not groups:
        names = ", ".join(group.name for group in symmetries._groups)
        raise ArgumentError(f"point group: expected one of {names}, found {point_group!r}")
    group = groups[0].laue  # its proper rotations are what tells orientations apart
    both = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    if both.any():
        first, second = Orientation(a[both], group), Orientation(b[both], group)
        out[both] = np.rad2deg(first.angle_with(second))


def _agreement(deviation: npt.NDArray[np.float64]) -> Agreement:
    known = deviation[np.isfinite(deviation)]
    return Agreement(
        deviation_deg=deviation,
        within_4_deg=float(np.count_nonzero(known < 4) / max(1, len(deviation))),
        mean_deg=float(known.mean()) if known.size else float("nan"),
        median_deg=float(np.median(known)) if known.size else float("nan"),
    )
