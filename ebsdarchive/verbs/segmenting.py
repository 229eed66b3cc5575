"""``boundaries``: grains and their boundaries from the diffraction gradient, without indexing."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive import provenance
from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.layers import write_map
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.outlines import Outlines, write_outlines
from ebsdarchive.errors import ArgumentError, MissingLayerError
from ebsdarchive.exchange.outlines import outline_format, write_outline_file
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_free, require_local, require_no_layers

__all__ = ["BOUNDARY_MAP", "GRADIENT_MAP", "GRAIN_MAP", "BoundariesSummary", "boundaries"]

GRAIN_MAP, GRADIENT_MAP, BOUNDARY_MAP = "maps/grains", "maps/gradient", "maps/boundaries"
MADE = (GRAIN_MAP, GRADIENT_MAP, BOUNDARY_MAP)
FINE_ENOUGH = 3  # samples per step, at least, to look for ridges on


@dataclass(frozen=True)
class BoundariesSummary:
    """What was found. Lengths are in steps along x, and in µm where the step is known.

    Parameters
    ----------
    grains, boundaries
        Their numbers.
    length_steps, length_um
        Of all boundaries together.
    mean_diameter_steps, median_diameter_steps, mean_diameter_um, median_diameter_um
        Of circles of the grains' areas, over the grains that the edge of the scan does not cut, or
        all where it cuts each.
    gradient_median, gradient_boundaries
        Median S of the scan and of the vertices of boundaries, counts per step.
    shape
        (rows, columns) of the maps of labels and of S.
    resolution
        Samples per step.
    layers, outputs
        What was written.
    """

    grains: int
    boundaries: int
    length_steps: float
    length_um: float | None
    mean_diameter_steps: float
    median_diameter_steps: float
    mean_diameter_um: float | None
    median_diameter_um: float | None
    gradient_median: float
    gradient_boundaries: float | None
    shape: tuple[int, int]
    resolution: int
    layers: tuple[str, ...]
    outputs: tuple[str, ...]


def boundaries(
    path: str | os.PathLike[str],
    output: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    *,
    resolution: int = 5,
    correlation: float = 0.6,
    min_size: float = 3.0,
    smoothing: float = 0.5,
    force: bool = False,
    progress: Progress = silent,
) -> BoundariesSummary:
    """Find grains and grain boundaries with the neural layer, and store them as maps.

    The watershed of the diffraction gradient cuts the scan along all its ridges; parts whose
    patterns correlate are joined again. Nothing is indexed, and no phase need be known. The archive
    gains the maps ``grains`` (labels, the largest grain is 1) and ``gradient`` (S), and, as
    polylines with S along them, ``boundaries``.

    Parameters
    ----------
    output
        Files to write the boundaries to as well: .csv or .geojson, one or several. `export` writes
        them later, from the archive.
    resolution
        Samples of both maps per scan step; ridges are looked for on at least 3.
    correlation
        Patterns on two sides of a ridge that correlate better than this are of one grain. 0.6 is
        1.3 to 1.8 degrees of disorientation, depending on detector and phase, 0.8 about 1 degree;
        larger values find fainter boundaries. See `BandPatterns`.
    min_size
        Area of the smallest grain, in points; smaller ones join the neighbour most like them.
    smoothing
        Standard deviation, in steps, of a Gaussian that the field is smoothed by for the map of S,
        and to find ridges: between measured points a field also follows the noise. 0 leaves it as
        it is. Polylines have S without smoothing.
    force
        Replace existing maps of these names, and existing files.

    Raises
    ------
    MissingLayerError
        If the archive has no neural layer.
    OutputError
        If a map or file exists already, without `force`.
    """
    outputs = [output] if isinstance(output, str | os.PathLike) else list(output)
    require_local(path)
    archive = open_archive(path)
    _require_sensible(resolution, correlation, min_size, smoothing)
    if "neural" not in archive.layers:
        raise MissingLayerError(
            f"{archive.path}: expected a neural layer, whose gradient shows boundaries, found the "
            f"layers {', '.join(archive.layers)}; make one with `ebsdarchive fit`"
        )
    require_no_layers(archive, MADE, force=force)
    for target in outputs:
        outline_format(target)
        require_free(target, archive.path, force=force)
    from ebsdarchive.analysis.grains import segment, sizes
    from ebsdarchive.analysis.polylines import trace
    from ebsdarchive.analysis.ridges import BandPatterns, Raster, smoothed_slopes
    from ebsdarchive.neural.gradient import DiffractionGradient
    from ebsdarchive.neural.storage import read_tensor_field

    activity = provenance.Activity(
        "boundaries",
        {
            "resolution": resolution,
            "correlation": correlation,
            "min_size": min_size,
            "smoothing": smoothing,
        },
    )
    digest = str(archive.attributes("neural")["sha256"])
    activity.used["neural"] = digest
    field = read_tensor_field(archive.path)
    grid = archive.grid
    shape = Raster(grid, resolution).shape
    finer = math.ceil(FINE_ENOUGH / resolution)
    fine = Raster(grid, resolution * finer)  # few samples per step would miss narrow grains
    gradient, bands = DiffractionGradient(field), BandPatterns(field)
    slopes = smoothed_slopes(gradient, fine, smoothing, stage(progress, "gradient"))
    progress("grains", 0, 1)
    grains = segment(
        slopes, bands, fine, correlation=correlation, min_area=min_size * grid.row_distance
    )
    found = trace(grains, slopes, bands, gradient, fine)
    grain_sizes = sizes(grains, fine)
    outlines = Outlines(tuple(found), tuple(grain_sizes))
    s = _rounded(slopes.strength[::finer, ::finer])
    progress("grains", 1, 1)
    scale = f" at a scale of {smoothing:g} steps" if smoothing else ""
    with adding_layers(path, list(MADE), stage(progress, "reading back")) as file:
        for layer, data, long_name, units in (
            (GRAIN_MAP, grains.labels[::finer, ::finer], "Grain", "1"),
            (GRADIENT_MAP, s, f"Diffraction gradient S{scale}", "counts/step"),
        ):
            name = layer.partition("/")[2]
            write_map(
                file["archive"], name, data, long_name=long_name, units=units,
                derived_from=digest, samples_per_step=resolution,
            )  # fmt: skip
            activity.generated[layer] = str(file["archive"][layer].attrs["sha256"])
        activity.generated[BOUNDARY_MAP] = write_outlines(
            file["archive"],
            BOUNDARY_MAP.partition("/")[2],
            outlines,
            label_map=GRAIN_MAP.partition("/")[2],
            derived_from=digest,
        )
        provenance.record(file["archive"], activity)
    for target in outputs:
        write_outline_file(target, outlines, grid, force=force)
    whole = [grain.diameter for grain in grain_sizes if not grain.at_edge]
    diameters = whole or [grain.diameter for grain in grain_sizes]
    length = outlines.length(grid.row_distance)
    um = grid.step_x_um if grid.step_y_um is not None else None
    mean, median = float(np.mean(diameters)), float(np.median(diameters))
    return BoundariesSummary(
        grains=grains.count,
        boundaries=len(found),
        length_steps=length,
        length_um=None if um is None else length * um,
        mean_diameter_steps=mean,
        median_diameter_steps=median,
        mean_diameter_um=None if um is None else mean * um,
        median_diameter_um=None if um is None else median * um,
        gradient_median=float(np.median(s)),
        gradient_boundaries=(
            float(np.median(np.concatenate([b.s for b in found]))) if found else None
        ),
        shape=shape,
        resolution=resolution,
        layers=MADE,
        outputs=tuple(os.fspath(target) for target in outputs),
    )


def _rounded(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Values with 11 binary digits, which is a relative error of 0.0005 at most."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)


def _require_sensible(
    resolution: int, correlation: float, min_size: float, smoothing: float
) -> None:
    if resolution < 1:
        raise ArgumentError(f"resolution: expected a whole number from 1, found {resolution}")
    if not -1 <= correlation <= 1:
        raise ArgumentError(f"correlation: expected a number from -1 to 1, found {correlation}")
    for name, value in (("min size", min_size), ("smoothing", smoothing)):
        if not (math.isfinite(value) and value >= 0):
            raise ArgumentError(f"{name}: expected 0 or more, found {value}")
