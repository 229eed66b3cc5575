"""``export``: the patterns of a layer, or stored boundaries, as a file for other software."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.neighbours import FilledPatterns
from ebsdarchive.archive.file import Archive, open_archive
from ebsdarchive.archive.outlines import Outlines, holds_outlines, read_outlines
from ebsdarchive.errors import ArgumentError
from ebsdarchive.exchange.outlines import FORMATS as OUTLINE_FORMATS
from ebsdarchive.exchange.outlines import WrittenOutlines, write_outline_file
from ebsdarchive.exchange.writers import Written, write_patterns
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, Orientations, Patterns, Scan, read_at
from ebsdarchive.verbs.filling import estimates_of, find_filling
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_other_file

__all__ = ["export"]


def export(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    layer: str | None = None,
    region: tuple[float, float, float, float] | None = None,
    fill: Sequence[str] = (),
    dtype: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Written | WrittenOutlines:
    """Write the patterns of a layer to an up1, up2 or h5 (kikuchipy h5ebsd) file.

    Boundaries that `boundaries` stored are written to a csv or geojson file.

    Parameters
    ----------
    layer
        Name of a layer of patterns, by default raw, or neural where raw is not kept; or of
        polylines, such as maps/boundaries.
    region
        (x0, y0, x1, y1) first and last column and row, both included, in steps.
    fill
        Reasons not to trust a point, as for `query`: its pattern is mixed of those of the layer at
        sound points on both sides, and the file, or the one beside it, says so.
    dtype
        "uint8", "uint16" or "float32" (h5 only); by default the measured type.

    Returns
    -------
    Written
        With the quantisation: what was scaled, rounded or limited. `WrittenOutlines` for polylines.
    """
    archive = open_archive(path)
    require_other_file(output, path)
    name = layer or archive.pattern_layers[0]
    outlines = _outlines(archive, name)
    if outlines is not None:
        if region is not None or dtype is not None or fill:
            raise ArgumentError(
                f"{name}: expected no region, fill or dtype, which are for patterns, found one; "
                f"polylines are exported whole"
            )
        return write_outline_file(output, outlines, archive.grid, force=force)
    if Path(output).suffix.lower() in OUTLINE_FORMATS:
        raise ArgumentError(
            f"{os.fspath(output)}: expected a layer of polylines for this kind of file, found "
            f"{name}; name it, as in --layer maps/boundaries"
        )
    scan = archive.scan(name)
    filled = find_filling(archive, fill, stage(progress, "looking for blank patterns"))
    if filled is not None:
        scan = replace(scan, patterns=FilledPatterns(scan.patterns, filled))
    indices = np.arange(archive.grid.size)
    if region is not None:
        scan, indices = _cut(scan, region)
    suffix = os.fspath(output).lower().rsplit(".", 1)[-1]
    return write_patterns(
        scan,
        output,
        positions=archive.grid.positions_at(indices),
        measured_dtype=archive.dtype,
        dtype=dtype or (archive.dtype if suffix not in ("up1", "up2") else None),
        intensity_range=layer_range(archive, name),
        origin=origin_of(archive, name),
        estimates=estimates_of(filled, fill, lambda points: np.isin(indices, points)),
        force=force,
        formats=(".up1", ".up2", ".h5"),
        progress=stage(progress, "exporting"),
    )


def _outlines(archive: Archive, layer: str) -> Outlines | None:
    """The polylines of a layer; None if it holds something else."""
    with archive.group() as group:
        return read_outlines(group, layer) if holds_outlines(group, layer) else None


def origin_of(archive: Archive, layer: str) -> dict[str, Any]:
    """Where patterns come from: the archive, the layer, its digest, and that it is lossy."""
    values = archive.attributes(layer)
    origin: dict[str, Any] = {
        "archive": os.path.basename(archive.path),
        "archive_id": archive.archive_id,
        "layer": layer,
        "layer_sha256": values.get("patterns_sha256") or values.get("sha256"),
    }
    if layer != "raw":
        origin["raw_sha256"] = values.get("raw_sha256")
    if "mae_percent" in values:
        origin["lossy"] = f"mean absolute error {values['mae_percent']:.4g} % of full range"
    return origin


def layer_range(archive: Archive, layer: str) -> tuple[float, float] | None:
    """Lowest and highest count of the scan where a layer has them on record."""
    values = archive.attributes(layer)
    if "range_min" in values:
        return values["range_min"], values["range_max"]
    return None


class _Selected:
    """Some of a layer's patterns, in the order of their indices."""

    def __init__(self, patterns: Patterns, indices: npt.NDArray[np.int64]) -> None:
        self.patterns, self.indices = patterns, indices
        self.shape = (len(indices), *patterns.shape[1:])
        self.dtype = patterns.dtype

    def read(self, start: int, stop: int) -> npt.NDArray:
        return read_at(self.patterns, self.indices[start:stop])


def _cut(
    scan: Scan, region: tuple[float, float, float, float]
) -> tuple[Scan, npt.NDArray[np.int64]]:
    """The part of a scan within a region, and the indices of its points."""
    x0, y0, x1, y1 = region
    corners = np.array([[x0, y0], [x1, y1]], dtype=np.float64)
    scan.grid.require_inside(corners)
    if scan.grid.is_hexagonal:
        raise ArgumentError(
            "region: expected a square grid, found a hexagonal one; export the whole scan"
        )
    if not np.array_equal(corners, np.rint(corners)) or x1 < x0 or y1 < y0:
        raise ArgumentError(
            f"region: expected whole numbers x0 ≤ x1 and y0 ≤ y1, found {x0:g},{y0:g}:{x1:g},{y1:g}"
        )
    columns = np.arange(int(x0), int(x1) + 1)
    rows = np.arange(int(y0), int(y1) + 1)
    indices = (rows[:, None] * scan.grid.n_columns + columns).ravel()
    grid = Grid("square", len(columns), len(rows), scan.grid.step_x_um, scan.grid.step_y_um)
    return select(scan, _Selected(scan.patterns, indices), grid, indices), indices


def select(scan: Scan, patterns: Patterns, grid: Grid, nearest: npt.NDArray[np.int64]) -> Scan:
    """A scan with other patterns; per-point values are those of the `nearest` measured points."""
    detector = scan.detector
    if detector.pc_bruker is not None and np.ndim(detector.pc_bruker) == 2:
        original = detector.pc_original
        detector = Detector(
            **{
                **detector.__dict__,
                "pc_bruker": detector.pc_bruker[nearest],
                "pc_original": None if original is None else np.atleast_2d(original)[nearest],
            }
        )
    orientations = scan.orientations
    if orientations is not None:
        orientations = Orientations(
            orientations.quaternions[nearest],
            orientations.phase_id[nearest],
            {name: values[nearest] for name, values in orientations.properties.items()},
        )
    return Scan(
        patterns=patterns,
        grid=grid,
        detector=detector,
        source=scan.source,
        microscope=scan.microscope,
        phases=scan.phases,
        orientations=orientations,
        static_background=scan.static_background,
        name=scan.name,
    )
