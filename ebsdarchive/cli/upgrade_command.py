"""``ebsdarchive upgrade``."""

from __future__ import annotations

import click

from ebsdarchive.cli.options import PathType


@click.command("upgrade")
@click.argument("archive", type=PathType)
@click.option("-o", "--output", type=PathType, required=True, help="Archive to write.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(archive: str, output: str, force: bool) -> None:
    """Rewrite ARCHIVE, of an older format version, as one of the current version.

    \b
    Example:
      ebsdarchive upgrade old.h5 -o new.h5
    """
    from ebsdarchive import upgrade

    before, after = upgrade(archive, output, force=force)
    click.echo(f"{output}: format {before} -> {after}")
