"""``ebsdarchive index``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from ebsdarchive.cli.options import (
    LayerOption,
    PathType,
    indexing_options,
    progress_bar,
)


@click.command("index")
@click.argument("archive", type=PathType)
@LayerOption
@indexing_options("static")
@click.option(
    "--calibrate-pc", is_flag=True, help="Optimise the projection centre on 64 patterns first."
)
@click.option("--name", default="orientations", show_default=True, help="Of the map.")
@click.option("--force", is_flag=True, help="Replace an orientation map of that name.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def command(archive: str, as_json: bool, **values: Any) -> None:
    """Index the patterns of ARCHIVE by Hough transform; keep the orientations as a map in it.

    \b
    Examples:
      ebsdarchive index scan.archive.h5
      ebsdarchive index scan.archive.h5 --layer neural --name smooth --background bandpass
      ebsdarchive index scan.archive.h5 --phase ferrite:229:2.866 --phase austenite:225:3.6
    """
    from ebsdarchive import index

    bar = progress_bar()
    summary = index(archive, progress=bar, **values)
    bar.end()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary)))
        return
    by_phase = ", ".join(f"{name} {count}" for name, count in summary.phases.items())
    centre = ", ".join(f"{value:.4f}" for value in summary.pc_bruker)
    click.echo(
        f"{archive}: {summary.name}: {summary.indexed} of {summary.points} points of "
        f"{summary.layer} indexed ({by_phase})"
    )
    click.echo(
        f"  mean confidence {summary.confidence:.3f}, fit {summary.fit_deg:.3f} deg, projection "
        f"centre ({centre}) {_ORIGINS[summary.pc_origin]}"
    )
    for note in summary.notes:
        click.echo(f"  {note}")


_ORIGINS = {
    "scan": "as the scan has it",
    "given": "as given",
    "calibrated": "calibrated, the scan's own unchanged",
}
