"""Patterns as measured, as decoded, and their difference, at some points of the scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.errors import MissingLayerError
from ebsdarchive.figures.kinds import PlotOptions
from ebsdarchive.figures.page import MARGIN, PAGE_MM, Page, add_colour_bar
from ebsdarchive.scan import read_at

__all__ = ["draw_patterns"]

DEFAULT_POINTS = 4
LABELS, BARS, GAP, LINE = 4.0, 16.0, 1.5, 3.4  # mm


def draw_patterns(archive: Archive, options: PlotOptions, progress: Callable[..., None]) -> Any:
    """Three lines of patterns: raw, another layer, and their difference.

    Measured and decoded share one grey scale, the differences another, both stated by colour bars.
    The positions asked for are those of the nearest measured points. With `options.flat` the first
    two are divided by the static background, or by what a restorer left of it; differences are in
    counts in any case.
    """
    from ebsdarchive.analysis.indexing import mean_pattern

    others = [name for name in archive.pattern_layers if name != "raw"]
    if "raw" not in archive.layers or not (options.layer or others):
        raise MissingLayerError(
            f"{archive.path}: expected raw patterns and another layer of patterns, found "
            f"{', '.join(archive.layers)}"
        )
    name = options.layer or others[0]
    scan = archive.scan("raw")
    grid = archive.grid
    if options.points:
        wanted = np.array(options.points, np.float64)
    else:
        along = (np.arange(DEFAULT_POINTS) + 0.5) / DEFAULT_POINTS
        wanted = along[:, None] * grid.extent
    points = grid.indices_of(wanted)
    decoded_layer = archive.patterns(name)
    measured, decoded = (
        read_at(layer, points).astype(np.float64) for layer in (scan.patterns, decoded_layer)
    )
    background = mean_pattern(scan)
    lit = _lit(archive, background)
    remaining = archive.scan(name).static_background
    own = background if remaining is None else remaining
    shown = [
        np.where(lit, stack / (np.maximum(level, 1e-6) if options.flat else 1.0), np.nan)
        for stack, level in ((measured, background), (decoded, own))
    ]
    unit = "counts / background" if options.flat else "counts"
    difference = np.where(lit, decoded - measured, np.nan)
    width = options.width_mm or PAGE_MM
    sy, sx = background.shape
    cell = (width - 2 * MARGIN - LABELS - BARS) / max(DEFAULT_POINTS, len(points)) - GAP
    tall = cell * sy / sx
    page = Page(width, MARGIN + LINE + 3 * (tall + GAP) + LINE)
    left, top = MARGIN + LABELS, MARGIN + LINE
    for i, (x, y) in enumerate(grid.positions_at(points)):
        page.text(left + i * (cell + GAP) + cell / 2, MARGIN, _place(grid, x, y), ha="center")
        error = np.nanmean(np.abs(difference[i]))
        page.text(
            left + i * (cell + GAP) + cell / 2,
            top + 3 * (tall + GAP) - 0.3,
            f"mean |difference| {error:.0f} counts"
            if error >= 1000
            else f"mean |difference| {error:.3g} counts",
            ha="center",
        )
    ends = _ends(np.concatenate(shown), 0.5)
    spread = max(abs(end) for end in _ends(difference, 0.5))
    lines: list[tuple[str, npt.NDArray, dict[str, Any]]] = [
        ("measured", shown[0], {"cmap": "gray", "vmin": ends[0], "vmax": ends[1]}),
        (name, shown[1], {"cmap": "gray", "vmin": ends[0], "vmax": ends[1]}),
        ("difference", difference, {"cmap": "RdBu_r", "vmin": -spread, "vmax": spread}),
    ]
    images = []
    for j, (label, stack, looks) in enumerate(lines):
        y = top + j * (tall + GAP)
        page.text(MARGIN + LABELS / 2, y + tall / 2, label, rotation=90, ha="center", va="center")
        for i, pattern in enumerate(stack):
            axes = page.axes(left + i * (cell + GAP), y, cell, tall)
            images.append(axes.imshow(pattern, aspect="auto", **looks))
            axes.axis("off")
    beside = left + len(points) * (cell + GAP) + 0.5
    add_colour_bar(page, images[0], (beside, top), 2 * tall + GAP, f"Intensity ({unit})", "both")
    last = (beside, top + 2 * (tall + GAP))
    add_colour_bar(page, images[-1], last, tall, f"{name} − measured (counts)", "both")
    return page.figure


def _lit(archive: Archive, background: npt.NDArray) -> npt.NDArray[np.bool_]:
    """(sy, sx) the neural layer's mask, or the lit pixels as the background tells them."""
    if "neural" in archive.layers:
        from ebsdarchive.neural.storage import read_field

        return read_field(archive.path).mask
    from ebsdarchive.analysis.background import lit_pixels

    return lit_pixels(background)


def _place(grid: Any, x: float, y: float) -> str:
    if grid.step_x_um is None or grid.step_y_um is None:
        return f"({x:g}, {y:g}) steps"
    return f"x = {x * grid.step_x_um:.4g} µm, y = {y * grid.step_y_um:.4g} µm"


def _ends(values: npt.NDArray, percent: float) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [percent, 100 - percent])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)
