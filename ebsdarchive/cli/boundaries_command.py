"""``ebsdarchive boundaries``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from ebsdarchive.cli.options import CorrelationOption, PathType, SmoothingOption, progress_bar


@click.command("boundaries")
@click.argument("archive", type=PathType)
@click.option(
    "--resolution",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    metavar="K",
    help="Samples of the maps per scan step.",
)
@CorrelationOption
@click.option(
    "--min-size",
    type=click.FloatRange(0),
    default=3.0,
    show_default=True,
    metavar="POINTS",
    help="Area of the smallest grain.",
)
@SmoothingOption
@click.option(
    "-o",
    "--output",
    type=PathType,
    multiple=True,
    help="File for the boundaries as polylines, .csv or .geojson; may be given twice.",
)
@click.option("--force", is_flag=True, help="Replace existing maps and files.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def command(archive: str, as_json: bool, **values: Any) -> None:
    """Find grains and their boundaries in ARCHIVE by its neural layer, without indexing.

    Grain labels and the diffraction gradient S are stored as maps, boundaries as polylines with S
    along them. In files their positions (x, y) are in steps, and in um where the step is known.

    \b
    Example:
      ebsdarchive boundaries scan.archive.h5 --resolution 5 -o grains.geojson
    """
    from ebsdarchive import boundaries

    bar = progress_bar()
    found = boundaries(archive, progress=bar, **values)
    bar.end()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found)))
        return
    um = found.length_um is not None
    unit = "um" if um else "steps"
    length = found.length_um if um else found.length_steps
    mean = found.mean_diameter_um if um else found.mean_diameter_steps
    median = found.median_diameter_um if um else found.median_diameter_steps
    click.echo(
        f"{archive}: {found.grains} grains, mean diameter {mean:.4g} {unit} (median {median:.4g}), "
        f"{found.boundaries} boundaries of {length:.4g} {unit} in all"
    )
    if found.gradient_boundaries is not None:
        click.echo(
            f"  gradient S: median {found.gradient_median:.4g} counts/step, at boundaries "
            f"{found.gradient_boundaries:.4g}"
        )
    rows, columns = found.shape
    *maps, lines = found.layers
    click.echo(f"  {' and '.join(maps)}: {columns} x {rows}, {found.resolution} per step; {lines}")
    for target in found.outputs:
        click.echo(f"  {target}")
