"""A scan joined with the map of another file: grid, orientations, and what else only that knows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import GeometryError
from ebsdarchive.geometry import Grid, pc_to_bruker
from ebsdarchive.scan import Detector, Microscope, Orientations, Phase, Scan

__all__ = ["MapFile", "joined", "require_in_order"]

_KEEP_BYTES = 256 << 20  # larger files are named in the archive, not kept in it
_SAME_STEP = 0.01


@dataclass(frozen=True)
class MapFile:
    """What a file without patterns says of a scan.

    Parameters
    ----------
    pc, pc_convention
        (3,) projection centre in the file's own convention, and its name.
    sample_tilt_deg, tilt_deg, azimuth_deg
        As in `Detector`.
    """

    path: Path
    format: str
    grid: Grid
    orientations: Orientations | None = None
    phases: tuple[Phase, ...] = ()
    pc: npt.NDArray[np.float64] | None = None
    pc_convention: str | None = None
    sample_tilt_deg: float | None = None
    tilt_deg: float | None = None
    azimuth_deg: float | None = None
    microscope: Microscope = field(default_factory=Microscope)
    metadata: dict[str, Any] = field(default_factory=dict)


def joined(scan: Scan, known: MapFile) -> Scan:
    """The scan with the grid and orientations of the map, and what else the scan does not know.

    Raises
    ------
    GeometryError
        If the map has another number of points, another grid, or other steps.
    """
    grid = _joined_grid(scan, known)
    orientations = known.orientations if known.orientations is not None else scan.orientations
    source = scan.source
    keep = known.path.stat().st_size <= _KEEP_BYTES
    about = {
        "file": known.path.name,
        "format": known.format,
        "kept": keep,
        **known.metadata,
    }
    return replace(
        scan,
        grid=grid,
        detector=_joined_detector(scan.detector, known),
        microscope=_filled(scan.microscope, known.microscope),
        phases=known.phases or scan.phases,
        orientations=orientations,
        source=replace(
            source,
            metadata={**source.metadata, "geometry": about},
            companions=(*source.companions, str(known.path)) if keep else source.companions,
        ),
    )


def _joined_grid(scan: Scan, known: MapFile) -> Grid:
    own, other = scan.grid, known.grid
    where = f"{known.path}: expected the map of {scan.source.path or scan.source.format}"
    if own.size != other.size:
        raise GeometryError(
            f"{where} with its {own.size} points, found {other.size} in {other.n_rows} rows of "
            f"{other.n_columns} ({other.kind}); is it of another scan?"
        )
    if own.n_rows == 1 and own.step_x_um is None and not own.is_hexagonal:
        return other  # a source without a grid
    if (own.kind, own.n_columns, own.n_rows, own.n_columns_even) != (
        other.kind,
        other.n_columns,
        other.n_rows,
        other.n_columns_even,
    ):
        raise GeometryError(
            f"{where}, {own.n_rows} rows of {own.n_columns} ({own.kind}), found {other.n_rows} "
            f"rows of {other.n_columns} ({other.kind}); is it of another scan?"
        )
    for axis, mine, theirs in (
        ("x", own.step_x_um, other.step_x_um),
        ("y", own.step_y_um, other.step_y_um),
    ):
        if mine and theirs and abs(mine - theirs) > _SAME_STEP * mine:
            raise GeometryError(
                f"{where} with a step along {axis} of {mine:g} um, found {theirs:g} um; is it of "
                f"another scan?"
            )
    return replace(
        own,
        step_x_um=own.step_x_um or other.step_x_um,
        step_y_um=own.step_y_um or other.step_y_um,
    )


def _joined_detector(detector: Detector, known: MapFile) -> Detector:
    found = replace(
        detector,
        sample_tilt_deg=_either(detector.sample_tilt_deg, known.sample_tilt_deg),
        tilt_deg=_either(detector.tilt_deg, known.tilt_deg),
        azimuth_deg=_either(detector.azimuth_deg, known.azimuth_deg),
    )
    if detector.pc_bruker is None and known.pc is not None and known.pc_convention is not None:
        found = replace(
            found,
            pc_bruker=pc_to_bruker(known.pc, known.pc_convention, detector.shape),
            pc_original=known.pc,
            pc_convention=known.pc_convention,
        )
    return found


def _filled(own: Microscope, other: Microscope) -> Microscope:
    values = {name: _either(value, getattr(other, name)) for name, value in vars(own).items()}
    return Microscope(**values)


def _either(own: Any, other: Any) -> Any:
    return other if own is None else own


def require_in_order(
    where: str, grid: Grid, x_um: npt.NDArray[np.float64], y_um: npt.NDArray[np.float64]
) -> None:
    """Raise GeometryError unless points with these positions (n,) stand in the grid's order."""
    step_x = grid.step_x_um or 1.0
    step_y = grid.step_y_um or step_x * grid.row_distance
    expected = grid.positions() * [step_x, step_y]
    found = np.column_stack([x_um - x_um.min(), y_um - y_um.min()])
    apart = np.abs(found - expected) / [step_x, step_y]
    if (apart > 0.3).any():
        bad = int(np.argmax((apart > 0.3).any(axis=1)))
        raise GeometryError(
            f"{where}: expected point {bad} at {expected[bad, 0]:g}, {expected[bad, 1]:g} um, row "
            f"by row, found {found[bad, 0]:g}, {found[bad, 1]:g}; is it a map of this grid?"
        )
