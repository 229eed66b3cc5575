"""``ebsdarchive validate``."""

from __future__ import annotations

import click

from ebsdarchive.cli.options import PathType
from ebsdarchive.errors import ArchiveError


@click.command("validate")
@click.argument("archive", type=PathType)
def command(archive: str) -> None:
    """Check ARCHIVE against the schema of its format version.

    \b
    Example:
      ebsdarchive validate scan.archive.h5
    """
    from ebsdarchive import validate

    faults = validate(archive)
    for fault in faults:
        click.echo(fault)
    if faults:
        raise ArchiveError(
            f"{archive}: expected what the schema says, found {len(faults)} differences"
        )
    click.echo(f"{archive}: valid")
