"""The diffraction gradient S at positions, as numbers, as a file or as a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.store import replacing
from ebsdarchive.errors import ArgumentError, MissingLayerError
from ebsdarchive.exchange.values import VALUE_FORMATS, WrittenValues, write_values
from ebsdarchive.verbs.exporting import origin_of
from ebsdarchive.verbs.places import Places

__all__ = ["gradient_at"]

LABEL = "Diffraction gradient S (counts/step)"

Progress = Callable[[float, float], None]


def gradient_at(
    archive: Archive,
    places: Places,
    output: str | os.PathLike[str] | None,
    smoothing: float,
    force: bool,
    progress: Progress,
) -> npt.NDArray[np.float32] | WrittenValues:
    """S at positions: (m,) counts per step along x, or what was written of it.

    Parameters
    ----------
    output
        csv, npz, nc, or png: a map of a grid, or a curve along a path.
    smoothing
        Width, in steps, of the Gaussian that the field is smoothed by; 0 leaves it as it is.

    Raises
    ------
    MissingLayerError, ArgumentError
        If there is no neural layer, it is a joint one, or the file is of no fitting kind.
    """
    if "neural" not in archive.layers:
        raise MissingLayerError(
            f"{archive.path}: expected a neural layer, whose derivative is the gradient, found the "
            f"layers {', '.join(archive.layers)}; make one with `ebsdarchive fit`"
        )
    if not (np.isfinite(smoothing) and smoothing >= 0):
        raise ArgumentError(f"smoothing: expected 0 or more, found {smoothing:g}")
    if output is not None:
        _require_format(output, places)
    from ebsdarchive.neural.gradient import DiffractionGradient
    from ebsdarchive.neural.storage import read_tensor_field

    gradient = DiffractionGradient(read_tensor_field(archive.path))
    s = gradient(places.xy, progress, sigma=smoothing)
    if output is None:
        return s
    if Path(output).suffix.lower() == ".png":
        return _draw(output, s, places, archive, force)
    return write_values(
        output,
        s,
        "s_counts_per_step",
        LABEL.partition(" (")[0],
        "counts/step",
        places.xy,
        archive.grid,
        raster=places.grid if places.kind == "grid" and not places.grid.is_hexagonal else None,
        origin=origin_of(archive, "neural") | {"smoothing_steps": smoothing},
        force=force,
    )


def _require_format(output: str | os.PathLike[str], places: Places) -> None:
    suffix = Path(output).suffix.lower()
    if suffix not in (*VALUE_FORMATS, ".png"):
        raise ArgumentError(
            f"{os.fspath(output)}: expected a name that ends in {', '.join(VALUE_FORMATS)} or "
            f".png, found {suffix or 'no ending'}"
        )
    if suffix == ".png" and places.kind == "points":
        raise ArgumentError(
            f"{os.fspath(output)}: expected a path or a grid for a picture, found points; write "
            f"them to .csv"
        )


def _draw(
    output: str | os.PathLike[str],
    s: npt.NDArray[np.float32],
    places: Places,
    archive: Archive,
    force: bool,
) -> WrittenValues:
    """A map in its grid's proportions, or a curve over the length of a path."""
    from ebsdarchive.figures.gradient import draw_profile
    from ebsdarchive.figures.kinds import PlotOptions
    from ebsdarchive.figures.maps import draw_value_map
    from ebsdarchive.figures.page import save_figure, style

    with style():
        if places.kind == "grid":
            values = places.grid.to_map(s)
            figure = draw_value_map(values, places.grid, LABEL, "cividis", PlotOptions())
        else:
            figure = draw_profile(places.xy, s, archive.grid, "S (counts/step)")
        with replacing(output, force=force) as temporary:
            save_figure(figure, temporary, ".png")
    return WrittenValues(os.fspath(output), len(s), Path(output).stat().st_size)
