"""Maps of one value per point: mean intensity, image quality, error of the neural layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.errors import MissingLayerError
from ebsdarchive.figures.kinds import PlotOptions
from ebsdarchive.figures.page import (
    BAR_HEIGHT,
    COLUMN_MM,
    MARGIN,
    Page,
    add_colour_bar,
    add_map,
    limits_of,
    map_size,
)
from ebsdarchive.geometry import Grid

__all__ = ["draw_error", "draw_mean", "draw_quality", "draw_value_map"]

FOR_COLOUR_BAR = 17.0
Progress = Callable[[float, float], None]


def draw_mean(archive: Archive, options: PlotOptions, progress: Progress) -> Any:
    """Mean intensity of each pattern, in counts, as grey."""
    if options.layer is None:
        values = archive.map("mean_intensity")
    else:
        scan = archive.scan(options.layer)
        means = []
        for _, stop, block in scan.blocks():
            means.append(block.mean(axis=(1, 2), dtype=np.float64))
            progress(stop, scan.grid.size)
        values = scan.grid.to_map(np.concatenate(means))
    return draw_value_map(values, archive.grid, "Mean intensity (counts)", "gray", options)


def draw_quality(archive: Archive, options: PlotOptions, progress: Progress) -> Any:
    """Image quality of each pattern after Krieger Lassen, as grey."""
    from ebsdarchive.analysis.krieger_lassen import image_quality

    scan = archive.scan(options.layer)
    found = []
    for _, stop, block in scan.blocks():
        found.append(image_quality(block))
        progress(stop, scan.grid.size)
    values = scan.grid.to_map(np.concatenate(found))
    return draw_value_map(values, archive.grid, "Image quality", "gray", options)


def draw_error(archive: Archive, options: PlotOptions, progress: Progress) -> Any:
    """Mean absolute error of the neural layer at each point, in counts, in cividis."""
    if "maps/neural_error" not in archive.layers:
        raise MissingLayerError(
            f"{archive.path}: expected the map maps/neural_error, found "
            f"{', '.join(archive.layers)}; make it with `ebsdarchive fit`"
        )
    values = archive.map("neural_error")
    label = "Mean absolute error (counts)"
    return draw_value_map(values, archive.grid, label, "cividis", options)


def draw_value_map(
    values: npt.NDArray, grid: Grid, label: str, colours: str, options: PlotOptions
) -> Any:
    """A map with scale bar and colour bar; the outermost percent at each end is saturated."""
    width = options.width_mm or COLUMN_MM
    size = map_size(grid, width - 2 * MARGIN - FOR_COLOUR_BAR)
    page = Page(size[0] + 2 * MARGIN + FOR_COLOUR_BAR, size[1] + MARGIN + BAR_HEIGHT)
    low, high, extend = limits_of(values)
    image = add_map(page, values, grid, (MARGIN, MARGIN), size, cmap=colours, vmin=low, vmax=high)
    beside = (MARGIN + size[0] + 2.0, MARGIN)
    add_colour_bar(page, image, beside, size[1], label, extend)
    return page.figure
