"""``ebsdarchive simulate``."""

from __future__ import annotations

from typing import Any

import click

from ebsdarchive.cli.export_command import report
from ebsdarchive.cli.options import PathType, columns_rows, progress_bar


@click.command("simulate")
@click.argument("output", type=PathType)
@click.option(
    "--shape",
    type=columns_rows,
    default="60,40",
    show_default=True,
    help="Columns and rows of the scan, NX,NY.",
)
@click.option(
    "--pattern-shape",
    type=columns_rows,
    default="60,60",
    show_default=True,
    help="Columns and rows of a pattern, NX,NY.",
)
@click.option(
    "--grains", type=click.IntRange(1), default=30, show_default=True, help="Number of grains."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of all random numbers.")
@click.option("--hexagonal", is_flag=True, help="Hexagonal grid.")
@click.option(
    "--step",
    "step_um",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Step in um.",
)
@click.option(
    "--dtype",
    type=click.Choice(["uint8", "uint16"]),
    default="uint16",
    show_default=True,
    help="Type and range of the camera's counts.",
)
@click.option(
    "--electrons",
    type=click.FloatRange(0, min_open=True),
    help="Electrons per pixel on average; fewer make more noise.",
)
@click.option(
    "--gradient",
    "gradient_deg",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Spread of orientations inside a grain, in degrees.",
)
@click.option(
    "--mixing",
    "mixing_width",
    type=click.FloatRange(0),
    default=0.4,
    show_default=True,
    help="Width of the interaction volume in steps.",
)
@click.option(
    "--cell-size",
    type=click.FloatRange(1),
    help="Deformed grains: mean size of their cells in steps.  [default: no cells]",
)
@click.option(
    "--cell-spread",
    "cell_spread_deg",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Mean disorientation between neighbouring cells, in degrees.",
)
@click.option(
    "--twins",
    "twin_fraction",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of grains with annealing twins; cubic phases only.",
)
@click.option(
    "--master-pattern",
    type=PathType,
    help="Master pattern file.  [default: kikuchipy's bundled Ni]",
)
@click.option("--phase", metavar="NAME", help="Phase in a master pattern file with several.")
@click.option("--disc/--no-disc", default=None, help="Round screen.")
@click.option("--clean", is_flag=True, help="Expected counts as float32, without noise.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(
    output: str,
    shape: tuple[int, int],
    pattern_shape: tuple[int, int],
    **values: Any,
) -> None:
    """Simulate a scan of a polycrystal with known orientations into OUTPUT (.h5, .up1 or .up2).

    \b
    Example:
      ebsdarchive simulate scan.h5 --shape 100,80 --grains 40 --seed 1
    """
    from ebsdarchive import simulate

    bar = progress_bar()
    written = simulate(
        output,
        grid_shape=(shape[1], shape[0]),
        pattern_shape=(pattern_shape[1], pattern_shape[0]),
        progress=bar,
        **values,
    )
    bar.end()
    click.echo("\n".join(report(written)["lines"]))
