"""``ebsdarchive repack``."""

from __future__ import annotations

import click

from ebsdarchive.cli.options import PathType, progress_bar, readable_bytes


@click.command("repack")
@click.argument("archive", type=PathType)
@click.option(
    "--profile",
    required=True,
    metavar="CODING|LAYOUT|CODING,LAYOUT",
    help="Coding of the raw patterns: auto, archive, fast, compat, none. Layout: cloud, for "
    "reading over a network, or plain.",
)
@click.option("-o", "--output", type=PathType, required=True, help="Archive to write.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(archive: str, profile: str, output: str, force: bool) -> None:
    """Write ARCHIVE again: its raw patterns coded, or its file arranged, in another way.

    All layers come along, and what is not named stays as it is. The cloud layout has all metadata
    in front, so that info and query by URL take few requests; HDF5 1.10 and later read it.

    \b
    Examples:
      ebsdarchive repack scan.archive.h5 --profile cloud -o cloud.h5
      ebsdarchive repack scan.archive.h5 --profile compat,cloud -o zarr.h5
      ebsdarchive repack cloud.h5 --profile plain -o plain.h5
    """
    from ebsdarchive import repack

    bar = progress_bar()
    summary = repack(archive, output, profile, force=force, progress=bar)
    bar.end()
    layout = "cloud" if summary.cloud else "plain"
    click.echo(f"{summary.path}: {readable_bytes(summary.file_bytes)}, layout {layout}")
    if summary.raw is not None:
        raw = summary.raw
        click.echo(
            f"  raw     {readable_bytes(raw.nbytes)} -> {readable_bytes(raw.stored)}, "
            f"{raw.nbytes / raw.stored:.2f}x lossless ({raw.coding.profile}), read back"
        )
