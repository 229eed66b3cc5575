"""``profile``: patterns, orientations and the diffraction gradient along a path, between points."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.background import Correction
from ebsdarchive.analysis.crossings import Crossing, GradientAlong, find_crossings, gradient_along
from ebsdarchive.analysis.indexing import HoughIndexer, Indexed, index_points, mean_pattern
from ebsdarchive.analysis.path_profile import PathProfile, disorientation, turning
from ebsdarchive.analysis.phases import Families, chosen_phases, parse_families
from ebsdarchive.analysis.scan_path import ScanPath
from ebsdarchive.archive.file import Archive, open_archive
from ebsdarchive.errors import ArgumentError
from ebsdarchive.scan import Phase, Scan
from ebsdarchive.verbs.indexing import assumptions_of, with_centre
from ebsdarchive.verbs.places import steps_per_unit
from ebsdarchive.verbs.profile_files import require_ending, write_profile
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.sampling import asked_layer, scan_at
from ebsdarchive.verbs.targets import require_free

__all__ = ["profile"]

SPACING = 0.25  # steps between samples, where nothing else is asked for
WIDTHS_MM = (60.0, 1000.0)


def profile(
    path: str | os.PathLike[str],
    output: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    *,
    along: npt.ArrayLike,
    samples: int | None = None,
    spacing: float | None = None,
    unit: Literal["step", "um"] = "step",
    layer: str | None = None,
    smoothing: float = 0.5,
    correlation: float = 0.6,
    orientations: bool = True,
    phases: Sequence[str | Phase] = (),
    reflectors: Sequence[str] = (),
    background: str = "static",
    pc: tuple[float, float, float] | None = None,
    width_mm: float | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> PathProfile:
    """Follow a path between the measured points: S, confidence, change of orientation, crossings.

    Patterns are those of `query` with its defaults: at measured points the layer's own, between
    them a mix of those at the points around, from which Hough indexing takes confidence and
    orientation. S is the analytic derivative of the neural field, and needs none of them; its
    maxima between unlike patterns are the boundaries that the path crosses, found between samples,
    however many are asked for. Without a neural layer (or with a joint one, which has no such
    derivative) S is not known and no crossing is named.

    Parameters
    ----------
    output
        Files to write, one or several: .csv (a row for each sample); .h5 (kikuchipy), .nc or .npz
        (patterns and the same columns); .png, .pdf or .svg (a picture).
    along, samples, spacing
        (m, 2) vertices of the path, and the number or the distance of samples along it, equidistant
        on the specimen; with neither, four for each step.
    unit
        Of `along` and `spacing`: steps (along x), or µm.
    layer
        Of the patterns; by default neural, or raw where there is none.
    smoothing
        Standard deviation, in steps, of a Gaussian that the field is smoothed by to find crossings.
        S of the field itself is given as well.
    correlation
        Of the band patterns beside a maximum of S: a boundary has less. See `boundaries`.
    orientations
        Whether to index.
    phases, reflectors, background, pc
        As for `index`; pictures show patterns with the same background taken out.
    width_mm
        Width of the picture; by default one column of a journal, 85 mm.

    Raises
    ------
    GeometryError
        If the path leaves the scan, or `unit` is um and the step is not known.
    ArgumentError
        If the projection centre or the phases are not known, and orientations are asked for.
    OutputError
        If a file exists, without `force`.
    """
    outputs = [output] if isinstance(output, str | os.PathLike) else list(output)
    archive = open_archive(path)
    _require_sensible(smoothing, correlation, width_mm)
    for target in outputs:
        require_ending(target)
        require_free(target, path, force=force)
    name = asked_layer(archive, layer)
    scale = steps_per_unit(archive.grid, unit, archive.path)
    vertices = np.asarray(along, np.float64)
    if vertices.ndim != 2 or vertices.shape[1] != 2:
        raise ArgumentError(f"path: expected positions x,y, found shape {vertices.shape}")
    track = ScanPath(archive.grid, vertices * scale)
    if samples is None and spacing is None:
        spacing = SPACING / scale[0]
    xy = track.positions(samples, None if spacing is None else spacing * scale[0])
    indexing = None
    if orientations:
        indexing = _Indexing.asked(archive, name, phases, reflectors, background, pc)
    s, smooth, crossings, why = _gradient(archive, track, xy, smoothing, correlation, progress)
    found = PathProfile(
        path=track,
        layer=name,
        xy=xy,
        distance=np.linspace(0.0, track.length, len(xy)),
        s=s,
        smoothing=smoothing,
        along=smooth,
        crossings=crossings,
        indexed=None,
        turning=None,
        notes=why,
    )
    if indexing is not None:
        found = _with_orientations(archive, found, indexing, progress)
    for target in outputs:
        write_profile(
            archive, found, target,
            background=background, pc=pc, width_mm=width_mm, force=force, progress=progress,
        )  # fmt: skip
    return found


def _gradient(
    archive: Archive,
    path: ScanPath,
    xy: npt.NDArray[np.float64],
    smoothing: float,
    correlation: float,
    progress: Progress,
) -> tuple[
    npt.NDArray[np.float32] | None,
    GradientAlong | None,
    tuple[Crossing, ...] | None,
    tuple[str, ...],
]:
    """S at the samples, S along the path, and crossings; or None of them, and why."""
    from ebsdarchive.analysis.ridges import BandPatterns
    from ebsdarchive.neural.field import Field
    from ebsdarchive.neural.gradient import DiffractionGradient
    from ebsdarchive.neural.storage import read_field

    field = read_field(archive.path) if "neural" in archive.layers else None
    if not isinstance(field, Field):
        why = "no neural layer" if field is None else "the neural layer is of the joint method"
        return None, None, None, (f"S and crossings not known: {why}; `ebsdarchive fit` makes one",)
    gradient = DiffractionGradient(field)
    smooth = gradient_along(path, gradient, smoothing, stage(progress, "gradient"))
    crossings = find_crossings(path, smooth, BandPatterns(field), correlation)
    return gradient(xy), smooth, tuple(crossings), ()


@dataclasses.dataclass(frozen=True)
class _Indexing:
    """What was asked of the indexing, checked before the work begins."""

    scan: Scan
    phases: tuple[Phase, ...]
    families: list[Families] | None
    correction: Correction
    pc: tuple[float, float, float] | None
    where: str

    @classmethod
    def asked(
        cls,
        archive: Archive,
        layer: str,
        phases: Sequence[str | Phase],
        reflectors: Sequence[str],
        background: str,
        pc: tuple[float, float, float] | None,
    ) -> _Indexing:
        where = f"{archive.path} (or leave orientations out with --no-index)"
        scan = archive.scan(layer)
        with_centre(scan.detector, pc, where)
        return cls(
            scan,
            chosen_phases(scan.phases, phases, where),
            [parse_families(text) for text in reflectors] or None,
            Correction(background, mean_pattern(scan)),
            pc,
            where,
        )

    def of(self, sampled: Scan, progress: Progress) -> tuple[Indexed, dict[str, Any]]:
        """Index the patterns at some positions, each with its projection centre; and how."""
        detector, origin = with_centre(sampled.detector, self.pc, self.where)
        indexer = HoughIndexer(detector, self.phases, self.correction, self.families)
        found = index_points(sampled, indexer, progress=stage(progress, "indexing"))
        return found, {
            "phases": [phase.name for phase in self.phases],
            "reflectors": [list(map(list, family)) for family in indexer.families],
            "background": self.correction.method,
            "pc_bruker": np.atleast_2d(np.asarray(detector.pc_bruker)).mean(axis=0).tolist(),
            "pc_origin": origin,
        }


def _with_orientations(
    archive: Archive, found: PathProfile, indexing: _Indexing, progress: Progress
) -> PathProfile:
    """The profile with what indexing finds at its samples, and beside its crossings."""
    n, crossings = len(found.xy), found.crossings or ()
    sides = found.path.at(np.ravel([crossing.sides for crossing in crossings]))
    sampled = scan_at(archive, found.layer, np.concatenate([found.xy, sides]))
    result, how = indexing.of(sampled, progress)
    samples, before, after = (
        result.take(part) for part in (np.s_[:n], np.s_[n::2], np.s_[n + 1 :: 2])
    )
    apart = disorientation(before, after)
    names = {phase.phase_id: phase.name for phase in indexing.phases}
    told = tuple(
        dataclasses.replace(
            crossing,
            phases=(names.get(int(before.phase_id[i])), names.get(int(after.phase_id[i]))),
            confidence=(float(before.confidence[i]), float(after.confidence[i])),
            disorientation_deg=float(apart[i]) if np.isfinite(apart[i]) else None,
        )
        for i, crossing in enumerate(crossings)
    )
    return dataclasses.replace(
        found,
        crossings=None if found.crossings is None else told,
        indexed=samples,
        turning=turning(samples),
        phases=indexing.phases,
        indexing=how,
        notes=(*found.notes, *assumptions_of(sampled.detector)),
    )


def _require_sensible(smoothing: float, correlation: float, width_mm: float | None) -> None:
    if not (np.isfinite(smoothing) and smoothing >= 0):
        raise ArgumentError(f"smoothing: expected 0 or more, found {smoothing}")
    if not -1 <= correlation <= 1:
        raise ArgumentError(f"correlation: expected a number from -1 to 1, found {correlation}")
    if width_mm is not None and not WIDTHS_MM[0] <= width_mm <= WIDTHS_MM[1]:
        raise ArgumentError(
            f"width: expected {WIDTHS_MM[0]:g} to {WIDTHS_MM[1]:g} mm, found {width_mm:g}"
        )
