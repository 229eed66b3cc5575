"""``index``: orientations of a layer's patterns, kept as a map in the archive."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ebsdarchive.archive import provenance
from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.orientation_maps import (
    OrientationMap,
    orientation_map_names,
    write_orientation_map,
)
from ebsdarchive.errors import ArgumentError, OutputError
from ebsdarchive.scan import Detector, Orientations, Phase
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_local

__all__ = ["IndexSummary", "assumptions_of", "index", "with_centre"]


@dataclass(frozen=True)
class IndexSummary:
    """What an indexing found.

    Parameters
    ----------
    name
        Layer that holds the map.
    points, indexed
        Number of points, and of those that an orientation was found for.
    phases
        {name: number of points}.
    confidence, fit_deg
        Mean confidence metric over all points, and mean fit over those that are indexed.
    pc_bruker, pc_origin
        Mean projection centre that was used, and where it comes from.
    notes
        What to know when using the map.
    """

    name: str
    layer: str
    points: int
    indexed: int
    phases: dict[str, int]
    confidence: float
    fit_deg: float
    pc_bruker: tuple[float, float, float]
    pc_origin: str
    notes: tuple[str, ...]


def index(
    path: str | os.PathLike[str],
    *,
    layer: str | None = None,
    phases: Sequence[str | Phase] = (),
    reflectors: Sequence[str] = (),
    background: str = "static",
    pc: tuple[float, float, float] | None = None,
    calibrate_pc: bool = False,
    name: str = "orientations",
    force: bool = False,
    progress: Progress = silent,
) -> IndexSummary:
    """Index a layer's patterns by Hough transform and store the orientations as ``maps/NAME``.

    The scan's own orientations and detector stay what they are.

    Parameters
    ----------
    layer
        By default raw, or neural where raw is not kept.
    phases
        Names of the scan's phases, descriptions NAME:SPACE_GROUP:LATTICE, or phases; by default all
        phases of the scan.
    reflectors
        One list of families, such as "111,200,220,311", for each phase; by default by structure.
    background
        "static", "dynamic" or "bandpass".
    pc
        Projection centre in Bruker's convention, in place of the scan's.
    calibrate_pc
        Move the projection centre to where 64 patterns of the scan fit best.
    name
        Of the map.
    force
        Replace an orientation map of that name.

    Raises
    ------
    ArgumentError
        If the projection centre or the phases are not known.
    OutputError
        If there is a map of that name.
    """
    from ebsdarchive.analysis.background import Correction
    from ebsdarchive.analysis.indexing import (
        HoughIndexer,
        calibrated_pc,
        index_points,
        mean_pattern,
    )
    from ebsdarchive.analysis.phases import chosen_phases, parse_families

    require_local(path)
    archive = open_archive(path)
    if not re.fullmatch(r"[\w-]+", name):
        raise ArgumentError(f"name: expected letters, digits, _ and -, found {name!r}")
    target = f"maps/{name}"
    if target in archive.layers:
        with archive.group() as group:
            replaceable = name in orientation_map_names(group)
        if not (force and replaceable):
            advice = "use --force to replace it" if replaceable else "choose another with --name"
            raise OutputError(f"{archive.path}: expected no {target}, found one; {advice}")
    source = layer or archive.pattern_layers[0]
    scan = archive.scan(source)
    chosen = chosen_phases(scan.phases, phases, archive.path)
    families = [parse_families(text) for text in reflectors] or None
    detector, origin = with_centre(scan.detector, pc, archive.path)
    correction = Correction(background, mean_pattern(scan))
    indexer = HoughIndexer(detector, chosen, correction, families)
    if calibrate_pc:
        progress("calibrating", 0, 1)
        detector = replace(detector, pc_bruker=calibrated_pc(scan, indexer))
        indexer = HoughIndexer(detector, chosen, correction, families)
        origin = "calibrated"
    found = index_points(scan, indexer, progress=stage(progress, "indexing"))
    said = archive.attributes(source)
    centres = np.atleast_2d(np.asarray(detector.pc_bruker, np.float64))
    orientation_map = OrientationMap(
        orientations=Orientations(
            found.quaternions,
            found.phase_id,
            {"confidence": found.confidence, "fit": found.fit_deg},
        ),
        phases=tuple(
            replace(phase, point_group=indexer.point_groups[phase.phase_id]) for phase in chosen
        ),
        pc_bruker=centres,
        pc_origin=origin,
        layer=source,
        derived_from=str(said.get("patterns_sha256") or said["sha256"]),
        background=background,
        reflectors={
            phase.phase_id: family for phase, family in zip(chosen, indexer.families, strict=True)
        },
    )
    parameters: dict[str, Any] = {
        "layer": source,
        "phases": [phase.name for phase in chosen],
        "reflectors": {str(key): value for key, value in orientation_map.reflectors.items()},
        "background": background,
        "pc_bruker": centres.mean(axis=0).tolist(),
        "pc_origin": origin,
        "calibrate_pc": calibrate_pc,
    }
    activity = provenance.Activity("index", parameters)
    activity.used[source] = str(orientation_map.derived_from)
    with adding_layers(path, [target], stage(progress, "reading back")) as file:
        digest = write_orientation_map(file["archive"], name, orientation_map, archive.grid)
        activity.generated[target] = digest
        provenance.record(file["archive"], activity)
    return IndexSummary(
        name=target,
        layer=source,
        points=scan.grid.size,
        indexed=int(np.count_nonzero(found.phase_id >= 0)),
        phases={
            phase.name: int(np.count_nonzero(found.phase_id == phase.phase_id)) for phase in chosen
        },
        confidence=float(np.nanmean(found.confidence)),
        fit_deg=float(np.nanmean(found.fit_deg)) if (found.phase_id >= 0).any() else float("nan"),
        pc_bruker=tuple(centres.mean(axis=0).tolist()),
        pc_origin=origin,
        notes=assumptions_of(detector),
    )


def with_centre(
    detector: Detector, pc: tuple[float, float, float] | None, where: str
) -> tuple[Detector, str]:
    """The detector with a given projection centre, or its own; and where the centre comes from."""
    if pc is not None:
        if not np.isfinite(pc).all() or pc[2] <= 0:
            raise ArgumentError(f"pc: expected X,Y,Z with Z above 0, found {pc}")
        return replace(detector, pc_bruker=np.array(pc, np.float64)), "given"
    if detector.pc_bruker is None:
        raise ArgumentError(
            f"{where}: expected a projection centre with the scan, found none; give one with --pc "
            f"X,Y,Z (Bruker's convention)"
        )
    return detector, "scan"


def assumptions_of(detector: Detector) -> tuple[str, ...]:
    """What indexing with a detector takes for granted, in words."""
    notes = []
    if detector.sample_tilt_deg is None:
        notes.append("sample tilt not known: 70 degrees taken")
    for angle, value in (("azimuth", detector.azimuth_deg), ("twist", detector.twist_deg)):
        if value:
            notes.append(
                f"detector {angle} of {value:g} degrees not taken into account by PyEBSDIndex"
            )
    return tuple(notes)
