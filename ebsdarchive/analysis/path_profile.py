"""What changes along a path: S, confidence, fit and orientation of each sample, as one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.crossings import Crossing, GradientAlong
from ebsdarchive.analysis.deviation import compare_phases
from ebsdarchive.analysis.indexing import Indexed
from ebsdarchive.analysis.scan_path import ScanPath
from ebsdarchive.exchange.columns import Column
from ebsdarchive.scan import Phase

__all__ = ["PathProfile", "Turning", "disorientation", "turning"]


@dataclass(frozen=True)
class Turning:
    """How orientations change along a path, reduced by the symmetry of the phase.

    Parameters
    ----------
    from_start_deg
        (n,) to the first sample that is indexed.
    from_previous_deg
        (n,) to the sample before; NaN for the first.

    Both are NaN where one of the two is not indexed, or their phases differ.
    """

    from_start_deg: npt.NDArray[np.float64]
    from_previous_deg: npt.NDArray[np.float64]


def turning(found: Indexed) -> Turning:
    """The turning of orientations that stand in the order of a path."""
    n = len(found.phase_id)
    first = int(np.argmax(found.phase_id >= 0))
    from_start = disorientation(found.take(np.full(n, first)), found)
    from_previous = np.full(n, np.nan)
    from_previous[1:] = disorientation(found.take(np.s_[:-1]), found.take(np.s_[1:]))
    return Turning(from_start, from_previous)


def disorientation(a: Indexed, b: Indexed) -> npt.NDArray[np.float64]:
    """(n,) angle in degrees between two results of the same phases, point by point.

    It is reduced by the symmetry of the phase; NaN where one is not indexed, or phases differ.
    """
    found = compare_phases(a.quaternions, b.quaternions, a.phase_id, b.phase_id, a.point_groups)
    return found.deviation_deg


@dataclass(frozen=True)
class PathProfile:
    """A profile along a path. Distances are in steps along x from its beginning.

    Parameters
    ----------
    path
        The path.
    layer
        Layer of the patterns.
    xy, distance
        (n, 2) and (n,) position of each sample.
    s
        (n,) diffraction gradient S of the field itself, counts per step; None where it is not
        known.
    smoothing
        Of `along`, in steps.
    along
        S at a scale of `smoothing`, finely sampled; None where it is not known.
    crossings
        Boundaries, in order; None where S is not known.
    indexed
        (n,) what indexing found; None where none was asked for.
    turning
        (n,) how the orientation changes; None as `indexed`.
    phases
        That were considered.
    indexing
        How it was indexed, as plain JSON values; None as `indexed`.
    notes
        What to know when using it.
    """

    path: ScanPath
    layer: str
    xy: npt.NDArray[np.float64]
    distance: npt.NDArray[np.float64]
    s: npt.NDArray[np.float32] | None
    smoothing: float
    along: GradientAlong | None
    crossings: tuple[Crossing, ...] | None
    indexed: Indexed | None
    turning: Turning | None
    phases: tuple[Phase, ...] = ()
    indexing: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def step_um(self) -> float | None:
        """µm for a unit of all distances; None where a step is not known."""
        grid = self.path.grid
        return None if grid.step_y_um is None else grid.step_x_um

    def columns(self) -> list[Column]:
        """The profile as a table, a row for each sample; what is not known is no column.

        Euler angles are Bunge's, of the rotation from sample to crystal.
        """
        columns = [Column("distance_steps", self.distance, "step", "Distance along the path")]
        if self.step_um is not None:
            um = self.distance * self.step_um
            columns.append(Column("distance_um", um, "um", "Distance along the path"))
        columns += [
            Column("x", self.xy[:, 0], "step", "Column of the scan"),
            Column("y", self.xy[:, 1], "step", "Row of the scan"),
        ]
        if self.s is not None and self.along is not None:
            smooth = np.interp(self.distance, self.along.distance, self.along.s)
            scale = f"Diffraction gradient S at a scale of {self.smoothing:g} steps"
            columns += [
                Column("s_counts_per_step", self.s, "counts/step", "Diffraction gradient S"),
                Column("s_smoothed_counts_per_step", smooth, "counts/step", scale),
            ]
        if self.indexed is not None and self.turning is not None:
            columns += self._orientation_columns(self.indexed, self.turning)
        return columns

    def _orientation_columns(self, found: Indexed, turned: Turning) -> list[Column]:
        from orix.quaternion import Rotation

        known = found.phase_id >= 0
        euler = np.full((len(known), 3), np.nan)
        if known.any():
            euler[known] = Rotation(found.quaternions[known]).to_euler(degrees=True)
        name_of = {phase.phase_id: phase.name for phase in self.phases}
        names = np.array([name_of.get(int(i), "") for i in found.phase_id], dtype=str)
        return [
            Column("confidence", found.confidence, "1", "Confidence metric"),
            Column("fit_deg", found.fit_deg, "deg", "Mean angle of found to expected bands"),
            Column("phase", names, "", "Phase; empty where not indexed"),
            Column("phi1_deg", euler[:, 0], "deg", "Euler angle phi1 (Bunge, sample to crystal)"),
            Column("Phi_deg", euler[:, 1], "deg", "Euler angle Phi"),
            Column("phi2_deg", euler[:, 2], "deg", "Euler angle phi2"),
            Column(
                "from_previous_deg", turned.from_previous_deg, "deg",
                "Disorientation to the sample before",
            ),
            Column(
                "from_start_deg", turned.from_start_deg, "deg",
                "Disorientation to the first sample that is indexed",
            ),
        ]  # fmt: skip
