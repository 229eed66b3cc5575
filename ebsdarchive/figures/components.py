"""The neural field's own view of a scan: principal components as colour, and its basis patterns."""

from __future__ import annotations

import math
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
    PAGE_MM,
    Page,
    add_map,
    map_size,
)

__all__ = ["draw_basis", "draw_pca", "lab_colours"]

BASIS_PATTERNS = 17  # beside the mean: three lines of six
PER_LINE = 6
LINE = 3.2  # of text, in mm


def draw_pca(archive: Archive, options: PlotOptions, progress: Callable[..., None]) -> Any:
    """The first three principal components of the field at the points of the scan, as colour."""
    from ebsdarchive.neural.principal import principal_components

    field = _field(archive)
    found = principal_components(field, 3)
    scores = np.zeros((archive.grid.size, 3))
    scores[:, : found.scores.shape[1]] = found.scores
    width = options.width_mm or COLUMN_MM
    size = map_size(archive.grid, width - 2 * MARGIN)
    page = Page(size[0] + 2 * MARGIN, size[1] + MARGIN + BAR_HEIGHT + 3 * LINE + 1)
    colours = archive.grid.to_map(lab_colours(scores))
    colours = np.where(np.isnan(colours), 1.0, colours)
    add_map(page, colours, archive.grid, (MARGIN, MARGIN), size)
    meanings = ("lightness", "blue to yellow", "green to red")
    for i, (share, meaning) in enumerate(zip(found.shares, meanings, strict=False)):
        below = MARGIN + size[1] + BAR_HEIGHT + i * LINE - 1
        page.text(MARGIN, below, f"component {i + 1}: {meaning}, {share:.1%} of variance")
    return page.figure


def lab_colours(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n, 3) scores to (n, 3) sRGB in 0 … 1, by way of CIELAB.

    The first is lightness and the second blue to yellow, which readers who do not tell red from
    green see as well; only the third runs from green to red. Each runs from its 2nd to its 98th
    percentile.
    """
    from skimage.color import lab2rgb

    low, high = np.percentile(scores, [2, 98], axis=0)
    unit = np.clip((scores - low) / np.where(high > low, high - low, 1.0), 0, 1)
    signed = 2 * unit - 1
    lab = np.stack([30 + 60 * unit[:, 0], 45 * signed[:, 2], 55 * signed[:, 1]], axis=1)
    return np.asarray(lab2rgb(lab[None])[0])


def draw_basis(archive: Archive, options: PlotOptions, progress: Callable[..., None]) -> Any:
    """The mean and the first basis patterns, in the gauge of the principal components."""
    from ebsdarchive.neural.principal import principal_components

    field = _field(archive)
    found = principal_components(field, BASIS_PATTERNS)
    mask, mean = field.tensors.mask, field.tensors.mean_pattern
    images = [np.where(mask, mean, np.nan), *found.images]
    titles = ["mean pattern"]
    pixels = math.sqrt(mask.sum())
    titles += [
        f"{i + 1}: {std / pixels:.3g} counts"
        for i, std in enumerate(found.std_counts[: len(found.images)])
    ]
    width = options.width_mm or PAGE_MM
    sy, sx = mask.shape
    cell = (width - 2 * MARGIN - (PER_LINE - 1) * 2) / PER_LINE
    tall = cell * sy / sx
    lines = math.ceil(len(images) / PER_LINE)
    page = Page(width, MARGIN + lines * (tall + LINE + 2) + 2.6 * LINE)
    for i, (image, title) in enumerate(zip(images, titles, strict=True)):
        x = MARGIN + (i % PER_LINE) * (cell + 2)
        y = MARGIN + (i // PER_LINE) * (tall + LINE + 2)
        page.text(x, y, title)
        axes = page.axes(x, y + LINE, cell, tall)
        inside = image[mask]
        if i == 0:
            low, high = np.percentile(inside, [0.5, 99.5])
        else:
            high = float(np.percentile(np.abs(inside), 99.5))
            low = -high
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, aspect="auto")
        axes.axis("off")
    page.text(
        MARGIN,
        page.height - 2.4 * LINE,
        f"First {len(found.images)} of {field.tensors.rank - 1} basis patterns, turned to "
        f"principal components, each between plus and minus its largest value.\nCounts: what it "
        f"adds to a pixel, root mean square over scan and screen.",
    )
    return page.figure


def _field(archive: Archive) -> Any:
    from ebsdarchive.neural.storage import read_tensor_field

    if "neural" not in archive.layers:
        raise MissingLayerError(
            f"{archive.path}: expected a neural layer, found {', '.join(archive.layers)}; make one "
            f"with `ebsdarchive fit`"
        )
    field = read_tensor_field(archive.path)
    if field.tensors.rank < 2:
        raise MissingLayerError(
            f"{archive.path}: expected a field of rank 2 or more, found the mean pattern alone"
        )
    return field
