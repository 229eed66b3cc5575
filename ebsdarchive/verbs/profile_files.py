"""A profile along a path as files, a table, patterns with it or a picture, and as plain figures."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.analysis.background import Correction
from ebsdarchive.analysis.indexing import mean_pattern
from ebsdarchive.analysis.path_profile import PathProfile
from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.store import replacing
from ebsdarchive.errors import ArgumentError
from ebsdarchive.exchange.columns import write_columns
from ebsdarchive.exchange.writers import write_patterns
from ebsdarchive.scan import Orientations
from ebsdarchive.verbs.exporting import layer_range, origin_of
from ebsdarchive.verbs.indexing import with_centre
from ebsdarchive.verbs.progress import Progress, stage
from ebsdarchive.verbs.sampling import interpolation_of, sampled, scan_at

__all__ = ["require_ending", "summary_of", "write_profile"]

TABLES, PICTURES = (".csv",), (".png", ".pdf", ".svg")
PATTERNS = {".h5": "kikuchipy-h5", ".nc": "netcdf", ".npz": "npz"}


def summary_of(found: PathProfile) -> dict[str, Any]:
    """A profile's figures as plain JSON values; lengths in steps along x, and µm where known."""
    um = found.step_um

    def lengths(name: str, value: float) -> dict[str, float | None]:
        return {f"{name}_steps": value, f"{name}_um": None if um is None else value * um}

    said: dict[str, Any] = {
        "layer": found.layer,
        "samples": len(found.xy),
        **lengths("length", found.path.length),
        "s_median": None if found.along is None else float(np.median(found.along.s)),
        "smoothing_steps": found.smoothing,
        "crossings": None,
        "indexing": found.indexing,
        "indexed": None,
        "notes": list(found.notes),
    }
    if found.indexed is not None:
        known = found.indexed.phase_id >= 0
        said["indexed"] = int(known.sum())
        said["confidence"] = float(found.indexed.confidence.mean())
        said["fit_deg"] = float(found.indexed.fit_deg[known].mean()) if known.any() else None
    if found.crossings is not None:
        said["crossings"] = [
            {
                **lengths("distance", crossing.distance),
                "x": crossing.xy[0],
                "y": crossing.xy[1],
                "s_counts_per_step": crossing.s,
                **lengths("s_maximum", crossing.s_distance),
                **lengths("width", crossing.width),
                "correlation": crossing.correlation,
                "disorientation_deg": crossing.disorientation_deg,
                "phases": list(crossing.phases),
                "confidence": crossing.confidence and list(crossing.confidence),
            }
            for crossing in found.crossings
        ]
    return said


def write_profile(
    archive: Archive,
    found: PathProfile,
    target: str | os.PathLike[str],
    *,
    background: str,
    pc: tuple[float, float, float] | None,
    width_mm: float | None,
    force: bool,
    progress: Progress,
) -> None:
    """Write a profile to a file of the kind that its name says.

    Parameters
    ----------
    background
        What patterns are freed of for a picture.
    pc
        Projection centre that was given in place of the scan's.
    width_mm
        Of a picture.
    """
    suffix = Path(target).suffix.lower()
    if suffix in TABLES:
        write_columns(target, found.columns(), force=force)
        return
    if suffix in PATTERNS:
        _write_patterns(archive, found, target, pc, force, progress)
        return
    from ebsdarchive.figures.page import save_figure, style
    from ebsdarchive.figures.path_profile import draw_profile, strip_places

    places = found.path.at(strip_places(found, width_mm))
    how = interpolation_of(archive, found.layer, None)
    patterns = sampled(archive, found.layer, places, how).read(0, len(places))
    correction = Correction(background, mean_pattern(archive.scan(found.layer)))
    shown = np.where(correction.lit, correction(patterns), np.nan)
    with style():
        figure = draw_profile(archive, found, shown, width_mm, stage(progress, "drawing"))
        with replacing(target, force=force) as temporary:
            save_figure(figure, temporary, suffix)


def _write_patterns(
    archive: Archive,
    found: PathProfile,
    target: str | os.PathLike[str],
    pc: tuple[float, float, float] | None,
    force: bool,
    progress: Progress,
) -> None:
    """Patterns and columns; kikuchipy finds the orientations as those of its signal."""
    scan = scan_at(archive, found.layer, found.xy)
    if found.indexed is not None:
        indexed = found.indexed
        properties = {"confidence": indexed.confidence, "fit": indexed.fit_deg}
        orientations = Orientations(indexed.quaternions, indexed.phase_id, properties)
        detector, _ = with_centre(scan.detector, pc, archive.path)  # they go with no other
        scan = dataclasses.replace(
            scan, orientations=orientations, phases=found.phases, detector=detector
        )
    write_patterns(
        scan,
        target,
        positions=found.xy,
        measured_dtype=archive.dtype,
        dtype="float32",
        intensity_range=layer_range(archive, found.layer),
        origin={**origin_of(archive, found.layer), "profile": summary_of(found)},
        columns=found.columns(),
        force=force,
        formats=tuple(PATTERNS.values()),
        progress=stage(progress, "writing"),
    )


def require_ending(target: str | os.PathLike[str]) -> None:
    """Raise ArgumentError unless a file ends as one that profiles are written to."""
    suffix, endings = Path(target).suffix.lower(), (*TABLES, *PATTERNS, *PICTURES)
    if suffix not in endings:
        raise ArgumentError(
            f"{os.fspath(target)}: expected a file that ends in {', '.join(endings)}, found "
            f"{suffix or 'no ending'}"
        )
