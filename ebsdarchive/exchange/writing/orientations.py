"""Orientations and phases in the terms of vendors' files: Bunge angles, phase numbers, codes.

orix is imported only when called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ebsdarchive.crystal_map import to_crystal_map
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, Microscope, Orientations, Phase, Scan

__all__ = [
    "NOT_INDEXED_RAD",
    "Oriented",
    "OrientedMap",
    "PhaseEntry",
    "as_crystal_map",
    "bunge_angles",
    "named_property",
    "phase_entries",
    "phase_numbers",
]

NOT_INDEXED_RAD = 4 * np.pi  # EDAX's Euler angles of a point without an orientation
_NAMES = {
    "confidence": ("confidence_index", "ci", "confidence", "cm", "scores"),
    "fit": ("fit",),
    "quality": ("iq", "image_quality", "imagequality", "pq"),
}
_EDAX_SYMMETRY = {
    "-1": 1,
    "2/m": 20,
    "mmm": 22,
    "4/m": 4,
    "4/mmm": 42,
    "-3": 3,
    "-3m": 32,
    "6/m": 6,
    "6/mmm": 62,
    "m-3": 23,
    "m-3m": 43,
}


class Oriented(Protocol):
    """What has orientations on a grid: a scan, or a map without patterns."""

    @property
    def grid(self) -> Grid: ...
    @property
    def orientations(self) -> Orientations | None: ...
    @property
    def phases(self) -> tuple[Phase, ...]: ...
    @property
    def detector(self) -> Detector: ...
    @property
    def microscope(self) -> Microscope: ...


@dataclass(frozen=True)
class OrientedMap:
    """A map without patterns, as they were measured with a detector and a microscope."""

    grid: Grid
    orientations: Orientations
    phases: tuple[Phase, ...]
    detector: Detector
    microscope: Microscope


@dataclass(frozen=True)
class PhaseEntry:
    """A phase as files list it, numbered from 1 in the order of the scan.

    Parameters
    ----------
    lattice
        a, b, c in Å and alpha, beta, gamma in degrees; None where not known.
    point_group, laue_group
        Hermann-Mauguin symbols; None where not known.
    edax_symmetry
        EDAX's number of the Laue group, such as 43 for m-3m.
    """

    number: int
    name: str
    space_group: int | None
    lattice: tuple[float, ...] | None
    point_group: str | None
    laue_group: str | None
    edax_symmetry: int | None


def bunge_angles(scan: Scan) -> npt.NDArray[np.float64]:
    """(n, 3) Bunge angles in radians, NaN where not indexed."""
    from orix.quaternion import Rotation

    orientations = _orientations(scan)
    indexed = ~np.isnan(orientations.quaternions).any(axis=1) & (orientations.phase_id >= 0)
    angles = np.full((len(indexed), 3), np.nan)
    angles[indexed] = Rotation(orientations.quaternions[indexed]).to_euler()
    return angles


def phase_numbers(scan: Scan) -> npt.NDArray[np.uint8]:
    """(n,) number of each point's phase, counted from 1; 0 is not indexed."""
    numbers = np.zeros(scan.grid.size, np.uint8)
    for number, phase in enumerate(scan.phases, start=1):
        numbers[_orientations(scan).phase_id == phase.phase_id] = number
    return numbers


def phase_entries(scan: Scan) -> list[PhaseEntry]:
    """The phases of a scan, numbered from 1."""
    return [_entry(number, phase) for number, phase in enumerate(scan.phases, start=1)]


def named_property(scan: Oriented, kind: str) -> str | None:
    """Name of the property that is a scan's "confidence", "fit" or "quality", if it has one."""
    properties = _orientations(scan).properties
    lower = {name.lower(): name for name in properties}
    return next((lower[name] for name in _NAMES[kind] if name in lower), None)


def as_crystal_map(scan: Oriented) -> Any:
    """The orientations as orix's CrystalMap."""
    return to_crystal_map(_orientations(scan), scan.phases, scan.grid)


def _orientations(scan: Oriented) -> Orientations:
    assert scan.orientations is not None
    return scan.orientations


def _entry(number: int, phase: Phase) -> PhaseEntry:
    from orix.crystal_map import Phase as OrixPhase

    known = phase.space_group is not None or phase.point_group is not None
    group = None
    if known:
        group = OrixPhase(
            space_group=phase.space_group,
            point_group=None if phase.space_group else phase.point_group,
        ).point_group
    laue = None if group is None else group.laue.name
    return PhaseEntry(
        number,
        phase.name,
        phase.space_group,
        phase.lattice,
        None if group is None else group.name,
        laue,
        None if laue is None else _EDAX_SYMMETRY.get(laue),
    )
