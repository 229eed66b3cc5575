"""What a shell completes besides commands, options and files: names in the file that is given.

The shell's script is click's own: `_EBSDARCHIVE_COMPLETE=bash_source ebsdarchive` prints it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ebsdarchive.errors import EbsdArchiveError

__all__ = ["layer_names", "scan_names"]


def layer_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Layers of the archive on the command line; of patterns alone where only these will do."""
    from ebsdarchive import open_archive

    def names(path: str) -> list[str]:
        archive = open_archive(path)
        return list(archive.layers if param.name == "layers" else archive.pattern_layers)

    return _completed(ctx, param, incomplete, names)


def scan_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Scans of the vendor's file on the command line."""
    from ebsdarchive.exchange import scan_names as names_in

    return _completed(ctx, param, incomplete, names_in)


def _completed(
    ctx: click.Context, param: click.Parameter, incomplete: str, names: Callable[[str], Any]
) -> list[str]:
    """The names in the file given that begin as typed; none where it cannot be read.

    Of a list of layers (raw,neural) the last name is completed.
    """
    files = _files(ctx)
    if not files:
        return []
    is_of_second = str(param.name).endswith("_b") and len(files) > 1
    begun, comma, typed = (
        incomplete.rpartition(",") if param.name == "layers" else ("", "", incomplete)
    )
    try:
        found = names(files[1] if is_of_second else files[0])
        return [f"{begun}{comma}{name}" for name in found if name.startswith(typed)]
    except (EbsdArchiveError, OSError):
        return []


def _files(ctx: click.Context) -> list[str]:
    """The files on the command line, in their order."""
    if ctx.args:
        return ctx.args  # click leaves them unnamed before an option whose value is missing
    arguments = [param for param in ctx.command.params if isinstance(param, click.Argument)]
    values = [ctx.params.get(str(param.name)) for param in arguments]
    several = [value if isinstance(value, tuple) else (value,) for value in values]
    return [path for paths in several for path in paths if path]
