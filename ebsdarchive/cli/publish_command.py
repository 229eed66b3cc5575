"""``ebsdarchive publish``."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import click

from ebsdarchive.cli.options import (
    MetadataOption,
    PathType,
    progress_bar,
    readable_bytes,
    setting_options,
)


@click.command("publish")
@click.argument("archive", type=PathType)
@click.option("-o", "--output", type=PathType, required=True, help="Folder to make.")
@click.option("--bag", is_flag=True, help="Make it a BagIt bag, with the package in data/.")
@click.option("--link", is_flag=True, help="Hard-link the archive instead of copying it.")
@MetadataOption
@setting_options
@click.option("--without-doi", is_flag=True, help="The repository assigns the DOI.")
@click.option("--force", is_flag=True, help="Replace a package that is there.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def command(
    archive: str, output: str, settings: tuple[str, ...], as_json: bool, **values: Any
) -> None:
    """Make a package of ARCHIVE that repositories and catalogues take.

    \b
    It holds the archive; ro-crate-metadata.json (RO-Crate 1.2), datacite.json (DataCite 4.6),
    provenance.json (PROV-JSON) and scicat.json; a README with figures and a picture; and SHA-256
    checksums of all. Metadata that is missing is asked for on a terminal, and listed elsewhere.

    \b
    Examples:
      ebsdarchive publish scan.archive.h5 -o package --without-doi
      ebsdarchive publish scan.archive.h5 -o bag --bag --set doi=10.5281/zenodo.1234567
    """
    from ebsdarchive import publish

    if sys.stdin.isatty() and not as_json:
        settings = (*settings, *_asked(archive, settings, values))
    bar = progress_bar()
    summary = publish(archive, output, settings=settings, progress=bar, **values)
    bar.end()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary), ensure_ascii=False))
        return
    kind = "BagIt bag" if summary.bag else "package"
    click.echo(
        f"{summary.path}: {kind} of {len(summary.files)} files, "
        f"{readable_bytes(sum(summary.files.values()))}, archive sha256 {summary.sha256}"
    )
    for note in summary.notes:
        click.echo(f"  {note}")


def _asked(archive: str, settings: tuple[str, ...], values: dict[str, Any]) -> list[str]:
    """Settings for what is missing, asked for one by one; an empty answer leaves it missing."""
    from ebsdarchive.verbs.publishing import missing_for

    missing = missing_for(
        archive,
        metadata=values["metadata"],
        settings=settings,
        without_doi=values["without_doi"],
    )
    answers = []
    for key, meaning in missing.items():
        answer = click.prompt(f"{meaning} ({key})", default="", show_default=False, err=True)
        if answer:
            answers.append(f"{key}={answer}")
    return answers
