"""``ebsdarchive info``."""

from __future__ import annotations

import json
from typing import Any

import click

from ebsdarchive.cli.options import PathType, guarantee, readable_bytes, source_options


@click.command("info")
@click.argument("source", type=PathType)
@source_options
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def command(source: str, as_json: bool, **values: Any) -> None:
    """Say what SOURCE holds: an archive, a vendor's file or a folder of images.

    The scans of a vendor's file are listed with the numbers and names that --scan takes.

    \b
    Examples:
      ebsdarchive info scan.archive.h5
      ebsdarchive info project.h5oina --scan 2
    """
    from ebsdarchive import info

    described = info(source, **values)
    if as_json:
        click.echo(json.dumps(described, indent=1))
    else:
        lines = _lines(described) if "layers" in described else _source_lines(described)
        click.echo("\n".join(lines))


def _source_lines(described: dict[str, Any]) -> list[str]:
    """The scans of a vendor's file."""
    names = described["scan_names"]
    found = described["scans"]
    count = "1 scan" if len(names) == 1 else f"{len(names)} scans"
    if len(found) < len(names):
        count += f" ({', '.join(f'{i} {name}' for i, name in enumerate(names, 1))})"
    lines = [f"{described['path']}: {count}"]
    for scan in found:
        number = names.index(scan["name"]) + 1 if scan["name"] in names else 1
        lines.append(f"  {number}. {scan['name']}")
        if "error" in scan:
            lines.append(f"    not readable: {scan['error']}")
            continue
        lines += [
            f"    {line}"
            for line in (
                _patterns_line(scan),
                _grid_line(scan["grid"]),
                f"detector  {_listed(scan['detector'])}",
                f"beam      {_listed(scan['microscope'])}",
                _phases_line(scan),
                f"source    {scan['source']['format']}, read by {scan['source']['reader']}",
            )
        ]
        lines += [
            f"    {title:<9} {scan['source'][key]}"
            for key, title in (("geometry", "map"), ("index_pattern", "names"), ("lossy", "lossy"))
            if key in scan["source"]
        ]
    return lines


def _patterns_line(scan: dict[str, Any]) -> str:
    sy, sx = scan["pattern_shape"]
    return (
        f"scan      {scan['patterns']} patterns of {sy} x {sx} px, {scan['dtype']}, "
        f"{readable_bytes(scan['nbytes'])}"
    )


def _phases_line(scan: dict[str, Any]) -> str:
    names = ", ".join(phase["name"] for phase in scan["phases"]) or "not known"
    frame = {"edax": "EDAX's", "oxford": "Oxford's"}.get(scan["sample_frame"])
    with_them = "" if frame is None else f", with orientations ({frame} sample frame)"
    return f"phases    {names}{with_them}"


def _grid_line(grid: dict[str, Any]) -> str:
    steps = (f"{grid[k]:g}" if k in grid else "?" for k in ("step_x_um", "step_y_um"))
    step = f"{' x '.join(steps)} um" if {"step_x_um", "step_y_um"} & set(grid) else "not known"
    return (
        f"grid      {grid['grid_type']}, {grid['n_columns']} columns x {grid['n_rows']} rows, "
        f"step {step}"
    )


def _lines(described: dict[str, Any]) -> list[str]:
    from ebsdarchive.metadata.documents import flattened

    scan, grid, source = described["scan"], described["grid"], described["source"]
    lines = [
        f"{described['path']}: ebsdarchive format {described['format_version']}, "
        f"{readable_bytes(described['file_bytes'])}"
        f"{', layout cloud' if described['layout'] == 'cloud' else ''}",
        f"  {_patterns_line(scan)}",
        f"  {_grid_line(grid)}",
        f"  detector  {_listed(described['detector'])}",
        f"  beam      {_listed(described['microscope'])}",
        f"  {_phases_line(described)}",
        f"  source    {source.get('file_name', 'made in memory')} ({source['format']}, read by "
        f"{source['reader']})",
        f"  opens directly in kikuchipy and PyEBSDIndex: "
        f"{'yes' if described['opens_in_kikuchipy'] else 'no, export it'}",
    ]
    lines += [f"  metadata  {key}: {value}" for key, value in flattened(described["metadata"])]
    lines.append("  layers")
    for name, layer in described["layers"].items():
        text = f"    {name:<20} {layer['encoding']}, {readable_bytes(layer['stored_bytes'])}"
        if "ratio" in layer:
            text += f", {layer['ratio']:.4g}x"
        if "profile" in layer:
            text += f", lossless, profile {layer['profile']}"
        if "estimate" in layer:
            text += f", estimate by {layer['method']}"
        if "architecture" in layer:
            text += f", model of {layer['architecture']}"
        if "mae_percent" in layer:
            text += f", rank {layer['rank']}" if "rank" in layer else ""
            text += f", mean error {layer['mae_percent']:.3f} % of range"
            text += f" ({layer['mae_counts']:.4g} counts)"
            if "noise_counts" in layer:
                text += f", noise of a pixel {layer['noise_counts']:.4g} counts"
        if "max_error_counts" in layer:
            text += f"; {guarantee(layer['max_error_counts'])}"
        if "polylines" in layer:
            text += f", {layer['polylines']} polylines of {layer['vertices']} vertices"
        if "stage_angles_deg" in layer:
            number, rows, columns = layer["images"]
            text += f", {number} images of {rows} x {columns} px"
            text += f", {layer['registration'].replace('-', ' ')}"
        lines.append(text)
    for activity in described["activities"]:
        lines.append(f"  {activity['started'][:19]}  {activity['command']}")
    return lines


def _listed(values: dict[str, Any]) -> str:
    """name value, name value, …, with long numbers cut."""

    def short(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.5g}"
        if isinstance(value, list):
            return "(" + ", ".join(short(item) for item in value) + ")"
        return str(value)

    return ", ".join(f"{key} {short(value)}" for key, value in values.items()) or "not known"
