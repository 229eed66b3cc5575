"""The diffraction gradient and the boundaries between grains, on the raster they were found on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.outlines import Outlines, read_outlines
from ebsdarchive.errors import MissingLayerError
from ebsdarchive.figures.kinds import PlotOptions
from ebsdarchive.figures.maps import draw_value_map
from ebsdarchive.figures.page import COLUMN_MM, MARGIN, Page, add_map, map_size, raster_grid
from ebsdarchive.geometry import Grid

__all__ = ["draw_boundaries", "draw_gradient", "draw_profile"]

Progress = Callable[[float, float], None]
# Okabe and Ito's colours, lightened; grains are told apart by their outlines, not by these alone
GRAIN_COLOURS = ("#f3c26b", "#a9d8f2", "#7fcdb5", "#f7f0a3", "#7fb6d9", "#eaa982", "#e0b4cf")


def draw_gradient(archive: Archive, options: PlotOptions, progress: Progress) -> Any:
    """S(x, y) in counts per step, in cividis."""
    values, grid = _on_its_raster(archive, "gradient")
    return draw_value_map(values, grid, "Diffraction gradient S (counts/step)", "cividis", options)


def draw_boundaries(archive: Archive, options: PlotOptions, progress: Progress) -> Any:
    """Grains in a few colours, such that neighbours differ, and their boundaries in black."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import ListedColormap

    labels, grid = _on_its_raster(archive, "grains")
    size = map_size(grid, (options.width_mm or COLUMN_MM) - 2 * MARGIN)
    page = Page(size[0] + 2 * MARGIN, size[1] + 2 * MARGIN + 6.0)
    colours = _coloured(labels)
    count = max(len(GRAIN_COLOURS), int(colours.max()) + 1)
    shown = ListedColormap([GRAIN_COLOURS[i % len(GRAIN_COLOURS)] for i in range(count)])
    image = add_map(
        page, colours[labels], grid, (MARGIN, MARGIN), size,
        cmap=shown, vmin=-0.5, vmax=count - 0.5, interpolation="nearest",
    )  # fmt: skip
    # sample (0, 0), which stands at position (0, 0), is half of one from the picture's corner
    right, bottom = image.get_extent()[1:3]
    sample = np.array([right / labels.shape[1], bottom / labels.shape[0]])
    per_step = _samples_per_step(archive, "grains")
    lines = [(line.xy * per_step + 0.5) * sample for line in _outlines(archive).boundaries]
    image.axes.add_collection(LineCollection(lines, colors="black", linewidths=0.7))
    return page.figure


def draw_profile(xy: npt.NDArray[np.float64], values: npt.NDArray, grid: Grid, label: str) -> Any:
    """Values at the positions `xy` (m, 2) of a path, in steps, over its length."""
    unit, scale = "steps", np.array([1.0, grid.row_distance])
    if grid.step_x_um is not None and grid.step_y_um is not None:
        unit, scale = "µm", np.array([grid.step_x_um, grid.step_y_um])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy * scale, axis=0).T))])
    page = Page(COLUMN_MM, 50.0)
    axes = page.axes(16.0, MARGIN, COLUMN_MM - 16.0 - 2 * MARGIN, 50.0 - 10.0 - MARGIN)
    axes.plot(along, values, color="black", linewidth=0.8)
    axes.set_xlim(0.0, along[-1])
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel(f"Distance along the path ({unit})")
    axes.set_ylabel(label)
    axes.ticklabel_format(axis="y", scilimits=(-4, 5), useMathText=True)
    return page.figure


def _coloured(labels: npt.NDArray) -> npt.NDArray[np.int64]:
    """A colour for each label, the first that none of its neighbours has (greedy colouring)."""
    pairs = np.concatenate(
        [
            np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=1),
            np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=1),
        ]
    )
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    neighbours: list[set[int]] = [set() for _ in range(int(labels.max()) + 1)]
    for a, b in pairs:
        neighbours[a].add(int(b))
        neighbours[b].add(int(a))
    colours = np.full(len(neighbours), -1, dtype=np.int64)
    for label in range(len(neighbours)):
        taken = {int(colours[other]) for other in neighbours[label]}
        # begin at another colour for each label, so that all of them are used
        order = [(label + k) % len(GRAIN_COLOURS) for k in range(len(GRAIN_COLOURS))]
        order += range(len(GRAIN_COLOURS), len(neighbours) + len(GRAIN_COLOURS))
        colours[label] = next(colour for colour in order if colour not in taken)
    return colours


def _outlines(archive: Archive) -> Outlines:
    """The boundaries that `boundaries` stored."""
    layer = _found(archive, "boundaries")
    with archive.group() as group:
        return read_outlines(group, layer)


def _found(archive: Archive, name: str) -> str:
    """The layer of a map of `boundaries`; an error that says how to make it where it is missing."""
    layer = f"maps/{name}"
    if layer not in archive.layers:
        raise MissingLayerError(
            f"{archive.path}: expected the map {layer}, found {', '.join(archive.layers)}; make it "
            f"with `ebsdarchive boundaries`"
        )
    return layer


def _samples_per_step(archive: Archive, name: str) -> int:
    return int(archive.attributes(_found(archive, name)).get("samples_per_step", 1))


def _on_its_raster(archive: Archive, name: str) -> tuple[npt.NDArray, Grid]:
    """A map that `boundaries` wrote, and the square grid of its raster."""
    per_step = _samples_per_step(archive, name)
    values, grid = archive.map(name), archive.grid
    return values, raster_grid(grid, values.shape, per_step)
