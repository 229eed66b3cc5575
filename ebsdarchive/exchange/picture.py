"""Pictures of patterns for slides: a sheet of labelled patterns with a key of where they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ebsdarchive.geometry import Grid

__all__ = ["pattern_sheet", "to_grey"]

CELL = 168  # shown size of a pattern's longer side, in pixels of the picture
MARGIN = 12
MAX_PATTERNS = 200
_INK, _PAPER, _ACCENT = (20, 20, 20), (255, 255, 255), (0, 114, 178)


def pattern_sheet(
    patterns: npt.NDArray,
    positions: npt.NDArray[np.float64],
    grid: Grid,
    origin: dict[str, Any],
    overview: tuple[npt.NDArray, tuple[float, float]] | None = None,
    background: npt.NDArray | None = None,
    estimated: npt.NDArray[np.bool_] | None = None,
) -> Image.Image:
    """A picture of patterns in order, each with its position.

    All share one grey scale, from the 0.5th to the 99.5th percentile of their intensities. A grid
    of several rows keeps its shape; anything else becomes a strip, broken into lines for a slide.

    Parameters
    ----------
    patterns
        (n, sy, sx); beyond 200 only every k-th is shown, and the title says so.
    positions
        (n, 2) in steps.
    origin
        May hold "archive" and "layer", for the title.
    overview
        A map (ny, nx) and its extent in steps, drawn beside the patterns with the positions on it.
    background
        (sy, sx) pattern to divide by; the title says so.
    estimated
        (n,) patterns that are filled from their neighbours; their labels say so.
    """
    every = math.ceil(len(patterns) / MAX_PATTERNS)
    total = len(patterns)
    columns = grid.n_columns if grid.n_rows > 1 and every == 1 else None
    if estimated is None:
        estimated = np.zeros(total, bool)
    patterns, positions, estimated = patterns[::every], positions[::every], estimated[::every]
    grey = to_grey(patterns, background)
    sy, sx = patterns.shape[1:]
    scale = CELL / max(sy, sx)
    size = (max(1, round(sx * scale)), max(1, round(sy * scale)))
    font, small = ImageFont.load_default(18), ImageFont.load_default(13)
    label_height = 20
    cell = (size[0] + 6, size[1] + label_height + 6)
    if columns is None:
        columns = min(len(patterns), max(1, round(math.sqrt(len(patterns) * 16 / 9))))
    rows = math.ceil(len(patterns) / columns)
    head = 34
    left = MARGIN + (CELL + 2 * MARGIN if overview is not None else 0)
    title = f"{origin.get('archive', '')}  ·  layer {origin.get('layer', '?')}  ·  "
    title += f"{total} pattern{'s' if total > 1 else ''} of {sy} x {sx} px"
    if background is not None:
        title += "  ·  background divided out"
    if every > 1:
        title += f", every {every}th shown"
    width = max(left + columns * cell[0] + MARGIN, MARGIN * 2 + int(font.getlength(title)))
    height = head + max(rows * cell[1], CELL + 2 * label_height if overview is not None else 0)
    sheet = Image.new("RGB", (width, height + MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 8), title, fill=_INK, font=font)
    if overview is not None:
        _draw_overview(sheet, draw, overview, positions, small, head)
    for i, (image, (x, y)) in enumerate(zip(grey, positions, strict=True)):
        at = (left + (i % columns) * cell[0], head + (i // columns) * cell[1])
        shown = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
        sheet.paste(shown.convert("RGB"), at)
        label = f"({x:.4g}, {y:.4g})"
        if estimated[i]:
            label += " filled"
        centre = at[0] + (size[0] - small.getlength(label)) / 2
        colour = _ACCENT if estimated[i] else _INK
        draw.text((centre, at[1] + size[1] + 2), label, fill=colour, font=small)
    return sheet


def to_grey(patterns: npt.NDArray, background: npt.NDArray | None = None) -> npt.NDArray[np.uint8]:
    """Intensities as 8-bit grey on one scale, the outermost half percent at each end saturated.

    Parameters
    ----------
    background
        (sy, sx) pattern to divide by, so that bands stand out; where it is dark (below a tenth of
        its range), the picture is black.
    """
    values = np.nan_to_num(patterns.astype(np.float32))
    lit = np.ones(values.shape[-2:], bool)
    if background is not None:
        level = np.asarray(background, np.float32)
        low, high = np.percentile(level, [0.5, 99.5])
        lit = level > low + 0.1 * (high - low)
        if lit.any() and level[lit].min() > 0:
            values = np.where(lit, values / np.where(lit, level, 1.0), 0.0)
        else:
            lit[...] = True
    low, high = np.percentile(values[:, lit], [0.5, 99.5])
    span = high - low if high > low else 1.0
    return np.where(lit, np.clip((values - low) / span, 0, 1) * 255, 0).astype(np.uint8)


def _draw_overview(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    overview: tuple[npt.NDArray, tuple[float, float]],
    positions: npt.NDArray[np.float64],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    top: int,
) -> None:
    """The map of mean intensities at the left, with the positions on it."""
    values, (x_max, y_max) = overview
    ny, nx = values.shape
    scale = CELL / max(ny, nx)
    size = (max(1, round(nx * scale)), max(1, round(ny * scale)))
    image = Image.fromarray(to_grey(values[None])[0]).resize(size, Image.Resampling.NEAREST)
    sheet.paste(image.convert("RGB"), (MARGIN, top))
    draw.rectangle((MARGIN - 1, top - 1, MARGIN + size[0], top + size[1]), outline=_INK)
    at = [
        (
            MARGIN + (x + 0.5) / (x_max + 1) * size[0],
            top + (y + 0.5) / (y_max + 1) * size[1],
        )
        for x, y in positions
    ]
    if len(at) > 1:
        draw.line(at, fill=_ACCENT, width=2)
    for x, y in (at[0], at[-1]):
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=_ACCENT, outline=_PAPER)
    draw.text((MARGIN, top + size[1] + 4), "mean intensity", fill=_INK, font=font)
    unit = f"{x_max:g} x {y_max:g} steps"
    draw.text((MARGIN, top + size[1] + 20), unit, fill=_INK, font=font)
