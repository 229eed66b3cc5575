"""``ebsdarchive compress``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from ebsdarchive.cli.batch_report import (
    BatchReport,
    TableColumn,
    is_batch,
    refuse_check_all,
    refuse_of_one_scan,
)
from ebsdarchive.cli.options import (
    CheckAllOption,
    MetadataOption,
    PathType,
    guarantee,
    neural_options,
    pick_neural_options,
    progress_bar,
    readable_bytes,
    source_options,
)


@click.command("compress")
@click.argument("source", type=PathType, nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=PathType,
    help="Archive to write, or folder for those of several scans.  [default: SOURCE.archive.h5]",
)
@click.option(
    "--profile",
    metavar="CODING[,LAYOUT]",
    default="auto",
    show_default=True,
    help="Lossless coding: archive (JPEG-LS), fast (bitshuffle + zstd), compat (gzip), none, or "
    "auto, the smallest of them. Layout: plain, or cloud, for reading over a network.",
)
@click.option("--neural/--no-neural", default=True, show_default=True, help="Fit a neural layer.")
@click.option("--drop-raw", is_flag=True, help="Keep the neural layer only. This loses data.")
@source_options
@MetadataOption
@click.option("--force", is_flag=True, help="Replace existing archives.")
@CheckAllOption
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@neural_options
def command(source: tuple[str, ...], as_json: bool, **values: Any) -> None:
    """Make an archive of a scan in SOURCE: lossless patterns, and a neural field of them.

    SOURCE is a vendor's file or a folder of images; `ebsdarchive formats` lists what is read. With
    several, or a folder of scans, -o is a folder and gets an archive of each scan, in the same
    folders below. Called again, it goes on where it was: archives that are sound, of the same
    source and options, are left, and read again only where they or their sources changed. A scan
    that fails does not stop the rest.

    \b
    Examples:
      ebsdarchive compress scan.up2
      ebsdarchive compress scan.up2 --profile cloud
      ebsdarchive compress scan.up2 --geometry scan.ang
      ebsdarchive compress images --index-pattern "x{x}_y{y}.tif"
      ebsdarchive compress scan.up2 --metadata metadata.yaml
      ebsdarchive compress scan.h5 -o small.h5 --rank 64 --time 120
      ebsdarchive compress scans/ more/a.up2 -o archives/
    """
    options = pick_neural_options(values)
    if is_batch(source, values["output"], (".h5", ".hdf5")):
        _compress_many(source, as_json, options=options, **values)
        return
    refuse_check_all(values.pop("check_all"))
    from ebsdarchive import compress

    bar = progress_bar()
    summary = compress(source[0], options=options, progress=bar, **values)
    bar.end()
    if as_json:
        click.echo(json.dumps(_plain(summary)))
        return
    click.echo(f"{summary.path}: {readable_bytes(summary.file_bytes)}")
    if summary.raw is not None:
        raw = summary.raw
        table = "" if raw.coding.level_table == "none" else " with a level table"
        click.echo(
            f"  raw     {readable_bytes(raw.nbytes)} -> {readable_bytes(raw.stored)}, "
            f"{raw.nbytes / raw.stored:.2f}x lossless ({raw.coding.profile}{table}), read back"
        )
        if table:
            click.echo(
                "          other programs do not know level tables: kikuchipy opens this after "
                "`import ebsdarchive.kikuchipy_plugin`, all others an export; or use --profile fast"
            )
    if summary.neural is not None:
        field = summary.neural
        click.echo(
            f"  neural  {readable_bytes(summary.nbytes)} -> {readable_bytes(field.stored)}, "
            f"{summary.nbytes / field.stored:.0f}x, {field.shape}, mean error "
            f"{field.mae_pct:.3f} % of range ({field.mae_counts:.4g} counts), worst point "
            f"{field.worst_mae_counts:.4g} counts"
        )
        if field.max_error_counts is not None:
            click.echo(f"          {guarantee(field.max_error_counts)}")
        for note in field.notes:
            click.echo(f"          {note}")


def _compress_many(
    source: tuple[str, ...],
    as_json: bool,
    *,
    output: str,
    scan: str | None,
    geometry: str | None,
    **values: Any,
) -> None:
    from ebsdarchive import compress_many

    refuse_of_one_scan({"--scan": scan, "--geometry": geometry})
    report = BatchReport(output, _COLUMNS)
    with report.closing(as_json):
        compress_many(source, output, progress=report.bar, follower=report, **values)


_COLUMNS = (
    TableColumn("raw", "raw_ratio", "{:.2f}x".format),
    TableColumn("neural", "neural_ratio", "{:.0f}x".format),
    TableColumn("MAE %", "mae_percent", "{:.3f}".format),
)


def _plain(summary: Any) -> dict[str, Any]:
    raw = summary.raw
    return {
        "path": summary.path,
        "nbytes": summary.nbytes,
        "file_bytes": summary.file_bytes,
        "raw": None
        if raw is None
        else {
            "profile": raw.coding.profile,
            "level_table": raw.coding.level_table,
            "stored_bytes": raw.stored,
            "ratio": raw.nbytes / raw.stored,
            "sha256": raw.sha256,
        },
        "neural": None if summary.neural is None else dataclasses.asdict(summary.neural),
    }
