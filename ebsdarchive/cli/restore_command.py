"""``ebsdarchive restore``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from ebsdarchive.cli.export_command import report
from ebsdarchive.cli.options import PathType, progress_bar, readable_bytes, source_options
from ebsdarchive.restorers.registry import DEFAULT_METHOD, METHODS, STEPS
from ebsdarchive.verbs.exporting import EXPORTED


def _listed() -> str:
    """The methods and steps there are, a line each."""
    lines = []
    for title, table in (("Methods", METHODS), ("Steps", STEPS)):
        lines += ["\b", f"{title}:"]
        for name, entry in table.items():
            said = [f"{key}: {option.meaning}" for key, option in entry.options.items()]
            lines.append(f"  {name}: {entry.summary}{' (a model)' if entry.learned else ''}")
            lines += [f"    {line}" for line in said]
        lines.append("")
    return "\n".join(lines)


@click.command("restore", epilog=_listed())
@click.argument("source", type=PathType)
@click.option(
    "-o", "--output", type=PathType, help="File to write, instead of a layer of the archive."
)
@click.option(
    "--method",
    metavar="NAME[:OPTION=N,...]",
    help=f"One of those below, with options.  [default: the model's, or {DEFAULT_METHOD}]",
)
@click.option("--model", metavar="NAME|FILE", help="Model of the archive, or a .safetensors file.")
@click.option(
    "--before",
    multiple=True,
    metavar="STEP",
    help="Correction first, one of those below with options; may be repeated.",
)
@click.option(
    "--after", multiple=True, metavar="STEP", help="Correction of the estimate; may be repeated."
)
@click.option("--search-radius", type=click.IntRange(1), metavar="N", help="Half nlpar's window.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Of methods that draw samples.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="K",
    help="Drawn for each pattern and averaged.",
)
@click.option(
    "--mask",
    type=click.Choice(["auto", "none"]),
    default="auto",
    show_default=True,
    help="Leave out detector pixels without signal.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda",
    help="Where networks work.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all random numbers."
)
@click.option("--name", help="Of the layer restored/NAME.  [default: the method]")
@click.option("--uncertainty", is_flag=True, help="Keep the uncertainty of each pixel, too.")
@click.option(
    "--dtype",
    type=click.Choice(["uint8", "uint16", "float32"]),
    help="Type to keep; by default the measured one, rounded to whole counts.",
)
@click.option("--format", type=click.Choice(EXPORTED), metavar="KEY", help="Of the output.")
@source_options
@click.option("--force", is_flag=True, help="Replace a layer or file of that name.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def command(source: str, output: str | None, as_json: bool, **values: Any) -> None:
    """Restore the noisy patterns of SOURCE: an archive, or any scan that is read here.

    Without -o the estimates become the layer restored/NAME of the archive, with what made them;
    patterns that should not be trusted are marked in the map NAME_flags. With -o they go to a file
    of any format that export writes; from up2 to up2 the header stays what it is.
    Interrupted, it goes on where it stopped when it is called again with the same options.

    \b
    Examples:
      ebsdarchive restore scan.archive.h5
      ebsdarchive restore scan.archive.h5 --method nlpar --search-radius 4 --name wide
      ebsdarchive restore scan.archive.h5 --method klt --before static --after clahe:kernel=15
      ebsdarchive restore scan.up2 -o restored.up2
    """
    from ebsdarchive import restore
    from ebsdarchive.verbs.restoring import RestoreOptions

    chosen = RestoreOptions(
        **{field.name: values.pop(field.name) for field in dataclasses.fields(RestoreOptions)}
    )
    bar = progress_bar()
    summary = restore(source, output, options=chosen, progress=bar, **values)
    bar.end()
    if as_json:
        said = dataclasses.asdict(summary)
        said["written"] = None if summary.written is None else report(summary.written)
        click.echo(json.dumps(said))
    else:
        click.echo("\n".join(_lines(summary)))


def _lines(summary: Any) -> list[str]:
    parameters = ", ".join(f"{key} {_short(value)}" for key, value in summary.config.items())
    made = f"{summary.patterns} patterns restored by {summary.method}"
    if summary.written is None:
        size = readable_bytes(summary.stored)
        lines = [f"{summary.path}: {summary.layer}: {made}, {size}"]
    else:
        lines = [*report(summary.written)["lines"], f"  {made}"]
    lines.append(f"  {parameters}; {summary.seconds:.1f} s on {summary.device}")
    if summary.resumed:
        lines.append(f"  {summary.resumed} of them by an earlier call, which had stopped")
    if summary.uncertainty_counts is not None:
        lines.append(f"  mean uncertainty {summary.uncertainty_counts:.4g} counts")
    flagged = [f"{count} {name}" for name, count in summary.flags.items() if count]
    if flagged:
        lines.append(f"  not to be trusted: {', '.join(flagged)}")
    return lines + [f"  {note}" for note in summary.notes]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
