"""Orientations and phases as orix's CrystalMap, and back. Imports orix only when called.

Sample frames differ: kikuchipy has EDAX TSL's (RD, TD, ND), from which Oxford's CS1 and Bruker's
are turned by 90 degrees about the normal, so that the first Bunge angle is 90 degrees less there
(PyEBSDIndex has the same rule, and EMsoft adds 90 degrees to Oxford's). Maps for orix are
kikuchipy's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import FormatError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Orientations, Phase, SampleFrame

__all__ = ["from_crystal_map", "in_sample_frame", "symmetry_quaternions", "to_crystal_map"]


def in_sample_frame(orientations: Orientations, wanted: SampleFrame) -> Orientations:
    """The same orientations in another sample frame."""
    if orientations.sample_frame == wanted:
        return orientations
    w, x, y, z = orientations.quaternions.T
    sign = 1 if wanted == "oxford" else -1  # a turn about z before all others
    turned = np.stack([w - sign * z, x + sign * y, y - sign * x, z + sign * w], axis=1)
    return replace(orientations, quaternions=turned * np.sqrt(0.5), sample_frame=wanted)


def from_crystal_map(xmap: Any) -> tuple[Orientations | None, tuple[Phase, ...]]:
    """Orientations and phases of a CrystalMap with one entry per point, in EDAX's sample frame.

    Returns None for the orientations where the map is only a placeholder (all rotations are the
    identity and it has no properties).
    """
    phases = tuple(
        _phase(int(phase_id), phase) for phase_id, phase in xmap.phases if int(phase_id) >= 0
    )
    rotations = xmap.rotations
    quaternions = np.array(rotations.data, np.float64).reshape(len(xmap.id), -1, 4)[:, 0]
    properties = {name: np.asarray(values) for name, values in xmap.prop.items()}
    if not properties and np.allclose(quaternions, [1, 0, 0, 0]):
        return None, ()
    phase_id = np.asarray(xmap.phase_id, np.int32)
    quaternions[phase_id < 0] = np.nan
    return Orientations(quaternions, phase_id, properties), phases


def _phase(phase_id: int, phase: Any) -> Phase:
    lattice = phase.structure.lattice
    cell = (lattice.a, lattice.b, lattice.c, lattice.alpha, lattice.beta, lattice.gamma)
    known = cell != (1.0, 1.0, 1.0, 90.0, 90.0, 90.0)
    if max(cell[:3]) < 2:  # no crystal is that small in Å: EMsoft and some kikuchipy files hold nm
        cell = (cell[0] * 10, cell[1] * 10, cell[2] * 10, *cell[3:])
    return Phase(
        phase_id=phase_id,
        name=phase.name,
        space_group=phase.space_group.number if phase.space_group is not None else None,
        point_group=phase.point_group.name if phase.point_group is not None else None,
        # orix turns the axes, which leaves traces of rounding
        lattice=tuple(round(float(x), 9) for x in cell) if known else None,  # type: ignore[arg-type]
    )


def to_crystal_map(orientations: Orientations, phases: tuple[Phase, ...], grid: Grid) -> Any:
    """A CrystalMap with one entry per point, in EDAX's sample frame, which is kikuchipy's.

    Positions are in µm, or in steps where the step is not known.
    """
    from diffpy.structure import Lattice, Structure
    from orix.crystal_map import CrystalMap, PhaseList
    from orix.crystal_map import Phase as OrixPhase
    from orix.quaternion import Rotation

    orientations = in_sample_frame(orientations, "edax")
    xy = grid.positions() * [grid.step_x_um or 1.0, grid.step_y_um or 1.0]
    entries = {}
    for phase in phases:
        structure = Structure(lattice=Lattice(*phase.lattice)) if phase.lattice else None
        entries[phase.phase_id] = OrixPhase(
            name=phase.name,
            space_group=phase.space_group,
            point_group=None if phase.space_group else phase.point_group,
            structure=structure,
        )
    quaternions = np.where(
        np.isnan(orientations.quaternions), [1.0, 0, 0, 0], orientations.quaternions
    )
    return CrystalMap(
        rotations=Rotation(quaternions),
        phase_id=orientations.phase_id,
        x=xy[:, 0],
        y=xy[:, 1] if grid.n_rows > 1 else None,
        phase_list=PhaseList(entries) if entries else None,
        prop=dict(orientations.properties),
        scan_unit="um" if grid.step_x_um is not None else "px",
    )


@lru_cache
def symmetry_quaternions(point_group: str) -> npt.NDArray[np.float64]:
    """(k, 4) proper rotations of a point group's Laue class (Hermann–Mauguin), from orix.

    Raises
    ------
    FormatError
        If orix does not know the group.
    """
    from orix.quaternion import symmetry

    for group in symmetry._groups:
        if group.name == point_group:
            rotations = np.array(group.laue_proper_subgroup.data, np.float64)
            rotations.flags.writeable = False
            return rotations
    names = ", ".join(group.name for group in symmetry._groups)
    raise FormatError(f"point group: expected one of {names}, found {point_group!r}")
