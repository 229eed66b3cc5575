"""Where verbs may write: never over what they read, and to no server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.remote import require_local
from ebsdarchive.errors import OutputError

__all__ = ["require_free", "require_local", "require_no_layers", "require_other_file"]


def require_other_file(output: str | os.PathLike[str], *sources: str | os.PathLike[str]) -> None:
    """Raise OutputError if `output` is one of the files that are read, by whatever name."""
    require_local(output)
    for source in sources:
        if Path(output).exists() and Path(source).exists() and os.path.samefile(source, output):
            raise OutputError(
                f"{os.fspath(output)}: expected another file than the source; choose one with -o"
            )


def require_free(
    output: str | os.PathLike[str], *sources: str | os.PathLike[str], force: bool
) -> None:
    """Raise OutputError, before the work begins, if a result cannot have its place.

    That is if `output` is one of the files that are read, if it exists (without `force`), or if its
    folder does not.
    """
    require_other_file(output, *sources)
    if os.path.exists(output) and not force:
        raise OutputError(
            f"{os.fspath(output)}: expected no such file, found one; use --force to replace it"
        )
    folder = os.path.dirname(os.fspath(output)) or "."
    if not os.path.isdir(folder):
        raise OutputError(f"{os.fspath(output)}: expected an existing folder {folder}, found none")


def require_no_layers(
    archive: Archive, layers: Sequence[str], *, force: bool, advice: str = ""
) -> None:
    """Raise OutputError, before the work begins, if a layer exists (without `force`).

    Parameters
    ----------
    advice
        What else may be done about it.
    """
    taken = [layer for layer in layers if layer in archive.layers]
    if taken and not force:
        raise OutputError(
            f"{archive.path}: expected no layer {taken[0]}, found one; use --force to replace it"
            f"{advice}"
        )
