"""Maps of what `compare` finds, side by side."""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from ebsdarchive.figures.page import (
    BAR_HEIGHT,
    MARGIN,
    PAGE_MM,
    Page,
    add_colour_bar,
    add_map,
    limits_of,
    map_size,
)
from ebsdarchive.geometry import Grid

__all__ = ["draw_comparison"]

LABELS = {
    "deviation_deg": "Orientation deviation (°)",
    "confidence_a": "Confidence metric, A",
    "confidence_b": "Confidence metric, B",
    "mae_counts": "Mean absolute error (counts)",
    "psnr_db": "PSNR (dB)",
    "ssim": "SSIM",
    "uqi": "UQI",
}
FOR_COLOUR_BAR, PER_LINE = 17.0, 3


def draw_comparison(maps: dict[str, npt.NDArray], grid: Grid) -> Any:
    """All maps of a comparison, each with a colour bar; the two of confidence share one scale."""
    columns = min(PER_LINE, len(maps))
    size = map_size(grid, (PAGE_MM - MARGIN) / columns - MARGIN - FOR_COLOUR_BAR, 80.0)
    cell = (size[0] + FOR_COLOUR_BAR + MARGIN, size[1] + BAR_HEIGHT)
    lines = math.ceil(len(maps) / columns)
    page = Page(MARGIN + columns * cell[0], MARGIN + lines * cell[1])
    confidence = maps.get("confidence_a")
    for i, (name, values) in enumerate(maps.items()):
        at = (MARGIN + (i % columns) * cell[0], MARGIN + (i // columns) * cell[1])
        shared = confidence if name == "confidence_b" and confidence is not None else values
        low, high, extend = limits_of(shared)
        if name == "deviation_deg":
            low, extend = 0.0, {"min": "neither", "both": "max"}.get(extend, extend)
        image = add_map(page, values, grid, at, size, cmap="cividis", vmin=low, vmax=high)
        add_colour_bar(page, image, (at[0] + size[0] + 1.5, at[1]), size[1], LABELS[name], extend)
    return page.figure
