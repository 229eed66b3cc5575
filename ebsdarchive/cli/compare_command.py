"""``ebsdarchive compare``."""

from __future__ import annotations

import json
from typing import Any

import click

from ebsdarchive.cli.completion import layer_names, scan_names
from ebsdarchive.cli.options import PathType, indexing_options, progress_bar


@click.command("compare")
@click.argument("a", type=PathType)
@click.argument("b", type=PathType, required=False)
@click.option(
    "--layer-a", metavar="NAME", shell_complete=layer_names, help="Layer of A.  [default: raw]"
)
@click.option(
    "--layer-b",
    metavar="NAME",
    shell_complete=layer_names,
    help="Layer of B.  [default: neural where B is A, else raw]",
)
@click.option(
    "--scan-a",
    metavar="NAME|N",
    shell_complete=scan_names,
    help="Scan of A, a file with several.",
)
@click.option(
    "--scan-b",
    metavar="NAME|N",
    shell_complete=scan_names,
    help="Scan of B, a file with several.",
)
@click.option("--geometry-a", type=PathType, help="Map of A: an .ang, .ctf or .edaxh5 file.")
@click.option("--geometry-b", type=PathType, help="Map of B: an .ang, .ctf or .edaxh5 file.")
@indexing_options("bandpass")
@click.option(
    "--points", type=click.IntRange(1), help="Compare only so many points, evenly spread."
)
@click.option(
    "--index/--no-index",
    "orientations",
    default=True,
    help="Whether to index both, or compare patterns alone.  [default: index]",
)
@click.option("-o", "--output", type=PathType, help="Write maps: .npz, or a .png, .pdf or .svg.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def command(a: str, b: str | None, output: str | None, as_json: bool, **values: Any) -> None:
    """Compare A and B, archives or files of one grid, or two layers of A.

    Orientations come from Hough indexing of both; deviations are reduced by the symmetry of the
    phase. Patterns are compared inside the detector's mask.

    \b
    Examples:
      ebsdarchive compare scan.archive.h5 --layer-a raw --layer-b neural -o maps.png
      ebsdarchive compare scan.up2 scan.archive.h5 --phase ni:225:3.52 --pc 0.50,0.34,0.62
    """
    from ebsdarchive import compare

    bar = progress_bar()
    found = compare(a, b, output, progress=bar, **values)
    bar.end()
    if as_json:
        click.echo(json.dumps(found.figures))
        return
    click.echo("\n".join(_lines(found.figures)))
    if output is not None:
        click.echo(f"  {output}: maps of {', '.join(found.values)}")


def _lines(figures: dict[str, Any]) -> list[str]:
    names = [
        f"{side['path']}{' ' + side['layer'] if side['layer'] else ''}"
        for side in (figures["a"], figures["b"])
    ]
    lines = [
        f"A {names[0]}",
        f"B {names[1]}",
        f"  points        {figures['points']} of {figures['points_of_scan']}",
    ]
    found = figures.get("orientations")
    if found is not None:
        below = ", ".join(
            f"{found[f'share_below_{limit}_deg']:.2%} < {limit}" for limit in (2, 4, 5, 10)
        )
        lines += [
            f"  indexed       A {found['indexed_a']}, B {found['indexed_b']}, in one phase by both "
            f"{found['compared']} ({', '.join(found['phases'])}; {found['background']})",
            f"  deviation     mean {_number(found['mean_deg'])} deg, median "
            f"{_number(found['median_deg'])} deg",
            f"  share (deg)   {below}",
            f"  confidence    A {_number(found['confidence_a'])}, B "
            f"{_number(found['confidence_b'])}; fit A {_number(found['fit_a_deg'])} deg, B "
            f"{_number(found['fit_b_deg'])} deg",
        ]
    alike = figures["patterns"]
    low, high = alike["range_counts"]
    lines.append(
        f"  patterns      MAE {alike['mae_counts']:.4g} counts, {alike['mae_percent']:.3f} % of "
        f"the range {low:g} to {high:g}"
    )
    if alike["equal_patterns"] == figures["points"]:
        lines.append("                all equal")
    else:
        lines.append(
            f"                SSIM {_number(alike['ssim'])}, UQI {_number(alike['uqi'])}, PSNR "
            f"{_number(alike['psnr_db'], 1)} dB"
        )
    return lines


def _number(value: float | None, digits: int = 3) -> str:
    return "not known" if value is None else f"{value:.{digits}f}"
