"""Where verbs may write: never over what they read."""

from __future__ import annotations

import os
from pathlib import Path

from ebsdarchive.errors import OutputError

__all__ = ["require_other_file"]


def require_other_file(output: str | os.PathLike[str], *sources: str | os.PathLike[str]) -> None:
    """Raise OutputError if `output` is one of the files that are read, by whatever name."""
    for source in sources:
        if Path(output).exists() and Path(source).exists() and os.path.samefile(source, output):
            raise OutputError(
                f"{os.fspath(output)}: expected another file than the source; choose one with -o"
            )
