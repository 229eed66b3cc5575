"""Images in polarised light, at the points of the scan that they are registered to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.light_at_points import light_series
from ebsdarchive.archive.auxiliary import read_light_stack
from ebsdarchive.archive.file import Archive
from ebsdarchive.figures.kinds import PlotOptions
from ebsdarchive.figures.page import BAR_HEIGHT, MARGIN, PAGE_MM, Page, add_map, limits_of, map_size

__all__ = ["draw_light"]

SHOWN = 4  # images of the series
PERIOD = 90.0  # degrees, of crossed polarisers
GAP, TITLE = 2.0, 4.0  # mm


def draw_light(archive: Archive, options: PlotOptions, progress: Callable[..., None]) -> Any:
    """Some stage angles of a series, as grey on one scale, each point with its own light."""
    with archive.group() as group:
        stack = read_light_stack(group, options.map_name)
    chosen = _spread(stack.stage_angles_deg)
    series = light_series(stack, archive.grid, chosen)
    low, high, _ = limits_of(series)
    width = (options.width_mm or PAGE_MM) - 2 * MARGIN
    size = map_size(archive.grid, (width - GAP * (len(chosen) - 1)) / len(chosen))
    page = Page(width + 2 * MARGIN, size[1] + 2 * MARGIN + TITLE + BAR_HEIGHT)
    for number, index in enumerate(chosen):
        left = MARGIN + number * (size[0] + GAP)
        page.text(left, MARGIN, f"stage {stack.stage_angles_deg[index]:g}°")
        at = (left, MARGIN + TITLE)
        add_map(
            page, series[number], archive.grid, at, size,
            scale_bar=number == 0, cmap="gray", vmin=low, vmax=high,
        )  # fmt: skip
    return page.figure


def _spread(angles_deg: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Indices of images whose angles lie evenly over one period, so that no two look alike."""
    wanted = np.arange(SHOWN) * PERIOD / SHOWN
    apart = (angles_deg - wanted[:, None] + PERIOD / 2) % PERIOD - PERIOD / 2
    return np.unique(np.abs(apart).argmin(axis=1))
