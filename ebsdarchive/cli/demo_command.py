"""``ebsdarchive demo``."""

from __future__ import annotations

import click

from ebsdarchive.cli.options import PathType, progress_bar


@click.command("demo")
@click.argument("scan", type=PathType, required=False)
@click.option(
    "-o", "--output", type=PathType, default="demo", show_default=True, help="Folder to write to."
)
@click.option(
    "--time",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="Time to train the neural field.",
)
def command(scan: str | None, output: str, seconds: float) -> None:
    """The main job on a real scan of a nickel superalloy, or on SCAN: compress, verify, query
    between the points, export to up2, index the export.

    \b
    Example:
      ebsdarchive demo -o demo
    """
    from ebsdarchive import demo

    bar = progress_bar()
    summary = demo(scan, output, seconds=seconds, progress=bar)
    bar.end()
    for line in summary.lines:
        click.echo(line)
    click.echo("wrote")
    for file in summary.files:
        click.echo(f"  {file}")
