"""``ebsdarchive formats``."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command("formats")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> None:
    """List the formats that are read and written, with their versions.

    \b
    Examples:
      ebsdarchive formats
      ebsdarchive formats --json
    """
    from ebsdarchive import formats

    known = formats()
    click.echo(json.dumps(known, indent=1) if as_json else "\n".join(_lines(known)))


def _lines(known: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = ["read: endings (versions)"]
    for entry in known["read"]:
        folder = " folder" if entry["folder"] else ""
        versions = f" ({entry['versions']})" if entry["versions"] else ""
        lines.append(f"  {entry['name']:<18} {' '.join(entry['endings'])}{folder}{versions}")
        lines.append(f"  {'':<18} {entry['reads']}")
    lines.append("read beside patterns, with --geometry")
    lines += [f"  {entry['name']:<18} {' '.join(entry['endings'])}" for entry in known["geometry"]]
    lines.append("written, with the names that export --format takes")
    for entry in known["written"]:
        where = " ".join(entry["endings"]) + (" folder" if entry["folder"] else "")
        versions = f" ({entry['versions']})" if entry["versions"] else ""
        held = ", ".join(entry["dtypes"]) + (", hexagonal grids" if entry["hexagonal"] else "")
        lines.append(f"  {entry['key']:<18} {where.strip()}{versions}")
        lines.append(f"  {'':<18} {entry['name']}; {held}")
    return lines
