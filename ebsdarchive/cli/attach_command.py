"""``ebsdarchive attach``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from ebsdarchive.cli.options import PathType, pair, progress_bar, readable_bytes, stage_angles


@click.command("attach")
@click.argument("archive", type=PathType)
@click.option(
    "--pl", "light", type=PathType, required=True, help="TIFF file, one grey page for each angle."
)
@click.option(
    "--angles",
    "stage_angles_deg",
    type=stage_angles,
    required=True,
    help="Of the stage in degrees: first:end:step without the end, or a list such as 0,15,30.",
)
@click.option("--name", default="light", show_default=True, help="Of the layer.")
@click.option("--same-field", is_flag=True, help="The images show just the scanned area.")
@click.option("--pixel-size", "pixel_size_um", type=float, metavar="UM", help="Of the images.")
@click.option(
    "--origin",
    type=pair,
    help="Position x,y in steps of the images' first pixel; by default the centres coincide.",
)
@click.option(
    "--turn", "turn_deg", type=float, default=0.0, metavar="DEG", help="Of the images' rows."
)
@click.option("--mirrored", is_flag=True, help="The images have left and right exchanged.")
@click.option(
    "--analyser", "analyser_deg", type=float, metavar="DEG", help="From polariser; 90 is crossed."
)
@click.option("--register", is_flag=True, help="Align them with the scan by mutual information.")
@click.option(
    "--register-to",
    metavar="NAME",
    help="Map of the scan; by default the light that its orientations predict, or mean intensity.",
)
@click.option(
    "--nodes",
    type=int,
    default=4,
    show_default=True,
    help="Intervals of the B-spline along each side; 0 for an affine transform alone.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the points drawn.")
@click.option("--force", is_flag=True, help="Replace a layer of that name.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def command(
    archive: str,
    as_json: bool,
    same_field: bool,
    pixel_size_um: float | None,
    origin: tuple[float, float] | None,
    turn_deg: float,
    mirrored: bool,
    **values: Any,
) -> None:
    """Keep images of the scanned area in polarised light in ARCHIVE, registered to the scan.

    The images must all be turned back into the specimen's frame. They are kept as they are; the
    transform to the scan stands beside them.

    \b
    Examples:
      ebsdarchive attach scan.archive.h5 --pl light.tif --angles 0:180:10 --pixel-size 0.25
      ebsdarchive attach scan.archive.h5 --pl light.tif --angles 0:180:10 --same-field --register
    """
    from ebsdarchive import attach
    from ebsdarchive.verbs.light_placement import Placement

    placement = Placement(same_field, pixel_size_um, origin, turn_deg, mirrored)
    bar = progress_bar()
    summary = attach(archive, placement=placement, progress=bar, **values)
    bar.end()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary)))
        return
    rows, columns = summary.shape
    click.echo(
        f"{archive}: {summary.layer}: {summary.images} images of {rows} x {columns} px, "
        f"{summary.dtype}, {readable_bytes(summary.stored)}"
    )
    if summary.information is not None and summary.moved_steps is not None:
        before, after = summary.information
        mean, largest = summary.moved_steps
        click.echo(
            f"  registered to {summary.registered_to}: mutual information {before:.3f} to "
            f"{after:.3f} nat, points moved by {mean:.2f} steps, {largest:.2f} at most"
        )
    for note in summary.notes:
        click.echo(f"  {note}")
