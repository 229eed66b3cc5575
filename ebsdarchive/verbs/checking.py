"""``verify`` and ``validate``: what of an archive is sound, read-only."""

from __future__ import annotations

import os

from ebsdarchive.archive.check import Report, check_archive, check_schema
from ebsdarchive.verbs.progress import Progress, silent, stage

__all__ = ["validate", "verify"]


def verify(
    path: str | os.PathLike[str], *, data: bool = False, progress: Progress = silent
) -> Report:
    """Check an archive's structure, the digests of its nodes and, with `data`, every pattern.

    Nothing is written. All faults are reported, by layer, so that it is plain what survives.

    Raises
    ------
    ArchiveError
        If the file cannot be taken for an archive at all.
    """
    return check_archive(path, data, stage(progress, "verifying"))


def validate(path: str | os.PathLike[str]) -> list[str]:
    """Everything in which an archive differs from the schema of its format version."""
    return check_schema(path)
