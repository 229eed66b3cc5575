"""Which phases an indexing considers, and the reflector families that it looks for in each.

Few strong families index better than many: PyEBSDIndex's defaults, made for face-centred cubic
metals, fail on body-centred and hexagonal ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.scan import Phase

__all__ = [
    "FACE_CENTRED",
    "Families",
    "chosen_phases",
    "families_of",
    "orix_phase_of",
    "parse_families",
    "parse_phase",
]

Families = tuple[tuple[int, int, int], ...]
Operations = list[tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]]  # rotations, translations

FACE_CENTRED: Families = ((0, 0, 2), (1, 1, 1), (0, 2, 2), (1, 1, 3))
BODY_CENTRED: Families = ((1, 1, 0), (2, 0, 0), (2, 1, 1))
CLOSE_PACKED: Families = ((1, 0, 0), (0, 0, 2), (1, 0, 1), (1, 1, 0), (1, 0, 3), (1, 1, 2))
_F_CUBIC = {196, 202, 203, 209, 210, 216, 219, *range(225, 229)}
_I_CUBIC = {197, 199, 204, 206, 211, 214, 217, 220, 229, 230}
_RHOMBOHEDRAL = {146, 148, 155, 160, 161, 166, 167}
_LARGEST_INDEX = 6
_PLANES = 24  # as many planes as the three have in all their families, for other structures
_FAMILIES = 16


def chosen_phases(
    known: Sequence[Phase], wanted: Sequence[str | Phase] = (), where: str = "phase"
) -> tuple[Phase, ...]:
    """The phases to index with, each with a space group, a lattice and an id of its own.

    Parameters
    ----------
    known
        Phases of the source; all of them where none is wanted by name.
    wanted
        Names of known phases, descriptions as `parse_phase` reads them, or phases.

    Raises
    ------
    ArgumentError
        If a name is not known, or there is no phase with space group and lattice.
    """
    names = ", ".join(phase.name for phase in known) or "none"
    found: list[Phase] = []
    for item in wanted or known:
        if isinstance(item, Phase):
            phase = item
        elif ":" in item:
            phase = parse_phase(item)
        else:
            named = [phase for phase in known if phase.name == item]
            if not named:
                raise ArgumentError(
                    f"{where}: expected a phase of the source ({names}), found {item!r}; describe "
                    f"another as NAME:SPACE_GROUP:LATTICE"
                )
            phase = named[0]
        if phase.lattice is None or phase.space_group is None:
            if not wanted:
                continue
            raise ArgumentError(
                f"{where}: expected a phase with space group and lattice, found {phase.name!r} "
                f"without; describe it as NAME:SPACE_GROUP:LATTICE"
            )
        found.append(phase)
    if not found:
        raise ArgumentError(
            f"{where}: expected a phase with space group and lattice, found none; describe one as "
            f"NAME:SPACE_GROUP:LATTICE, such as ni:225:3.52"
        )
    ids = [phase.phase_id for phase in found]
    if len(set(ids)) < len(ids):
        found = [_numbered(phase, number) for number, phase in enumerate(found)]
    return tuple(found)


def _numbered(phase: Phase, number: int) -> Phase:
    return Phase(number, phase.name, phase.space_group, phase.point_group, phase.lattice)


def parse_phase(text: str) -> Phase:
    """A phase described as NAME:SPACE_GROUP:LATTICE.

    LATTICE is a,b,c,alpha,beta,gamma in Å and degrees; cubic needs a alone, tetragonal, trigonal
    and hexagonal a,c, orthorhombic a,b,c and monoclinic a,b,c,beta.

    Raises
    ------
    ArgumentError
        If the text is something else, or the lattice does not fit the space group.
    """
    name, *rest = text.split(":")
    try:
        space_group, lattice = int(rest[0]), [float(part) for part in rest[1].split(",")]
        if len(rest) != 2 or not name or not 1 <= space_group <= 230:
            raise ValueError
        cell = _completed(space_group, lattice)
        if not (np.isfinite(cell).all() and min(cell) > 0 and max(cell[3:]) < 180):
            raise ValueError
    except (ValueError, IndexError) as error:
        raise ArgumentError(
            f"phase: expected NAME:SPACE_GROUP:LATTICE such as ni:225:3.52 or ti:194:2.95,4.68, "
            f"found {text!r}"
        ) from error
    from orix.crystal_map import Phase as OrixPhase

    group = OrixPhase(space_group=space_group).point_group.name
    return Phase(0, name, space_group, group, cell)


def _completed(
    space_group: int, lattice: list[float]
) -> tuple[float, float, float, float, float, float]:
    """All six lattice parameters; ValueError if there are too few for the crystal system."""
    if len(lattice) == 6:
        a, b, c, alpha, beta, gamma = lattice
        return a, b, c, alpha, beta, gamma
    if space_group >= 195 and len(lattice) == 1:
        a = b = c = lattice[0]
        return a, b, c, 90.0, 90.0, 90.0
    if space_group >= 75 and space_group < 195 and len(lattice) == 2:
        a, c = lattice
        return a, a, c, 90.0, 90.0, 120.0 if space_group >= 143 else 90.0
    if 16 <= space_group < 75 and len(lattice) == 3:
        a, b, c = lattice
        return a, b, c, 90.0, 90.0, 90.0
    if 3 <= space_group < 16 and len(lattice) == 4:
        a, b, c, beta = lattice
        return a, b, c, 90.0, beta, 90.0
    raise ValueError("lattice")


def families_of(phase: Phase) -> Families:
    """The reflector families to index a phase with.

    Face-centred cubic: PyEBSDIndex's own {002} {111} {022} {113}. Body-centred cubic: {110} {200}
    {211}. Hexagonal close-packed (space group 194, c/a from 1.5 to 1.7): {10-10} {0002} {10-11}
    {11-20} {10-13} {11-22}. Any other: those that the space group allows with the largest spacings,
    until they have 24 planes, as the three have; better ones may be given by hand. (Share of 49
    noisy simulated patterns within 5 degrees of the truth, PyEBSDIndex's defaults and these: W 41
    and 98 %, Zr 20 and 98 %, rutile 14 and 80 %, ZnO 16 and 94 %, corundum 0 and 67 %.)
    """
    assert phase.space_group is not None
    assert phase.lattice is not None
    if phase.space_group in _F_CUBIC:
        return FACE_CENTRED
    if phase.space_group in _I_CUBIC:
        return BODY_CENTRED
    a, _, c = phase.lattice[:3]
    if phase.space_group == 194 and 1.5 < c / a < 1.7:
        return CLOSE_PACKED
    return _widest(phase)


def _widest(phase: Phase) -> Families:
    """The allowed families of the largest spacings, one of each set of parallel planes."""
    side = np.arange(-_LARGEST_INDEX, _LARGEST_INDEX + 1)
    hkl = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    operations = _operations(phase)
    hkl = hkl[_reflecting(operations, hkl)]
    spacing = _spacings(phase, hkl).round(9)
    chosen: list[tuple[int, int, int]] = []
    met: set[tuple[int, int, int]] = set()
    planes = 0
    for place in np.lexsort((*(-hkl.T[::-1]), -spacing)):  # of one family the largest h, k, l first
        h, k, l = hkl[place].tolist()  # noqa: E741
        divisor = int(np.gcd.reduce(hkl[place]))
        if (h // divisor, k // divisor, l // divisor) in met:
            continue
        family = _alike(operations, hkl[place] // divisor)
        met |= family
        chosen.append((h, k, l))
        planes += len(family) // 2
        if planes >= _PLANES or len(chosen) == _FAMILIES:
            break
    return tuple(chosen)


def _alike(operations: Operations, hkl: npt.NDArray) -> set[tuple[int, int, int]]:
    """The indices that the Laue group makes of those of one plane."""
    turned = np.concatenate([hkl @ rotation for rotation, _ in operations])
    turned = turned.reshape(-1, 3)
    return {(h, k, l) for h, k, l in np.concatenate([turned, -turned]).tolist()}  # noqa: E741


def _spacings(phase: Phase, hkl: npt.NDArray) -> npt.NDArray[np.float64]:
    """(n,) distances in Å between the planes of (n, 3) indices, from the metric of the lattice."""
    assert phase.lattice is not None
    lengths = np.array(phase.lattice[:3])
    bc, ca, ab = np.cos(np.deg2rad(phase.lattice[3:]))
    cosines = np.array([[1.0, ab, ca], [ab, 1.0, bc], [ca, bc, 1.0]])
    metric = np.linalg.inv(cosines * np.outer(lengths, lengths))
    return np.einsum("ni,ij,nj->n", hkl, metric, hkl) ** -0.5


def _operations(phase: Phase) -> Operations:
    """Rotations and translations of the space group on the axes of the phase's lattice.

    Rhombohedral groups have theirs on hexagonal axes; on rhombohedral ones they are the turns about
    and, but for groups 146 and 148, the diagonals across the threefold axis, without translations.
    """
    assert phase.lattice is not None
    if phase.space_group in _RHOMBOHEDRAL and abs(phase.lattice[5] - 120) > 1:
        turn, across = np.eye(3, dtype=np.intp)[[1, 2, 0]], -np.eye(3, dtype=np.intp)[[1, 0, 2]]
        turns = [turn, turn @ turn, turn @ turn @ turn]
        if phase.space_group not in (146, 148):
            turns += [across @ rotation for rotation in turns]
        return [(rotation, np.zeros(3)) for rotation in turns]
    from orix.crystal_map import Phase as OrixPhase

    group = OrixPhase(space_group=phase.space_group).space_group
    return [(np.rint(each.R).astype(np.intp), each.t) for each in group.symop_list]


def _reflecting(operations: Operations, hkl: npt.NDArray) -> npt.NDArray[np.bool_]:
    """(n,) False where a space group extinguishes (n, 3) indices, and for 000.

    A reflection is extinct if an operation (R, t) of the group keeps it, h R = h, and turns its
    phase, h t not being whole (International Tables A, 1.6.3).
    """
    found: npt.NDArray[np.bool_] = np.any(hkl, axis=1)
    for rotation, translation in operations:
        kept = (hkl @ rotation == hkl).all(axis=1)
        turn = hkl @ translation
        found &= ~kept | (np.abs(turn - np.rint(turn)) < 1e-3)
    return found


def parse_families(text: str) -> Families:
    """Families such as 111,200,-110 or 10-10,0002: signs before an index, four indices as well.

    Raises
    ------
    ArgumentError
        If an item is something else.
    """
    families: list[tuple[int, int, int]] = []
    for item in text.replace("{", "").replace("}", ",").split(","):
        if not item.strip():
            continue
        indices = [int(index) for index in re.findall(r"-?\d", item)]
        whole = re.fullmatch(r"(\s*-?\d){3,4}\s*", item)
        if len(indices) == 4 and sum(indices[:3]) == 0:
            indices = [indices[0], indices[1], indices[3]]
        if not whole or len(indices) != 3 or not any(indices):
            raise ArgumentError(
                f"reflectors: expected families such as 111,200,220 or 10-10,0002, found {item!r}"
            )
        families.append((indices[0], indices[1], indices[2]))
    if len(families) < 2:
        raise ArgumentError(
            f"reflectors: expected at least two families, found {len(families)}; bands of one "
            f"family rarely tell an orientation"
        )
    return tuple(families)


def orix_phase_of(phase: Phase) -> Any:
    """The phase as orix has it."""
    from diffpy.structure import Lattice, Structure
    from orix.crystal_map import Phase as OrixPhase

    assert phase.lattice is not None
    structure = Structure(lattice=Lattice(*phase.lattice))
    return OrixPhase(name=phase.name, space_group=phase.space_group, structure=structure)
