"""``ebsdarchive export``."""

from __future__ import annotations

import json
from typing import Any

import click

from ebsdarchive.cli.batch_report import BatchReport, TableColumn, is_batch, refuse_check_all
from ebsdarchive.cli.completion import layer_names
from ebsdarchive.cli.options import (
    CheckAllOption,
    FillOption,
    PathType,
    progress_bar,
    readable_bytes,
    region,
)
from ebsdarchive.errors import ArgumentError
from ebsdarchive.exchange.light_stack import WrittenImages
from ebsdarchive.exchange.map_file import WrittenMap
from ebsdarchive.exchange.outlines import WrittenOutlines
from ebsdarchive.exchange.values import WrittenValues
from ebsdarchive.verbs.exporting import EXPORTED
from ebsdarchive.verbs.exporting_many import FILE_ENDINGS, FOLDER_FORMATS


@click.command("export")
@click.argument("archive", type=PathType, nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=PathType,
    required=True,
    help="File or folder to write, or folder for the files of several archives.",
)
@click.option(
    "--format",
    type=click.Choice(EXPORTED),
    metavar="KEY",
    help=f"Format, where the ending does not say: {', '.join(EXPORTED)}.",
)
@click.option(
    "--format-version", type=int, metavar="N", help="Version of up1 and up2: 3 or 1.  [default: 3]"
)
@click.option(
    "--layer",
    metavar="NAME",
    shell_complete=layer_names,
    help="raw, neural, the name of a restored layer, maps/boundaries, or auxiliary/NAME.",
)
@click.option(
    "--orientations",
    metavar="NAME",
    help="Orientation map to write along, or none.  [default: the only one]",
)
@click.option("--region", type=region, help="First and last column and row, x0,y0:x1,y1.")
@FillOption
@click.option(
    "--dtype",
    type=click.Choice(["uint8", "uint16", "float32"]),
    help="Type to write; by default the measured one.",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@CheckAllOption
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def command(
    archive: tuple[str, ...], output: str, format: str | None, as_json: bool, **values: Any
) -> None:
    """Write the patterns of ARCHIVE for other software.

    The ending says what is written: .up1, .up2, .h5 (kikuchipy), .oh5 (EDAX), .h5oina, .ebsp, .dat
    (NORDIF, 8 bit), .data (EMsoft), .nc, .zarr, .npz, .tif. Folders of pictures need --format.
    What a format cannot hold (projection centre, tilts, scaling) goes into a JSON file beside it,
    orientations for EDAX into an .ang. EMsoft and EMSphInx read HDF5 patterns as 8 bit: give them
    up2, or --dtype uint8.
    Boundaries that `ebsdarchive boundaries` stored are written as polylines (.csv, .geojson),
    orientations of `ebsdarchive index` and `ebsdarchive fuse` alone as .ang.

    Several archives, or folders of them, go into the folder -o with --format, in the same folders
    below. Called again, it goes on where it was, by the record that it keeps there.

    \b
    Examples:
      ebsdarchive export scan.archive.h5 -o scan.up2
      ebsdarchive export scan.archive.h5 -o edax.h5 --format edax-h5
      ebsdarchive export scan.archive.h5 -o patterns --format tiff-folder
      ebsdarchive export scan.archive.h5 -o smooth.h5 --layer neural --region 0,0:19,9
      ebsdarchive export scan.archive.h5 -o whole.up2 --fill blank
      ebsdarchive export scan.archive.h5 -o grains.geojson --layer maps/boundaries
      ebsdarchive export scan.archive.h5 -o finer.ang --layer maps/fused
      ebsdarchive export archives/ -o exported/ --format up2
    """
    if is_batch(archive, output, FILE_ENDINGS, format in FOLDER_FORMATS):
        _export_many(archive, output, format, as_json, values)
        return
    refuse_check_all(values.pop("check_all"))
    from ebsdarchive import export

    bar = progress_bar()
    written = export(archive[0], output, format=format, progress=bar, **values)
    bar.end()
    click.echo(json.dumps(report(written)) if as_json else "\n".join(report(written)["lines"]))


def _export_many(
    archives: tuple[str, ...],
    output: str,
    format: str | None,
    as_json: bool,
    values: dict[str, Any],
) -> None:
    from ebsdarchive import export_many

    if format is None:
        raise ArgumentError(
            f"{output}: expected a format for the files of several archives, found none; name it "
            f"with --format, such as up2"
        )
    report = BatchReport(output, _COLUMNS)
    with report.closing(as_json):
        export_many(archives, output, format=format, progress=report.bar, follower=report, **values)


_COLUMNS = (
    TableColumn("patterns", "patterns", str),
    TableColumn("size", "nbytes", readable_bytes),
    TableColumn("MAE %", "mae_percent", "{:.3f}".format),
)


def report(written: Any) -> dict[str, Any]:
    """A written file as plain values, with the lines that a person reads."""
    if isinstance(written, WrittenValues):
        line = f"{written.path}: {written.count} values, {readable_bytes(written.nbytes)}"
        values = {"path": written.path, "values": written.count, "bytes": written.nbytes}
        return values | {"lines": [line]}
    if isinstance(written, WrittenOutlines):
        line = f"{written.path}: {written.boundaries} boundaries, {written.vertices} vertices"
        return {
            "path": written.path,
            "boundaries": written.boundaries,
            "vertices": written.vertices,
            "bytes": written.nbytes,
            "lines": [f"{line}, {readable_bytes(written.nbytes)}"],
        }
    if isinstance(written, WrittenImages):
        rows, columns = written.shape
        line = f"{written.path}: {written.images} images of {rows} x {columns} px"
        return {
            "path": written.path,
            "images": written.images,
            "shape": [rows, columns],
            "bytes": written.nbytes,
            "lines": [f"{line}, {readable_bytes(written.nbytes)}"],
        }
    if isinstance(written, WrittenMap):
        rows, columns = written.shape
        line = f"{written.path}: orientations of {rows} x {columns} points"
        return {
            "path": written.path,
            "shape": [rows, columns],
            "bytes": written.nbytes,
            "lines": [f"{line}, {readable_bytes(written.nbytes)}"],
        }
    rule = written.quantisation
    lines = [f"{written.path}: {written.count} patterns, {readable_bytes(written.nbytes)}"]
    if rule.dtype != "float32" and not rule.is_identity:
        lines.append(f"  scaled: stored = (counts - {rule.offset:g}) * {rule.scale:.6g}")
    if rule.rounded:
        lines.append(f"  rounded to {rule.dtype}, {rule.clipped} pixels limited to its range")
    if written.estimates is not None:
        said = written.estimates.record()
        lines.append(f"  {said['estimated_patterns']} patterns filled from sound neighbours")
        if said["left_without_neighbours"]:
            left = said["left_without_neighbours"]
            lines[-1] += f"; {left} without sound points on both sides left as they are"
    if written.sidecar is not None:
        lines.append(f"  geometry and scaling: {written.sidecar}")
    lines += [f"  with it: {path}" for path in written.beside]
    lines += [f"  {line}" for line in written.losses]
    return {
        "path": written.path,
        "format": written.format,
        "patterns": written.count,
        "bytes": written.nbytes,
        "quantisation": rule.record(),
        "sidecar": written.sidecar,
        "beside": list(written.beside),
        "losses": list(written.losses),
        **({} if written.estimates is None else written.estimates.record()),
        "lines": lines,
    }
