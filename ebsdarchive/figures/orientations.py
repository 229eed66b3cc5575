"""Orientation maps in the colours of inverse pole figures, with their keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.oriented_layers import read_oriented_layer
from ebsdarchive.errors import ArgumentError
from ebsdarchive.figures.kinds import PlotOptions
from ebsdarchive.figures.page import BAR_HEIGHT, COLUMN_MM, MARGIN, Page, add_map, map_size

__all__ = ["draw_ipf"]

KEY_MM = 22.0
NOT_INDEXED = (0.0, 0.0, 0.0)
VAGUE_DEG = 10.0  # from which on the samples of an estimate do not agree
PALE = 0.6  # of white in the colours of such points


def draw_ipf(archive: Archive, options: PlotOptions, progress: Callable[..., None]) -> Any:
    """The crystal direction along a sample axis at each point, in orix's (TSL's) colours; of an
    estimate pale where its samples do not agree."""
    from orix.plot import IPFColorKeyTSL
    from orix.quaternion import Orientation
    from orix.quaternion import symmetry as symmetries
    from orix.vector import Vector3d

    axes_of_sample = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}
    if options.direction not in axes_of_sample:
        raise ArgumentError(f"direction: expected x, y or z, found {options.direction!r}")
    direction = Vector3d(axes_of_sample[options.direction])
    with archive.group() as group:
        found = read_oriented_layer(group, options.map_name)
    orientations, grid = found.orientations, found.grid
    colours = np.full((grid.size, 3), NOT_INDEXED, float)
    groups = {group.name: group for group in symmetries._groups}
    keys = []
    for phase in found.phases:
        symmetry = groups[phase.point_group or "1"].laue
        rows = np.flatnonzero(orientations.phase_id == phase.phase_id)
        if rows.size == 0:
            continue
        key = IPFColorKeyTSL(symmetry, direction=direction)
        turned = Orientation(orientations.quaternions[rows], symmetry)
        colours[rows] = key.orientation2color(turned)
        keys.append((phase.name, symmetry))
    if found.estimate:
        vague = orientations.properties["fit"] > VAGUE_DEG
        colours[vague] = (1 - PALE) * colours[vague] + PALE
    width = options.width_mm or COLUMN_MM
    size = map_size(grid, width - 2 * MARGIN - KEY_MM - 4)
    needed = len(keys) * (KEY_MM + 4) + 8
    page = Page(
        size[0] + 2 * MARGIN + KEY_MM + 4, MARGIN + max(size[1] + BAR_HEIGHT, needed + MARGIN)
    )
    shown = grid.to_map(colours)
    add_map(page, np.where(np.isnan(shown), 1.0, shown), grid, (MARGIN, MARGIN), size)
    beside = MARGIN + size[0] + 3
    below = MARGIN
    for name, symmetry in keys:
        page.text(beside, below, f"{name} ({symmetry.name})")
        axes = page.axes(
            beside + 3, below + 5, KEY_MM - 7, KEY_MM - 7, projection="ipf", symmetry=symmetry
        )
        axes.plot_ipf_color_key(show_title=False)
        _shrink_labels(axes)
        below += KEY_MM + 4
    page.text(beside, below, f"IPF-{options.direction.upper()}")
    missing = int(np.count_nonzero(orientations.phase_id < 0))
    if missing:
        page.text(beside, below + 3.4, f"black: {missing} not\nindexed")
    if found.estimate:
        page.text(
            beside, below + 3.4, f"estimate; pale:\nsamples differ by\nmore than {VAGUE_DEG:g}°"
        )
    return page.figure


def _shrink_labels(axes: Any) -> None:
    """orix writes the corners' directions in the size of a title."""
    for text in axes.texts:
        text.set_fontsize(7)
