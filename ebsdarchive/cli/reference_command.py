"""``ebsdarchive reference``."""

from __future__ import annotations

import click

from ebsdarchive.cli.options import PathType


@click.command("reference")
@click.argument("archive", type=PathType)
@click.option("-o", "--output", type=PathType, required=True, help="Reference to write: .json.")
@click.option("--layer", default="raw", show_default=True, help="Raw, or a restored layer.")
@click.option("--url", help="Where the archive is or will be.  [default: where it is now]")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(archive: str, output: str, layer: str, url: str | None, force: bool) -> None:
    """Write a reference by which Zarr reads the patterns of ARCHIVE in place.

    fsspec, kerchunk and VirtualiZarr open it. Profiles compat and none need numcodecs alone,
    archive needs imagecodecs and not VirtualiZarr; of others, `ebsdarchive repack` makes one of
    these. The reference holds for the file as it is: make it again after a change.

    \b
    Examples:
      ebsdarchive reference scan.archive.h5 -o scan.json
      ebsdarchive reference cloud.h5 --url https://example.org/cloud.h5 -o cloud.json
    """
    from ebsdarchive import reference

    count = reference(archive, output, layer=layer, url=url, force=force)
    click.echo(f"{output}: {count} chunks of {layer}")
