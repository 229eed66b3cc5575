"""``ebsdarchive info``."""

from __future__ import annotations

import json
from typing import Any

import click

from ebsdarchive.cli.options import PathType, guarantee, readable_bytes


@click.command("info")
@click.argument("archive", type=PathType)
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def command(archive: str, as_json: bool) -> None:
    """Say what ARCHIVE holds.

    \b
    Example:
      ebsdarchive info scan.archive.h5
    """
    from ebsdarchive import info

    described = info(archive)
    click.echo(json.dumps(described, indent=1) if as_json else "\n".join(_lines(described)))


def _lines(described: dict[str, Any]) -> list[str]:
    scan, grid, source = described["scan"], described["grid"], described["source"]
    sy, sx = scan["pattern_shape"]
    step = f"{grid['step_x_um']:g} x {grid['step_y_um']:g} um" if _has_steps(grid) else "not known"
    lines = [
        f"{described['path']}: ebsdarchive format {described['format_version']}, "
        f"{readable_bytes(described['file_bytes'])}",
        f"  scan      {scan['patterns']} patterns of {sy} x {sx} px, {scan['dtype']}, "
        f"{readable_bytes(scan['nbytes'])}",
        f"  grid      {grid['grid_type']}, {grid['n_columns']} columns x {grid['n_rows']} rows, "
        f"step {step}",
        f"  detector  {_listed(described['detector'])}",
        f"  beam      {_listed(described['microscope'])}",
        f"  phases    {', '.join(phase['name'] for phase in described['phases']) or 'not known'}",
        f"  source    {source.get('file_name', 'made in memory')} ({source['format']}, read by "
        f"{source['reader']})",
        f"  opens directly in kikuchipy and PyEBSDIndex: "
        f"{'yes' if described['opens_in_kikuchipy'] else 'no, export it'}",
        "  layers",
    ]
    for name, layer in described["layers"].items():
        text = f"    {name:<20} {layer['encoding']}, {readable_bytes(layer['stored_bytes'])}"
        if "ratio" in layer:
            text += f", {layer['ratio']:.4g}x"
        if "profile" in layer:
            text += f", lossless, profile {layer['profile']}"
        if "mae_percent" in layer:
            text += f", rank {layer['rank']}" if "rank" in layer else ""
            text += f", mean error {layer['mae_percent']:.3f} % of range"
            text += f" ({layer['mae_counts']:.4g} counts)"
            if "noise_counts" in layer:
                text += f", noise of a pixel {layer['noise_counts']:.4g} counts"
        if "max_error_counts" in layer:
            text += f"; {guarantee(layer['max_error_counts'])}"
        lines.append(text)
    for activity in described["activities"]:
        lines.append(f"  {activity['started'][:19]}  {activity['command']}")
    return lines


def _has_steps(grid: dict[str, Any]) -> bool:
    return "step_x_um" in grid and "step_y_um" in grid


def _listed(values: dict[str, Any]) -> str:
    """name value, name value, …, with long numbers cut."""

    def short(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.5g}"
        if isinstance(value, list):
            return "(" + ", ".join(short(item) for item in value) + ")"
        return str(value)

    return ", ".join(f"{key} {short(value)}" for key, value in values.items()) or "not known"
