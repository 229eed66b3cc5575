"""The diffraction gradient and the boundaries between grains, on the raster they were found on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.errors import MissingLayerError
from ebsdarchive.figures.kinds import PlotOptions
from ebsdarchive.figures.maps import draw_value_map
from ebsdarchive.figures.page import COLUMN_MM, MARGIN, Page, add_map, map_size, raster_grid
from ebsdarchive.geometry import Grid

__all__ = ["draw_boundaries", "draw_gradient"]

Progress = Callable[[float, float], None]
# Okabe and Ito's colours, lightened; grains are told apart by their outlines, not by these alone
GRAIN_COLOURS = ("#f3c26b", "#a9d8f2", "#7fcdb5", "#f7f0a3", "#7fb6d9", "#eaa982", "#e0b4cf")


def draw_gradient(archive: Archive, options: PlotOptions, progress: Progress) -> Any:
    """S(x, y) in counts per step, in cividis."""
    values, grid = _on_its_raster(archive, "gradient")
    return draw_value_map(values, grid, "Diffraction gradient S (counts/step)", "cividis", options)


def draw_boundaries(archive: Archive, options: PlotOptions, progress: Progress) -> Any:
    """Grains in a few colours, such that neighbours differ, and their boundaries in black."""
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
    left, right, bottom, top = image.get_extent()
    rows, columns = labels.shape
    across, down = (right - left) / columns, (bottom - top) / rows
    lines = []
    for axis in (0, 1):
        first = labels[:, :-1] if axis == 1 else labels[:-1]
        second = labels[:, 1:] if axis == 1 else labels[1:]
        for row, column in np.argwhere(first != second):
            x, y = column * across, row * down
            if axis == 1:
                lines.append([(x + across, y), (x + across, y + down)])
            else:
                lines.append([(x, y + down), (x + across, y + down)])
    from matplotlib.collections import LineCollection

    image.axes.add_collection(LineCollection(lines, colors="black", linewidths=0.5))
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


def _on_its_raster(archive: Archive, name: str) -> tuple[npt.NDArray, Grid]:
    """A map that `boundaries` wrote, and the square grid of its raster."""
    layer = f"maps/{name}"
    if layer not in archive.layers:
        raise MissingLayerError(
            f"{archive.path}: expected the map {layer}, found {', '.join(archive.layers)}; make it "
            f"with `ebsdarchive boundaries`"
        )
    values, grid = archive.map(name), archive.grid
    per_step = int(archive.attributes(layer).get("samples_per_step", 1))
    return values, raster_grid(grid, values.shape, per_step)
