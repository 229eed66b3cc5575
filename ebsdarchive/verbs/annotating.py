"""``annotate``: what people say about a scan, changed in its archive."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ebsdarchive.archive import provenance
from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.metadata import METADATA, write_metadata
from ebsdarchive.archive.nodes import attribute
from ebsdarchive.archive.store import file_sha256
from ebsdarchive.metadata.documents import changed, given_metadata
from ebsdarchive.verbs.progress import Progress, silent, stage

__all__ = ["annotate"]


def annotate(
    path: str | os.PathLike[str],
    *,
    metadata: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    remove: Sequence[str] = (),
    progress: Progress = silent,
) -> dict[str, Any]:
    """Change the metadata of an archive; nothing else in it is touched.

    The archive is written as every archive is: a copy beside it takes its place once it was read
    back. Without any change nothing is written.

    Parameters
    ----------
    metadata
        File or mapping whose entries take the place of those of their names at the top.
    settings
        "KEY=VALUE" for single entries, such as ``sample.name=Ni`` or ``people.0.orcid=…``; made
        last.
    remove
        Keys to remove, such as ``sample.parent``.

    Returns
    -------
    dict
        The metadata as they are now.

    Raises
    ------
    FormatError, ArgumentError
        If the file, or the result, leaves the vocabulary; the archive is as it was.
    """
    archive = open_archive(path)
    before = archive.metadata()
    given = None if metadata is None else given_metadata(metadata)
    after = changed(before, replacing=given, removed=remove, settings=settings)
    if after == before:
        return after
    activity = provenance.Activity(
        "annotate", {"settings": list(settings), "remove": list(remove), "file": given is not None}
    )
    if metadata is not None and not isinstance(metadata, Mapping):
        activity.used[Path(metadata).name] = file_sha256(metadata)
    if before:
        with archive.group() as group:
            activity.used[METADATA] = str(attribute(group[METADATA], "sha256"))
    with adding_layers(path, [METADATA], stage(progress, "reading back")) as file:
        if after:
            activity.generated[METADATA] = write_metadata(file["archive"], after)
        provenance.record(file["archive"], activity)
    return after
