"""The kinds of pictures that `plot` draws, and what it may be told.

A further kind is one entry here and one function (archive, options, progress) -> Figure, which is
imported when it is called for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ebsdarchive.archive.file import Archive
from ebsdarchive.errors import ArgumentError

__all__ = ["KINDS", "Kind", "PlotOptions", "draw"]


@dataclass(frozen=True)
class PlotOptions:
    """What a picture may be told.

    Parameters
    ----------
    layer
        Layer of patterns to draw from; each kind has its own default.
    map_name
        Orientation map or layer of light, where there are several.
    direction
        "x", "y" or "z" of the sample, for IPF colours.
    points
        Positions (x, y) in steps, for patterns.
    flat
        Whether patterns are shown with the static background divided out.
    width_mm
        Of the picture; None for the kind's own.
    """

    layer: str | None = None
    map_name: str | None = None
    direction: str = "z"
    points: tuple[tuple[float, float], ...] = ()
    flat: bool = True
    width_mm: float | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of picture: the function that draws it ("module:name"), and what it shows."""

    function: str
    shows: str


KINDS = {
    "mean": Kind("ebsdarchive.figures.maps:draw_mean", "mean intensity of each pattern"),
    "iq": Kind("ebsdarchive.figures.maps:draw_quality", "image quality, sharpness of the bands"),
    "mae": Kind("ebsdarchive.figures.maps:draw_error", "error of the neural layer at each point"),
    "pca": Kind("ebsdarchive.figures.components:draw_pca", "first principal components as colour"),
    "basis": Kind("ebsdarchive.figures.components:draw_basis", "basis patterns that were learned"),
    "patterns": Kind(
        "ebsdarchive.figures.triples:draw_patterns", "measured, decoded and difference"
    ),
    "s": Kind("ebsdarchive.figures.gradient:draw_gradient", "diffraction gradient S"),
    "boundaries": Kind("ebsdarchive.figures.gradient:draw_boundaries", "grains and boundaries"),
    "preview": Kind("ebsdarchive.figures.preview:draw_preview", "mean intensity and a pattern"),
    "light": Kind("ebsdarchive.figures.light:draw_light", "polarised light at the scan's points"),
    "ipf": Kind("ebsdarchive.figures.orientations:draw_ipf", "orientations, with a colour key"),
}


def draw(
    what: str, archive: Archive, options: PlotOptions, progress: Callable[[float, float], None]
) -> Any:
    """Draw a picture of an archive; returns a matplotlib Figure.

    Raises
    ------
    ArgumentError
        If the kind is not known.
    """
    if what not in KINDS:
        raise ArgumentError(f"plot: expected one of {', '.join(KINDS)}, found {what!r}")
    module, _, name = KINDS[what].function.partition(":")
    return getattr(importlib.import_module(module), name)(archive, options, progress)
