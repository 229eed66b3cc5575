"""``ebsdarchive extract``."""

from __future__ import annotations

import os

import click

from ebsdarchive.cli.completion import layer_names
from ebsdarchive.cli.options import PathType, progress_bar, readable_bytes


@click.command("extract")
@click.argument("archive", type=PathType)
@click.option(
    "--layers",
    required=True,
    metavar="NAME[,NAME...]",
    shell_complete=layer_names,
    help="Layers to take: raw, neural, maps, models, restored, auxiliary, or single ones.",
)
@click.option("-o", "--output", type=PathType, required=True, help="Archive to write.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(archive: str, layers: str, output: str, force: bool) -> None:
    """Write an archive with only some layers of ARCHIVE: weights without terabytes.

    \b
    Example:
      ebsdarchive extract scan.archive.h5 --layers neural -o share.h5
    """
    from ebsdarchive import extract

    names = [name.strip() for name in layers.split(",") if name.strip()]
    bar = progress_bar()
    taken = extract(archive, names, output, force=force, progress=bar)
    bar.end()
    click.echo(f"{output}: {', '.join(taken)}, {readable_bytes(os.path.getsize(output))}")
