"""``repack``: an archive with its raw patterns coded, or its file arranged, in another way."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ebsdarchive.archive import provenance
from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.layers import layer_node
from ebsdarchive.archive.layout import is_cloud, parse_profile
from ebsdarchive.archive.making import copied_archive
from ebsdarchive.archive.raw import RawSummary, write_raw
from ebsdarchive.errors import CorruptionError, MissingLayerError
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_other_file

__all__ = ["RepackSummary", "repack"]


@dataclass(frozen=True)
class RepackSummary:
    """What `repack` made of an archive; `raw` where its patterns were coded anew."""

    path: str
    file_bytes: int
    cloud: bool
    raw: RawSummary | None


def repack(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    profile: str,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> RepackSummary:
    """Write an archive again with another coding of its raw patterns, or another layout.

    All layers come along; the patterns and their digest stay what they are.

    Parameters
    ----------
    profile
        A coding of the raw patterns (auto, archive, fast, compat, none), a layout of the file
        (cloud for reading over a network, plain for HDF5 1.8), or both, as in "compat,cloud". What
        is not named stays as it is.

    Raises
    ------
    MissingLayerError
        If a coding is named and the archive holds no raw patterns.
    """
    coding, cloud = parse_profile(profile)
    archive = open_archive(path)
    require_other_file(output, path)
    if coding is not None and "raw" not in archive.layers:
        raise MissingLayerError(
            f"{archive.path}: expected raw patterns to code, found the layers "
            f"{', '.join(archive.layers)}; name a layout only"
        )
    if cloud is None:
        with archive.group() as group:
            cloud = is_cloud(group.file)
    names = [name for name in archive.layers if coding is None or name != "raw"]
    activity = provenance.Activity("repack", {"profile": profile})
    raw = None
    with copied_archive(
        archive,
        output,
        names,
        cloud=cloud,
        force=force,
        progress=stage(progress, "reading back"),
    ) as file:
        for name in names:
            digest = str(layer_node(file["archive"], name).attrs["sha256"])
            activity.used[name] = activity.generated[name] = digest
        if coding is not None:
            patterns = archive.patterns("raw")
            shown = stage(progress, "raw layer")
            raw = write_raw(file["archive"], "raw", patterns, archive.grid, coding, shown)
            if raw.sha256 != archive.raw_sha256:
                raise CorruptionError(
                    f"{archive.path}: /archive/raw: expected patterns of digest "
                    f"{archive.raw_sha256[:12]}…, found others; run `ebsdarchive verify --data`"
                )
            activity.used["raw"] = activity.generated["raw"] = raw.sha256
        provenance.record(file["archive"], activity)
    return RepackSummary(os.fspath(output), os.path.getsize(output), cloud, raw)
