"""``ebsdarchive plot``."""

from __future__ import annotations

from typing import Any

import click

from ebsdarchive.cli.options import LayerOption, PathType, pair, progress_bar
from ebsdarchive.figures.kinds import KINDS


@click.command("plot")
@click.argument("archive", type=PathType)
@click.option(
    "--what",
    type=click.Choice(list(KINDS)),
    required=True,
    help="; ".join(f"{name}: {kind.shows}" for name, kind in KINDS.items()) + ".",
)
@click.option("-o", "--output", type=PathType, required=True, help="File: .png, .pdf or .svg.")
@LayerOption
@click.option(
    "--map", "map_name", metavar="NAME", help="Orientation map, for ipf, or images, for light."
)
@click.option(
    "--direction",
    type=click.Choice(["x", "y", "z"]),
    default="z",
    show_default=True,
    help="Of the sample, for ipf.",
)
@click.option(
    "--point", "points", type=pair, multiple=True, help="Position x,y, for patterns; repeat it."
)
@click.option(
    "--flat/--no-flat",
    default=True,
    help="Show patterns with the background divided out, or as counts.  [default: flat]",
)
@click.option("--width", "width_mm", type=float, metavar="MM", help="Width of the picture.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(archive: str, what: str, output: str, **values: Any) -> None:
    """Draw a picture of ARCHIVE, fit for a paper.

    \b
    Examples:
      ebsdarchive plot scan.archive.h5 --what ipf -o orientations.pdf
      ebsdarchive plot scan.archive.h5 --what patterns --point 3,4 --point 12,9 -o triples.png
    """
    from ebsdarchive import plot

    bar = progress_bar()
    shows = plot(archive, what, output, progress=bar, **values)
    bar.end()
    click.echo(f"{output}: {shows}")
