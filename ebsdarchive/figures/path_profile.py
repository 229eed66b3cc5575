"""A profile along a path: where it runs, patterns on it, and the curves below them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.path_profile import PathProfile
from ebsdarchive.analysis.ridges import Window, smoothed_slopes
from ebsdarchive.archive.file import Archive
from ebsdarchive.figures.page import (
    BAR_HEIGHT,
    COLUMN_MM,
    Page,
    add_colour_bar,
    add_map,
    limits_of,
    map_size,
    raster_grid,
)
from ebsdarchive.geometry import Grid

__all__ = ["draw_profile", "strip_places"]

LABELS, COLOUR_BAR, RIGHT = 9.0, 17.0, 2.0  # beside the curves and the map, mm
MAP_MM, PANEL_MM, RUG_MM, TITLE = 46.0, 16.0, 3.6, 4.6
TOP, THIN_MM = 3.0, 15.0  # above the map, and a height too small for a colour bar beside it
PATTERN_MM = 10.5  # at least, side of a pattern
AROUND = 4  # steps that the map shows on all sides of the path, at least
BESIDE = 0.5  # steps: measured points at most so far from the path are shown below the patterns
MAP_SAMPLES = 40_000
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "0.65"  # Okabe and Ito's

Progress = Callable[[float, float], None]


def strip_places(found: PathProfile, width_mm: float | None = None) -> npt.NDArray[np.float64]:
    """(k,) distances along the path of the patterns that the picture shows, side by side."""
    across = (width_mm or COLUMN_MM) - LABELS - RIGHT
    count = max(3, int(across / max(PATTERN_MM, across / 11)))
    return (np.arange(count) + 0.5) / count * found.path.length


def draw_profile(
    archive: Archive,
    found: PathProfile,
    patterns: npt.NDArray,
    width_mm: float | None,
    progress: Progress,
) -> Any:
    """Map, patterns and curves of a profile, all of the latter on one axis of distance.

    The map is S around the path, or the mean intensity where S is not known; of a scan of few rows
    it has no colour bar. Dots below the
    patterns are the scan's points within half a step of the path, shown aside as far as they are.
    Dashed lines are crossings, grey their full width at half of the maximum.

    Parameters
    ----------
    patterns
        (k, sy, sx) at `strip_places`, NaN where the screen is dark.
    """
    panels = _panels(found)
    width = width_mm or COLUMN_MM
    across = width - LABELS - RIGHT
    cell = across / len(patterns)
    tall = cell * patterns.shape[1] / patterns.shape[2]
    size, drawn = _overview(archive, found, width, progress)
    top = TOP + size[1] + BAR_HEIGHT
    below = top + tall + RUG_MM
    page = Page(width, below + len(panels) * (TITLE + PANEL_MM) + 9.0)
    drawn(page)
    _draw_strip(page, patterns, (LABELS, top), (cell, tall))
    scale = found.step_um or 1.0
    axes = _draw_points(page, found, scale, (LABELS, top + tall), across)
    if panels:
        axes.tick_params(bottom=False, labelbottom=False)
    for i, (title, draw) in enumerate(panels):
        above = below + i * (TITLE + PANEL_MM)
        page.text(LABELS, above + TITLE - 0.8, title, va="bottom")
        axes = page.axes(LABELS, above + TITLE, across, PANEL_MM)
        _mark_crossings(axes, found, scale)
        draw(axes, scale)
        axes.set_xlim(0, found.path.length * scale)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelbottom=i == len(panels) - 1)
    unit = "steps" if found.step_um is None else "µm"
    axes.set_xlabel(f"Distance along the path ({unit})")
    return page.figure


def _panels(found: PathProfile) -> list[tuple[str, Callable[[Any, float], None]]]:
    """Label of each curve that is known, and what draws it."""
    panels: list[tuple[str, Callable[[Any, float], None]]] = []
    at = found.distance
    if found.along is not None and found.s is not None:
        smooth, s = found.along, found.s

        def gradient(axes: Any, scale: float) -> None:
            if found.smoothing:
                axes.plot(at * scale, s, color=GREY, linewidth=0.6, label="of the field")
            name = f"at {found.smoothing:g} steps" if found.smoothing else "of the field"
            axes.plot(smooth.distance * scale, smooth.s, color=BLUE, linewidth=1.0, label=name)
            axes.set_ylim(bottom=0)
            _legend(axes)

        panels.append(("Gradient S (counts/step)", gradient))
    if found.indexed is not None and found.turning is not None:
        confidence, turned = found.indexed.confidence, found.turning

        def quality(axes: Any, scale: float) -> None:
            axes.plot(at * scale, confidence, ".-", color="black", linewidth=0.6, markersize=2)
            axes.set_ylim(0, 1)

        def angles(axes: Any, scale: float) -> None:
            from_start, previous = turned.from_start_deg, turned.from_previous_deg
            axes.plot(
                at * scale, from_start, ".-", color=BLUE, linewidth=0.8, markersize=2.5,
                label="from start",
            )  # fmt: skip
            axes.plot(
                at * scale, previous, "x--", color=ORANGE, linewidth=0.6, markersize=2.5,
                markeredgewidth=0.6, label="step to step",
            )  # fmt: skip
            axes.set_ylim(bottom=0)
            _legend(axes)
            for crossing in found.crossings or ():
                if crossing.disorientation_deg is not None:
                    axes.annotate(
                        f"{crossing.disorientation_deg:.1f}°", (crossing.distance * scale, 0.8),
                        (-3, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
                        ha="right", va="center", fontsize=6,
                    )  # fmt: skip

        panels += [("Confidence metric", quality), ("Disorientation (°)", angles)]
    return panels


def _legend(axes: Any) -> None:
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=6, frameon=False,
        handlelength=1.6, columnspacing=1.2, borderpad=0.0, borderaxespad=0.1,
    )  # fmt: skip


def _mark_crossings(axes: Any, found: PathProfile, scale: float) -> None:
    for crossing in found.crossings or ():
        half = crossing.width / 2
        axes.axvspan(
            (crossing.s_distance - half) * scale, (crossing.s_distance + half) * scale,
            color="0.92", linewidth=0,
        )  # fmt: skip
        axes.axvline(crossing.distance * scale, color="black", linestyle="--", linewidth=0.7)


def _draw_strip(
    page: Page, patterns: npt.NDArray, at: tuple[float, float], cell: tuple[float, float]
) -> None:
    """Numbered patterns on one grey scale."""
    low, high = np.nanpercentile(patterns, [0.5, 99.5])
    for i, pattern in enumerate(patterns):
        axes = page.axes(at[0] + i * cell[0] + 0.15, at[1], cell[0] - 0.3, cell[1])
        axes.imshow(pattern, cmap="gray", vmin=low, vmax=high, aspect="auto")
        axes.axis("off")
        axes.text(0.02, 0.98, str(i + 1), transform=axes.transAxes, ha="left", va="top", fontsize=6)


def _draw_points(
    page: Page, found: PathProfile, scale: float, at: tuple[float, float], across: float
) -> Any:
    """The measured points beside the path, on axes whose scale shows where no curve is known."""
    along, aside = found.path.measured_points(BESIDE)
    axes = page.axes(*at, across, RUG_MM)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.plot(along * scale, aside, "o", color="black", markersize=2, clip_on=False)
    axes.set(xlim=(0, found.path.length * scale), ylim=(1.6 * BESIDE, -1.6 * BESIDE))
    axes.spines[["left", "top", "right", "bottom"]].set_visible(False)
    axes.tick_params(left=False, labelleft=False)
    page.text(at[0] - 1, at[1] + RUG_MM / 2, "points", ha="right", va="center", fontsize=6)
    return axes


def _overview(
    archive: Archive, found: PathProfile, width: float, progress: Progress
) -> tuple[tuple[float, float], Callable[[Page], None]]:
    """Size in mm of the map, and what draws it with the path on it."""
    grid = found.path.grid
    first, last = _window(found)
    if found.along is not None:
        values, shown, per_step = _gradient_map(archive, found, first, last, progress)
        label, colours = "S (counts/step)", "cividis"
    else:
        first = (0, 0)
        values, shown, per_step = archive.map("mean_intensity"), grid, 1
        label, colours = "Mean intensity (counts)", "gray"
    size = map_size(shown, width - LABELS - COLOUR_BAR, MAP_MM)

    def draw(page: Page) -> None:
        low, high, extend = limits_of(values)
        place = (LABELS, TOP)
        image = add_map(page, values, shown, place, size, cmap=colours, vmin=low, vmax=high)
        if size[1] >= THIN_MM:
            add_colour_bar(page, image, (LABELS + size[0] + 2, TOP), size[1], label, extend)
        left, right, bottom, top = image.get_extent()
        ny, nx = values.shape
        cell = np.array([(right - left) / nx, (bottom - top) / ny])
        if shown.is_hexagonal:
            cell[0] = right / (grid.n_columns + 0.5)

        def on_map(xy: npt.NDArray) -> npt.NDArray:
            return ((xy - first) * per_step + 0.5) * cell

        x, y = on_map(found.path.vertices).T
        image.axes.plot(x, y, color="black", linewidth=2.2, solid_capstyle="round")
        image.axes.plot(x, y, color="white", linewidth=1.2, solid_capstyle="round")
        places = found.path.at(strip_places(found, page.width))
        for i, (x, y) in enumerate(on_map(places)):
            image.axes.plot(x, y, "o", color="white", markersize=2.6, markeredgecolor="black",
                            markeredgewidth=0.5)  # fmt: skip
            note = image.axes.annotate(
                str(i + 1), (x, y), (0, 2.2), textcoords="offset points", ha="center",
                va="bottom", fontsize=5.5, color="white",
            )  # fmt: skip
            note.set_path_effects(_outline())
        image.axes.set(xlim=(left, right), ylim=(bottom, top))

    return size, draw


def _outline() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=1.2, foreground="black")]


def _window(found: PathProfile) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last point (x, y) of the part of the scan that the map shows: around the path."""
    vertices, grid = found.path.vertices, found.path.grid
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    span = float((high - low).max())
    around = max(AROUND, 0.3 * span)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2 + around, (span / 2 + around) / 2)
    end = np.floor(grid.extent).astype(int)
    first = np.clip(np.floor(middle - half).astype(int), 0, end)
    last = np.clip(np.ceil(middle + half).astype(int), 0, end)
    return (int(first[0]), int(first[1])), (int(last[0]), int(last[1]))


def _gradient_map(
    archive: Archive,
    found: PathProfile,
    first: tuple[int, int],
    last: tuple[int, int],
    progress: Progress,
) -> tuple[npt.NDArray[np.float32], Grid, int]:
    """S in a window of the scan as the profile has it, its grid, and samples per step."""
    from ebsdarchive.neural.gradient import DiffractionGradient
    from ebsdarchive.neural.storage import read_tensor_field

    grid = found.path.grid
    points = (last[0] - first[0] + 1) * (last[1] - first[1] + 1)
    per_step = min(5, max(1, math.isqrt(MAP_SAMPLES // points)))
    window = Window(grid, per_step, first, last)
    gradient = DiffractionGradient(read_tensor_field(archive.path))
    slopes = smoothed_slopes(gradient, window, found.smoothing, progress)
    return slopes.strength, raster_grid(grid, window.shape, per_step), per_step
