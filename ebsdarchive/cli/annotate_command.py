"""``ebsdarchive annotate``."""

from __future__ import annotations

import json
from typing import Any

import click

from ebsdarchive.cli.options import MetadataOption, PathType, progress_bar, setting_options


@click.command("annotate")
@click.argument("archive", type=PathType)
@MetadataOption
@setting_options
@click.option("--remove", multiple=True, metavar="KEY", help="Remove an entry; repeat it.")
@click.option("--show", is_flag=True, help="Print the metadata, after any change.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def command(archive: str, show: bool, as_json: bool, **values: Any) -> None:
    """Change what ARCHIVE says of title, people, sample, instrument, licence and funding.

    \b
    Entries of FILE take the place of those of their names at the top; --remove and --set follow.
    The keys are listed in the format's reference. Patterns are never touched.

    \b
    Examples:
      ebsdarchive annotate scan.archive.h5 --metadata metadata.yaml
      ebsdarchive annotate scan.archive.h5 --set licence=CC-BY-4.0 --set sample.name=IN718-7
      ebsdarchive annotate scan.archive.h5 --remove people.1 --show
    """
    from ebsdarchive import annotate
    from ebsdarchive.metadata.documents import flattened

    bar = progress_bar()
    document = annotate(archive, progress=bar, **values)
    bar.end()
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False, indent=1))
    elif show:
        for key, value in flattened(document):
            click.echo(f"{key}: {value}")
    else:
        click.echo(f"{archive}: {len(flattened(document))} entries of metadata")
