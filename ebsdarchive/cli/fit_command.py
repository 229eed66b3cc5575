"""``ebsdarchive fit``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from ebsdarchive.cli.options import (
    PathType,
    guarantee,
    neural_options,
    pick_neural_options,
    progress_bar,
    readable_bytes,
)


@click.command("fit")
@click.argument("archive", type=PathType)
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@neural_options
def command(archive: str, as_json: bool, **values: Any) -> None:
    """Fit (or fit anew) the neural layer of ARCHIVE to its raw patterns.

    An interrupted fit goes on where it stopped when it is called again with the same options.

    \b
    Example:
      ebsdarchive fit scan.archive.h5 --target-mae 0.65
    """
    from ebsdarchive import fit

    bar = progress_bar()
    summary = fit(archive, options=pick_neural_options(values), progress=bar)
    bar.end()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary)))
        return
    click.echo(
        f"{archive}: neural layer, {summary.shape}, {readable_bytes(summary.stored)}, mean "
        f"error {summary.mae_pct:.3f} % of range ({summary.mae_counts:.4g} counts), worst point "
        f"{summary.worst_mae_counts:.4g} counts, {summary.seconds:.0f} s on {summary.device}"
    )
    if summary.max_error_counts is not None:
        click.echo(f"  {guarantee(summary.max_error_counts)}")
    for note in summary.notes:
        click.echo(f"  {note}")
