"""``plot``: a picture of an archive for a paper."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.store import replacing
from ebsdarchive.errors import ArgumentError
from ebsdarchive.figures.kinds import KINDS, PlotOptions, draw
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_free

__all__ = ["plot"]

ENDINGS = (".png", ".pdf", ".svg")
WIDTHS_MM = (30.0, 1000.0)


def plot(
    path: str | os.PathLike[str],
    what: str,
    output: str | os.PathLike[str],
    *,
    layer: str | None = None,
    map_name: str | None = None,
    direction: str = "z",
    points: Sequence[tuple[float, float]] = (),
    flat: bool = True,
    width_mm: float | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> str:
    """Draw a picture of an archive: maps with a scale bar, in colours that all readers tell apart.

    Parameters
    ----------
    what
        One of `ebsdarchive.figures.kinds.KINDS`: mean, iq, mae, pca, basis, patterns, ipf.
    output
        png (300 dpi), pdf or svg; text stays text in the latter two.
    layer
        Layer of patterns: for mean, iq and patterns.
    map_name
        Orientation map, where there are several: for ipf; auxiliary layer: for light.
    direction
        Of the sample, "x", "y" or "z": for ipf.
    points
        Positions (x, y) in steps: for patterns.
    flat
        Whether patterns are shown with the static background divided out.
    width_mm
        Width of the picture; by default one column of a journal, 85 mm, or two, 180 mm, for sheets.

    Returns
    -------
    str
        What the picture shows.

    Raises
    ------
    MissingLayerError
        If the archive lacks what the picture is of.
    """
    archive = open_archive(path)
    require_free(output, path, force=force)
    suffix = Path(output).suffix.lower()
    if what not in KINDS:
        raise ArgumentError(f"plot: expected one of {', '.join(KINDS)}, found {what!r}")
    if suffix not in ENDINGS:
        raise ArgumentError(
            f"{os.fspath(output)}: expected a file that ends in {', '.join(ENDINGS)}, found "
            f"{suffix or 'no ending'}"
        )
    if width_mm is not None and not WIDTHS_MM[0] <= width_mm <= WIDTHS_MM[1]:
        raise ArgumentError(
            f"width: expected {WIDTHS_MM[0]:g} to {WIDTHS_MM[1]:g} mm, found {width_mm:g}"
        )
    options = PlotOptions(layer, map_name, direction, tuple(points), flat, width_mm)
    from ebsdarchive.figures.page import save_figure, style

    with style():
        figure = draw(what, archive, options, stage(progress, "drawing"))
        with replacing(output, force=force) as temporary:
            save_figure(figure, temporary, suffix)
    return KINDS[what].shows
