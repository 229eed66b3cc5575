"""``reference``: a file by which Zarr reads a lossless layer out of an archive, without a copy."""

from __future__ import annotations

import json
import os

from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.remote import is_url
from ebsdarchive.archive.store import replacing
from ebsdarchive.archive.zarr_reference import described_as_zarr
from ebsdarchive.verbs.targets import require_other_file

__all__ = ["reference"]


def reference(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    layer: str = "raw",
    url: str | None = None,
    force: bool = False,
) -> int:
    """Write a reference file (JSON, version 1) that opens a layer as Zarr.

    Parameters
    ----------
    layer
        raw, or the name of a restored layer.
    url
        Where the archive is or will be found; by default where it is now.

    Returns
    -------
    int
        The number of chunks of patterns.

    Raises
    ------
    ArgumentError
        If codecs of Zarr cannot decode the layer; the message says how to repack the archive.
    """
    archive = open_archive(path)
    require_other_file(output, path)
    place = url or (archive.path if is_url(archive.path) else os.path.abspath(archive.path))
    found = described_as_zarr(archive, layer, place)
    with (
        replacing(output, force=force) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        json.dump(found, file)
    patterns = [entry for key, entry in found["refs"].items() if key.startswith("patterns/")]
    return sum(isinstance(entry, list) for entry in patterns)
