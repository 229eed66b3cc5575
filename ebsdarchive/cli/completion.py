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
    """The names in the first file given that begin as typed; none where it cannot be read.

    Of a list (raw,neural) the last name is completed.
    """
    wanted = ("b", "a") if param.name in ("layer_b", "scan_b") else ("archive", "source", "a")
    path = next((ctx.params[key] for key in wanted if ctx.params.get(key)), None)
    path = path[0] if isinstance(path, tuple) else path
    if path is None:
        return []
    begun, comma, typed = incomplete.rpartition(",")
    try:
        return [f"{begun}{comma}{name}" for name in names(path) if name.startswith(typed)]
    except (EbsdArchiveError, OSError):
        return []
