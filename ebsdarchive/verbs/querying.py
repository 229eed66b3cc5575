"""``query``: patterns, or how fast they change, anywhere in the scan, between the points too."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.neighbours import FilledPatterns, Filling
from ebsdarchive.archive.file import Archive, open_archive
from ebsdarchive.errors import ArgumentError
from ebsdarchive.exchange.values import WrittenValues
from ebsdarchive.exchange.writers import Written, write_patterns
from ebsdarchive.scan import Patterns
from ebsdarchive.verbs.exporting import layer_range, origin_of, sample_frame_of, select
from ebsdarchive.verbs.filling import estimates_of, find_filling
from ebsdarchive.verbs.gradients import gradient_at
from ebsdarchive.verbs.places import Places, Where, find_places
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.sampling import (
    Interpolated,
    asked_layer,
    field_at,
    interpolation_of,
    sampled,
)
from ebsdarchive.verbs.targets import require_other_file

__all__ = ["query"]


def query(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    what: Literal["patterns", "gradient"] = "patterns",
    point: tuple[float, float] | None = None,
    points: npt.ArrayLike | None = None,
    along: npt.ArrayLike | None = None,
    samples: int | None = None,
    spacing: float | None = None,
    corners: tuple[float, float, float, float] | None = None,
    shape: tuple[int, int] | None = None,
    upsample: int | None = None,
    regrid: Literal["square", "hex"] | None = None,
    step_um: float | None = None,
    layer: str | None = None,
    interpolation: Literal["sharp", "linear", "field"] | None = None,
    fill: Sequence[str] = (),
    smoothing: float = 0.0,
    unit: Literal["step", "um"] = "step",
    dtype: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> npt.NDArray[np.float32] | Written | WrittenValues:
    """Patterns at given positions of the scan, or the diffraction gradient there.

    Exactly one of `point`, `points`, `along`, `corners` (with `shape`), `upsample` and `regrid`
    says where. The neural layer is asked unless another is named. At measured points a layer gives
    its patterns there, between them a mix of those at the points around.

    Parameters
    ----------
    output
        File to write: png, or any file that `export` writes; csv, npz, nc or png of the gradient.
        None returns the answers.
    what
        "patterns", or "gradient": S, the root-mean-square change of a pixel in counts per step
        along x, from the derivative of the neural layer's field.
    point, points
        (x, y), or (m, 2) of them.
    along, samples, spacing
        (m, 2) vertices of a path, and the number or the distance of positions along it; with
        neither, one per scan step.
    corners, shape
        (x0, y0, x1, y1) of a raster, and its (rows, columns).
    upsample
        The whole scan with steps of 1 / `upsample`.
    regrid, step_um
        The whole scan on a square or a hexagonal grid, and the step of that grid in µm, by default
        the scan's along x. See `ebsdarchive.regridding.regridded`.
    interpolation
        Of patterns between measured points. "sharp", the default of the neural layer: linear inside
        grains, and across a boundary a mix that prefers one of the grains
        (`ebsdarchive.neural.between`); of all that was tried it has the least error on points that
        were held out (benchmarks/holdout.py). "linear", the default of other layers and with
        `fill`. "field": what the neural layer's network itself gives there, a smooth function of
        the position.
    fill
        Reasons not to trust a point: "blank", "not-indexed", "not-indexed:MAP" (see
        `find_filling`). Its pattern is then mixed of those of the layer at sound points on both
        sides, and a file says which of its patterns are such estimates. A point without sound ones
        on both sides keeps its pattern.
    smoothing
        Of the gradient alone: standard deviation, in steps, of a Gaussian that the field is
        smoothed by. 0 is the derivative at the very position, where it also follows the noise;
        `boundaries` smooths its map by 0.5.
    unit
        Of all positions and of `spacing`: scan steps, or µm.
    dtype
        "uint8", "uint16" or "float32"; by default float32, or what the format holds.

    Returns
    -------
    (m, sy, sx) ndarray of float32, in counts; or `Written`. Of the gradient (m,) and
    `WrittenValues`.

    Raises
    ------
    GeometryError
        If a position is outside the scan, or µm are asked for and the step is not known.
    MissingLayerError
        If the archive lacks the layer, or what `fill` is to know.
    """
    archive = open_archive(path)
    if output is not None:
        require_other_file(output, path)
    where = Where(
        point, points, along, samples, spacing, corners, shape, upsample, regrid, step_um, unit
    )
    places = find_places(where, archive.grid, archive.path)
    if what == "gradient":
        _require_no_pattern_options(layer, interpolation, fill, dtype)
        return gradient_at(archive, places, output, smoothing, force, stage(progress, "querying"))
    if what != "patterns":
        raise ArgumentError(f"query: expected patterns or gradient, found {what!r}")
    if smoothing:
        raise ArgumentError("query: expected smoothing together with the gradient, found patterns")
    name = asked_layer(archive, layer)
    filled = find_filling(archive, fill, stage(progress, "looking for blank patterns"))
    between = interpolation_of(
        archive, name, "linear" if fill and not interpolation else interpolation
    )
    patterns = _sampled(archive, name, places.xy, between, filled)
    if output is None:
        return np.asarray(patterns.read(0, len(places.xy)), dtype=np.float32)
    estimates = None
    if isinstance(patterns, Interpolated):
        estimates = estimates_of(filled, fill, patterns.uses)
    nearest = archive.grid.indices_of(places.xy)
    scan = select(archive.scan(name), patterns, places.grid, nearest)
    return write_patterns(
        scan,
        output,
        positions=places.xy,
        measured_dtype=archive.dtype,
        dtype=dtype,
        intensity_range=layer_range(archive, name),
        origin=origin_of(archive, name) | _asked(places, regrid, between),
        sample_frame=sample_frame_of(scan),
        overview=_overview(archive, output),
        estimates=estimates,
        force=force,
        progress=stage(progress, "querying"),
    )


def _sampled(
    archive: Archive,
    layer: str,
    xy: npt.NDArray[np.float64],
    interpolation: str,
    filled: Filling | None,
) -> Patterns:
    """Patterns of a layer at positions (m, 2) in steps, read on demand."""
    if filled is not None and interpolation != "linear":
        raise ArgumentError(
            f"fill: expected linear interpolation, found {interpolation}; the network has learned "
            f"the patterns that are to be filled, too"
        )
    if interpolation == "field":
        return field_at(archive, layer, xy)
    patterns = None if filled is None else FilledPatterns(archive.patterns(layer), filled)
    return sampled(archive, layer, xy, interpolation, patterns)


def _require_no_pattern_options(
    layer: str | None, interpolation: str | None, fill: Sequence[str], dtype: str | None
) -> None:
    if layer not in (None, "neural"):
        raise ArgumentError(
            f"gradient: expected the neural layer, whose field has a derivative, found {layer}"
        )
    given = {"interpolation": interpolation, "fill": ", ".join(fill), "dtype": dtype}
    for name, value in given.items():
        if value:
            raise ArgumentError(
                f"gradient: expected no {name}, which is for patterns, found {value}"
            )


def _asked(places: Places, regrid: str | None, interpolation: str) -> dict[str, str]:
    """What a file says of how its patterns were made."""
    said = {"interpolation": interpolation}
    return said if regrid is None else said | {"regridded": places.grid.kind}


def _overview(
    archive: Archive, output: str | os.PathLike[str]
) -> tuple[npt.NDArray, tuple[float, float]] | None:
    """The map of mean intensities for a picture, and the extent of the scan in steps."""
    picture = os.fspath(output).lower().endswith(".png")
    flat = min(archive.grid.n_rows, archive.grid.n_columns) > 1
    if picture and flat and "maps/mean_intensity" in archive.layers:
        return archive.map("mean_intensity"), archive.grid.extent
    return None
