"""Orientations and phases that vendors' HDF5 files hold beside the patterns.

kikuchipy leaves them out. Angles are Bunge's, and are taken as the file gives them, in the vendor's
sample frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.conformity import plain
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.exchange.source_text import utf8
from ebsdarchive.scan import Orientations, Phase, SampleFrame

__all__ = ["MAPS", "read_maps"]


@dataclass(frozen=True)
class _Maps:
    """Where a flavour keeps its maps, in the group of a scan.

    Parameters
    ----------
    euler
        One dataset (n, 3), or three (n,).
    degrees
        Whether angles are in degrees.
    phase, phases
        Phase of each point, and the group whose members are named by its numbers.
    properties
        Names of other maps that are kept, by the name they get.
    lattice
        Six entries of a phase, or fewer that hold several numbers.
    sample_frame
        Of the orientations.
    confidence
        Map that is -1 where a point is not indexed; without one, the phase is 0 there.
    """

    euler: tuple[str, ...]
    degrees: bool
    phase: str
    phases: str
    name: tuple[str, ...]
    space_group: tuple[str, ...]
    lattice: tuple[str, ...]
    properties: dict[str, str]
    sample_frame: SampleFrame = "oxford"
    confidence: str = ""
    lattice_radians: bool = False


MAPS = {
    "edax": _Maps(
        ("Phi1", "Phi", "Phi2"),
        False,
        "Phase",
        "Phase",
        ("MaterialName", "Material Name"),
        ("SpaceGroupNumber", "Space Group Number"),
        tuple(f"Lattice Constant {k}" for k in ("a", "b", "c", "alpha", "beta", "gamma")),
        {"CI": "confidence_index", "IQ": "image_quality", "Fit": "fit", "SEM Signal": "sem_signal"},
        sample_frame="edax",
        confidence="CI",
    ),
    "bruker nano": _Maps(
        ("phi1", "PHI", "phi2"),
        True,
        "Phase",
        "Phases",
        ("Name",),
        ("IT", "SpaceGroupNumber"),
        ("LatticeConstants",),
        {
            "MAD": "mean_angular_deviation",
            "RadonQuality": "radon_quality",
            "NIndexedBands": "bands_indexed",
            "RadonBandCount": "bands",
        },
    ),
    "oxford instruments": _Maps(
        ("Euler",),
        False,
        "Phase",
        "Phases",
        ("Phase Name",),
        ("Space Group",),
        ("Lattice Dimensions", "Lattice Angles"),
        {
            "Mean Angular Deviation": "mean_angular_deviation",
            "Band Contrast": "band_contrast",
            "Band Slope": "band_slope",
            "Bands": "bands",
            "Error": "error",
            "Pattern Quality": "pattern_quality",
        },
        lattice_radians=True,
    ),
}


def read_maps(
    path: Path, group: str, vendor: str, n: int, order: npt.NDArray[np.int64] | None
) -> tuple[Orientations | None, tuple[Phase, ...]]:
    """Orientations and phases of a scan; None and () where its file has none for its points.

    Parameters
    ----------
    n
        Points of the grid.
    order
        (n,) index in the file of each point of the grid, where the file has another order.
    """
    rule = MAPS.get(vendor)
    if rule is None:
        return None, ()
    with open_for_reading(path) as file:
        phases = _phases(file[group].get(f"EBSD/Header/{rule.phases}"), rule)
        data = file[group]["EBSD/Data"]
        euler = _euler(data, rule, n)
        phase_id = _column(data, rule.phase, n)
        if euler is None or phase_id is None:
            return None, phases
        properties = {}
        for name, kept in rule.properties.items():
            values = _column(data, name, n)
            if values is not None:
                properties[kept] = values
        confidence = _column(data, rule.confidence, n) if rule.confidence else None
    ids = phase_id.astype(np.int32)
    if vendor == "edax":  # a single phase is 0 in the map, 1 in the header; confidence -1: none
        if len(phases) == 1 and not ids.any():
            ids += phases[0].phase_id
        not_indexed = ids < 1 if confidence is None else (confidence == -1) | (ids < 0)
    else:
        not_indexed = ids < 1
    found = _orientations(euler, ids, not_indexed, properties, rule.degrees, order)
    return None if found is None else replace(found, sample_frame=rule.sample_frame), phases


def _orientations(
    euler: npt.NDArray[np.float64],
    ids: npt.NDArray[np.int32],
    not_indexed: npt.NDArray[np.bool_],
    properties: dict[str, npt.NDArray],
    degrees: bool,
    order: npt.NDArray[np.int64] | None,
) -> Orientations | None:
    from orix.quaternion import Rotation

    not_indexed = not_indexed | ~np.isfinite(euler).all(axis=1)
    if not_indexed.all():
        return None
    angles = np.where(not_indexed[:, None], 0.0, euler)
    quaternions = np.array(Rotation.from_euler(angles, degrees=degrees).data, np.float64)
    quaternions[not_indexed] = np.nan
    ids = np.where(not_indexed, -1, ids).astype(np.int32)
    if order is not None:
        quaternions, ids = quaternions[order], ids[order]
        properties = {name: values[order] for name, values in properties.items()}
    return Orientations(quaternions, ids, properties)


def _euler(data: h5py.Group, rule: _Maps, n: int) -> npt.NDArray[np.float64] | None:
    """(n, 3) angles, where they are there for all points."""
    if len(rule.euler) == 1:
        item = data.get(rule.euler[0])
        found = None if item is None else np.asarray(item[()], np.float64)
        return found if found is not None and found.shape == (n, 3) else None
    parts = [_column(data, name, n) for name in rule.euler]
    if any(part is None for part in parts):
        return None
    return np.stack(parts, axis=1).astype(np.float64)  # type: ignore[arg-type]


def _column(data: h5py.Group, name: str, n: int) -> npt.NDArray | None:
    """(n,) numbers of a map, or None where there is no such map of all points."""
    item = data.get(name)
    if not isinstance(item, h5py.Dataset) or item.size != n or item.dtype.kind not in "iuf":
        return None
    values = np.ravel(item[()])
    return values.astype(values.dtype.newbyteorder("="))


def _phases(node: h5py.Group | None, rule: _Maps) -> tuple[Phase, ...]:
    if not isinstance(node, h5py.Group):
        return ()
    found = []
    for key in node:
        item = node.get(key)
        if not isinstance(item, h5py.Group) or not key.isdigit():
            continue
        name = _first(item, rule.name)
        group = _first(item, rule.space_group)
        number = int(group) if isinstance(group, int | float) and 1 <= group <= 230 else None
        found.append(
            Phase(
                phase_id=int(key),
                name=utf8(str(name)) if name is not None else f"phase {key}",
                space_group=number,
                lattice=_lattice(item, rule),
            )
        )
    return tuple(sorted(found, key=lambda phase: phase.phase_id))


def _lattice(
    item: h5py.Group, rule: _Maps
) -> tuple[float, float, float, float, float, float] | None:
    parts = [np.ravel(item[name][()]) for name in rule.lattice if name in item]
    values = [float(value) for part in parts for value in part if part.dtype.kind in "iuf"]
    if len(values) != 6 or not all(math.isfinite(value) and value > 0 for value in values):
        return None
    if rule.lattice_radians:
        values[3:] = [math.degrees(value) for value in values[3:]]
    a, b, c, alpha, beta, gamma = (round(value, 5) for value in values)
    return a, b, c, alpha, beta, gamma


def _first(item: h5py.Group, names: tuple[str, ...]) -> object:
    """The first value of the first entry that is there."""
    for name in names:
        if name in item and item[name].size:
            return plain(np.ravel(item[name][()])[0])
    return None
