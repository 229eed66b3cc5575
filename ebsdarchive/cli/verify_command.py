"""``ebsdarchive verify``."""

from __future__ import annotations

import json

import click

from ebsdarchive.cli.options import PathType, progress_bar
from ebsdarchive.errors import CorruptionError


@click.command("verify")
@click.argument("archive", type=PathType)
@click.option("--data", is_flag=True, help="Decode every pattern and compare digests.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def command(archive: str, data: bool, as_json: bool) -> None:
    """Check ARCHIVE and say which layers survive. Nothing is written.

    \b
    Example:
      ebsdarchive verify scan.archive.h5 --data
    """
    from ebsdarchive import verify
    from ebsdarchive.archive.check import survivors

    bar = progress_bar()
    report = verify(archive, data=data, progress=bar)
    bar.end()
    surviving = survivors(report)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "path": report.path,
                    "sound": report.sound,
                    "decoded": report.decoded,
                    "layers": report.layers,
                    "faults": report.faults,
                    "survivors": surviving,
                }
            )
        )
    else:
        for name, faults in report.layers.items():
            click.echo(f"{name:<22} {'ok' if not faults else f'{len(faults)} faults'}")
        for fault in report.all_faults:
            click.echo(f"  {fault}")
        how = "every pattern decoded" if data else "patterns not decoded; --data does"
        if report.sound:
            click.echo(f"{archive}: sound ({how})")
    if not report.sound:
        raise CorruptionError(
            f"{archive}: expected a sound archive, found {len(report.all_faults)} faults; layers "
            f"of patterns that survive: {', '.join(surviving) or 'none'}"
        )
