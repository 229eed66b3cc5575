"""How pictures look: sizes in mm, type, maps with scale and colour bars, and how they are saved.

Figures are made without pyplot, so that nothing of a user's own matplotlib session changes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ebsdarchive.geometry import Grid

__all__ = [
    "Page",
    "add_colour_bar",
    "add_map",
    "limits_of",
    "map_size",
    "raster_grid",
    "save_figure",
    "style",
]

MM = 1 / 25.4
COLUMN_MM, PAGE_MM = 85.0, 180.0  # one and two columns of most journals
MARGIN = 2.0
BAR_HEIGHT = 6.5  # below a map, for its scale bar
TALLEST_MM = 150.0
DPI = 300


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Within this context figures are drawn and saved in one style; text stays text in vectors."""
    settings: Any = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 7,
        "axes.linewidth": 0.5,
        "axes.labelsize": 7,
        "axes.titlesize": 7,
        "xtick.labelsize": 6.5,
        "ytick.labelsize": 6.5,
        "ytick.major.width": 0.5,
        "ytick.major.size": 2,
        "image.interpolation": "nearest",
        "svg.fonttype": "none",
        "svg.hashsalt": "ebsdarchive",  # else its ids are random
        "pdf.fonttype": 42,
        "axes.unicode_minus": True,
    }
    with matplotlib.rc_context(settings):
        yield


@dataclass
class Page:
    """A figure whose axes are placed in mm from the upper left corner."""

    width: float
    height: float

    def __post_init__(self) -> None:
        self.figure = Figure(figsize=(self.width * MM, self.height * MM))

    def axes(self, x: float, y: float, width: float, height: float, **options: Any) -> Any:
        """Axes of a size in mm with the upper left corner at (x, y)."""
        bottom = self.height - y - height
        place = (
            x / self.width,
            bottom / self.height,
            width / self.width,
            height / self.height,
        )
        return self.figure.add_axes(place, **options)

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        """Text at (x, y) mm; its upper left corner unless said otherwise."""
        options = {"ha": "left", "va": "top", **options}
        self.figure.text(x / self.width, 1 - y / self.height, text, **options)


def map_size(grid: Grid, width: float, tallest: float = TALLEST_MM) -> tuple[float, float]:
    """(width, height) in mm of a map at most `width` wide, in the scan's own proportions."""
    across, down = _extent(grid)
    height = width * down / across
    if height > tallest:
        return tallest * across / down, tallest
    return width, height


def raster_grid(grid: Grid, shape: tuple[int, int], per_step: int) -> Grid:
    """The square grid of a raster (rows, columns) with `per_step` samples on each step of a scan's
    grid, for `add_map`."""
    step_x, step_y = grid.step_x_um, grid.step_y_um
    known = step_x is not None and step_y is not None
    return replace(
        grid,
        kind="square",
        n_columns=shape[1],
        n_rows=shape[0],
        n_columns_even=None,
        step_x_um=step_x / per_step if step_x is not None and known else None,
        step_y_um=step_y / per_step if step_y is not None and known else None,
    )


def _extent(grid: Grid) -> tuple[float, float]:
    """Width and height of the area that the points stand for, in µm, or in steps if unknown."""
    step_x, step_y = _steps(grid)
    shift = 0.5 if grid.is_hexagonal else 0.0
    return (grid.n_columns + shift) * step_x, grid.n_rows * step_y


def _steps(grid: Grid) -> tuple[float, float]:
    if grid.step_x_um is not None and grid.step_y_um is not None:
        return grid.step_x_um, grid.step_y_um
    return 1.0, grid.row_distance


def add_map(
    page: Page,
    values: npt.NDArray,
    grid: Grid,
    at: tuple[float, float],
    size: tuple[float, float],
    *,
    scale_bar: bool = True,
    **shown: Any,
) -> Any:
    """Draw a map (n_rows, n_columns) or (n_rows, n_columns, 3) in its place; returns the image.

    Points are cells without interpolation, those of odd rows of a hexagonal grid moved by half a
    step. A scale bar of a round length stands below.
    """
    across, down = _extent(grid)
    axes = page.axes(*at, *size)
    if grid.is_hexagonal:
        values = _bricks(values)
    image = axes.imshow(values, extent=(0, across, down, 0), aspect="auto", **shown)
    axes.set(xticks=[], yticks=[])
    if scale_bar:
        _add_scale_bar(page, grid, at, size)
    return image


def _bricks(values: npt.NDArray) -> npt.NDArray:
    """Rows of a hexagonal grid as rows of bricks: each point twice, odd rows moved by one."""
    n_rows, n_columns = values.shape[:2]
    wide = np.full((n_rows, 2 * n_columns + 1, *values.shape[2:]), np.nan)
    for row in range(n_rows):
        start = row % 2
        wide[row, start : start + 2 * n_columns] = np.repeat(values[row], 2, axis=0)
    return wide


def _add_scale_bar(
    page: Page, grid: Grid, at: tuple[float, float], size: tuple[float, float]
) -> None:
    across, _ = _extent(grid)
    unit = "µm" if grid.step_x_um is not None and grid.step_y_um is not None else "steps"
    length = _round_length(across / 4)
    axes = page.axes(at[0], at[1] + size[1], size[0], BAR_HEIGHT)
    axes.set(xlim=(0, across), ylim=(BAR_HEIGHT, 0))
    axes.axis("off")
    axes.plot([0, length], [2.2, 2.2], color="black", linewidth=1.6, solid_capstyle="butt")
    axes.text(length + 0.02 * across, 2.2, f"{length:g} {unit}", va="center", ha="left")


def _round_length(length: float) -> float:
    """The largest of 1, 2, 5, 10, 20, … that is not above `length`."""
    power = 10.0 ** math.floor(math.log10(length))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= length * (1 + 1e-9))


def add_colour_bar(
    page: Page, image: Any, at: tuple[float, float], height: float, label: str, extend: str
) -> Axes:
    """A colour bar, 2.5 mm wide, beside what it explains."""
    axes = page.axes(*at, 2.5, height)
    bar = page.figure.colorbar(image, cax=axes, extend=extend, extendfrac=0.03)
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)
    axes.ticklabel_format(axis="y", scilimits=(-4, 5), useMathText=True)
    made: Axes = axes
    return made


def limits_of(
    values: npt.NDArray, low_pct: float = 1.0, high_pct: float = 99.0
) -> tuple[float, float, str]:
    """Lowest and highest value shown, and the ends at which a colour bar says there is more."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return 0.0, 1.0, "neither"
    low, high = (float(end) for end in np.percentile(known, [low_pct, high_pct]))
    if not low < high:
        low, high = float(known.min()), float(known.max())
        if not low < high:
            return low - 0.5, high + 0.5, "neither"
    below, above = bool(known.min() < low), bool(known.max() > high)
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    return low, high, ends.get((below, above), "both")


def save_figure(figure: Figure, path: Path, suffix: str) -> None:
    """Save as png, pdf or svg, without the time, so that the same data gives the same file."""
    said: dict[str, dict[str, Any]] = {
        ".png": {"Software": "ebsdarchive"},
        ".pdf": {"Creator": "ebsdarchive", "CreationDate": None},
        ".svg": {"Creator": "ebsdarchive", "Date": None},
    }
    figure.savefig(path, format=suffix[1:], dpi=DPI, metadata=said[suffix])
