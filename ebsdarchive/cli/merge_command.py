"""``ebsdarchive merge``."""

from __future__ import annotations

import click

from ebsdarchive.cli.options import PathType, progress_bar


@click.command("merge")
@click.argument("archive", type=PathType)
@click.argument("other", type=PathType)
@click.option("--force", is_flag=True, help="Replace layers that differ.")
def command(archive: str, other: str, force: bool) -> None:
    """Add to ARCHIVE the layers of OTHER, an archive of the same scan, that it lacks.

    \b
    Example:
      ebsdarchive merge scan.archive.h5 from-colleague.h5
    """
    from ebsdarchive import merge

    bar = progress_bar()
    added = merge(archive, other, force=force, progress=bar)
    bar.end()
    click.echo(f"{archive}: added {', '.join(added)}" if added else f"{archive}: nothing to add")
