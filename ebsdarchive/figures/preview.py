"""A small picture that says what a scan looks like: a map of it beside one of its patterns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.exchange.picture import to_grey
from ebsdarchive.figures.kinds import PlotOptions
from ebsdarchive.figures.page import BAR_HEIGHT, MARGIN, Page, add_map, limits_of, map_size

__all__ = ["draw_preview"]

WIDTH_MM, GAP = 130.0, 3.0


def draw_preview(archive: Archive, options: PlotOptions, progress: Callable[..., None]) -> Any:
    """The map of mean intensity, which every archive holds, and the pattern in its middle.

    A cross marks where the pattern is from. It is divided by the static background, or, with
    `options.flat` off, shown as counts; its grey scale is its own.
    """
    from ebsdarchive.analysis.indexing import mean_pattern

    grid = archive.grid
    scan = archive.scan(options.layer)
    wanted = np.array([options.points[0] if options.points else np.divide(grid.extent, 2)])
    (point,) = grid.indices_of(wanted)
    pattern = scan.patterns.read(int(point), int(point) + 1)
    grey = to_grey(pattern, mean_pattern(scan) if options.flat else None)[0]
    progress(1, 1)
    width = (options.width_mm or WIDTH_MM) / 2 - MARGIN - GAP / 2
    map_wide, map_tall = map_size(grid, width, width)
    sy, sx = grey.shape
    wide, tall = _fitted(sy, sx, width)
    page = Page(2 * MARGIN + map_wide + GAP + wide, MARGIN + max(map_tall, tall) + BAR_HEIGHT)
    values = archive.map("mean_intensity")
    low, high, _ = limits_of(values)
    image = add_map(
        page, values, grid, (MARGIN, MARGIN), (map_wide, map_tall), cmap="gray", vmin=low, vmax=high
    )
    _mark(image, archive, point)
    beside = MARGIN + map_wide + GAP
    axes = page.axes(beside, MARGIN, wide, tall)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, aspect="auto")
    axes.axis("off")
    x, y = grid.positions_at(np.array([point]))[0]
    page.text(beside, MARGIN + tall + 1.0, f"Pattern at ({x:g}, {y:g}) steps")
    return page.figure


def _fitted(rows: int, columns: int, width: float) -> tuple[float, float]:
    """(width, height) of a picture in a square."""
    scale = width / max(rows, columns)
    return columns * scale, rows * scale


def _mark(image: Any, archive: Archive, point: npt.NDArray[np.int64]) -> None:
    """A cross on the map in the middle of a point's cell."""
    grid = archive.grid
    x, y = grid.positions_at(np.array([point]))[0]
    left, right, bottom, top = image.get_extent()
    shift = 0.5 if grid.is_hexagonal else 0.0
    across = (x + 0.5) / (grid.n_columns + shift)
    down = (y + 0.5) / grid.n_rows
    at = (left + across * (right - left), top + down * (bottom - top))
    for colour, thickness in (("black", 1.6), ("white", 0.8)):
        image.axes.plot(*at, marker="+", markersize=7, color=colour, markeredgewidth=thickness)
