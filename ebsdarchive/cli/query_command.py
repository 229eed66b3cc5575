"""``ebsdarchive query``."""

from __future__ import annotations

import json
from typing import Any

import click

from ebsdarchive.cli.export_command import report
from ebsdarchive.cli.options import (
    FillOption,
    LayerOption,
    PathType,
    columns_rows,
    pair,
    path_options,
    progress_bar,
    region,
)


@click.command("query")
@click.argument("archive", type=PathType)
@click.option(
    "--what",
    type=click.Choice(["patterns", "gradient"]),
    default="patterns",
    show_default=True,
    help="Patterns, or S: their change in counts per step, from the neural layer's derivative.",
)
@path_options(required=False)
@click.option("--points", type=PathType, help="At the positions of a CSV file with columns x, y.")
@click.option("--point", type=pair, help="At one position x,y.")
@click.option("--grid", "corners", type=region, help="On a raster between two corners.")
@click.option("--shape", type=columns_rows, help="Columns and rows of the raster, NX,NY.")
@click.option("--upsample", type=click.IntRange(1), help="The whole scan, K times finer.")
@click.option(
    "--regrid", type=click.Choice(["square", "hex"]), help="The whole scan on a grid of this kind."
)
@click.option(
    "--step",
    "step_um",
    type=click.FloatRange(0, min_open=True),
    metavar="UM",
    help="Step of that grid in um.  [default: the scan's]",
)
@LayerOption
@click.option(
    "--interpolation",
    type=click.Choice(["sharp", "linear", "field"]),
    help="Between measured points: sharp at boundaries, linear, or the network's own values.  "
    "[default: sharp for the neural layer, else linear]",
)
@FillOption
@click.option(
    "--smoothing",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    metavar="STEPS",
    help="Of S: width by which the field is smoothed, against what it makes of noise.",
)
@click.option("--dtype", type=click.Choice(["uint8", "uint16", "float32"]), help="Type to write.")
@click.option(
    "-o",
    "--output",
    type=PathType,
    required=True,
    help="File to write: .png, or as export writes (.h5, .up2, .nc ...); of S .csv, .npz, .nc or "
    ".png.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def command(
    archive: str,
    output: str,
    points: str | None,
    shape: tuple[int, int] | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Patterns of ARCHIVE, or how fast they change, anywhere in the scan, between points too.

    Positions are (column, row), counted in steps from the first point; fractions lie between
    measured points. The neural layer answers unless --layer names another.

    \b
    Examples:
      ebsdarchive query scan.archive.h5 --path 2,3:30,24 --samples 50 -o path.h5
      ebsdarchive query scan.archive.h5 --point 10.5,7.25 -o pattern.png
      ebsdarchive query scan.archive.h5 --regrid hex -o hexagonal.up2
      ebsdarchive query scan.archive.h5 --what gradient --path 2,3:20,15 --smoothing 0.5 -o s.csv
    """
    from ebsdarchive import query
    from ebsdarchive.verbs.places import read_positions

    bar = progress_bar()
    written = query(
        archive,
        output,
        points=None if points is None else read_positions(points),
        shape=None if shape is None else (shape[1], shape[0]),
        progress=bar,
        **values,
    )
    bar.end()
    click.echo(json.dumps(report(written)) if as_json else "\n".join(report(written)["lines"]))
