"""``ebsdarchive query``."""

from __future__ import annotations

import json
from typing import Any

import click

from ebsdarchive.cli.export_command import report
from ebsdarchive.cli.options import (
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
@path_options(required=False)
@click.option("--points", type=PathType, help="At the positions of a CSV file with columns x, y.")
@click.option("--point", type=pair, help="At one position x,y.")
@click.option("--grid", "corners", type=region, help="On a raster between two corners.")
@click.option("--shape", type=columns_rows, help="Columns and rows of the raster, NX,NY.")
@click.option("--upsample", type=click.IntRange(1), help="The whole scan, K times finer.")
@LayerOption
@click.option(
    "--interpolation",
    type=click.Choice(["linear", "field"]),
    default="linear",
    show_default=True,
    help="Between measured points: linear, or the neural network's own values.",
)
@click.option("--dtype", type=click.Choice(["uint8", "uint16", "float32"]), help="Type to write.")
@click.option(
    "-o",
    "--output",
    type=PathType,
    required=True,
    help="File to write: .h5, .npz, .nc, .up1, .up2, .png, .tif, or as export writes.",
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
    """Patterns of ARCHIVE anywhere in the scan, between the measured points too.

    Positions are (column, row), counted in steps from the first point; fractions lie between
    measured points. The neural layer answers unless --layer names another.

    \b
    Examples:
      ebsdarchive query scan.archive.h5 --path 2,3:30,24 --samples 50 -o path.h5
      ebsdarchive query scan.archive.h5 --point 10.5,7.25 -o pattern.png
    """
    from ebsdarchive import query
    from ebsdarchive.verbs.querying import read_positions

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
