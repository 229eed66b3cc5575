"""``ebsdarchive profile``."""

from __future__ import annotations

import json
from typing import Any

import click

from ebsdarchive.cli.options import (
    CorrelationOption,
    LayerOption,
    PathType,
    SmoothingOption,
    indexing_options,
    path_options,
    progress_bar,
)


@click.command("profile")
@click.argument("archive", type=PathType)
@path_options(required=True)
@LayerOption
@CorrelationOption
@SmoothingOption
@indexing_options("static")
@click.option(
    "--index/--no-index",
    "orientations",
    default=True,
    help="Whether to index, or follow S alone.  [default: index]",
)
@click.option(
    "-o",
    "--output",
    type=PathType,
    multiple=True,
    help="File: .csv, patterns too as .h5, .nc or .npz, a picture as .png, .pdf or .svg; may be "
    "repeated.",
)
@click.option("--width", "width_mm", type=float, metavar="MM", help="Width of the picture.")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def command(archive: str, as_json: bool, **values: Any) -> None:
    """Follow a path over ARCHIVE between the measured points, and name the boundaries it crosses.

    Along the path: the diffraction gradient S of the neural field, the confidence metric, fit and
    orientation by Hough indexing of the patterns that query gives there, and how far the
    orientation turns. Without --samples or --spacing, four samples a step.

    \b
    Examples:
      ebsdarchive profile scan.archive.h5 --path 2,3:20,15 -o path.png -o path.csv
      ebsdarchive profile scan.archive.h5 --path 2,3:20,15 --no-index --json
    """
    from ebsdarchive import profile
    from ebsdarchive.verbs.profile_files import summary_of

    bar = progress_bar()
    found = profile(archive, progress=bar, **values)
    bar.end()
    summary = summary_of(found)
    if as_json:
        click.echo(json.dumps({**summary, "outputs": list(values["output"])}))
        return
    click.echo(f"{archive}: " + "\n".join(_lines(summary)))
    for target in values["output"]:
        click.echo(f"  {target}")


def _lines(said: dict[str, Any]) -> list[str]:
    lines = [
        f"path of {_length(said, 'length')}, {said['samples']} samples of {said['layer']}",
    ]
    if said["indexed"] is not None:
        fit = "" if said["fit_deg"] is None else f", fit {said['fit_deg']:.3f} deg"
        lines.append(f"  indexed {said['indexed']}, mean confidence {said['confidence']:.3f}{fit}")
    if said["crossings"] is not None:
        count = len(said["crossings"])
        median = said["s_median"]
        lines.append(
            f"  S median {median:.4g} counts/step; {count} crossing{'' if count == 1 else 's'}"
        )
    for crossing in said["crossings"] or ():
        angle = crossing["disorientation_deg"]
        first, second = crossing["phases"]
        turned = ""
        if angle is not None:
            turned = f", disorientation {angle:.2f} deg"
        elif crossing["confidence"] is not None:
            turned = f", from {first or 'not indexed'} to {second or 'not indexed'}"
        if crossing["confidence"] is not None:
            turned += " (confidence {:.2f} and {:.2f})".format(*crossing["confidence"])
        lines.append(
            f"  at {_length(crossing, 'distance')}, (x, y) = ({crossing['x']:.2f}, "
            f"{crossing['y']:.2f}): S {crossing['s_counts_per_step']:.4g}, width "
            f"{_length(crossing, 'width')}, correlation {crossing['correlation']:.2f}{turned}"
        )
    return [*lines, *(f"  {note}" for note in said["notes"])]


def _length(said: dict[str, Any], name: str) -> str:
    steps, um = said[f"{name}_steps"], said[f"{name}_um"]
    return f"{steps:.2f} steps" if um is None else f"{um:.3g} um"
