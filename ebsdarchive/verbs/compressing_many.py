"""``compress`` for many scans: an archive of each, and what is done already is not done again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ebsdarchive.archive.file import open_archive
from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.exchange import open_scan
from ebsdarchive.exchange.finding import FoundFile, find_scans
from ebsdarchive.exchange.readable import readable_for
from ebsdarchive.metadata.documents import given_metadata
from ebsdarchive.verbs.annotating import annotate
from ebsdarchive.verbs.archive_record import ArchiveRecord, source_state
from ebsdarchive.verbs.batching import Follower, Outcome, Result, run_batch, unfollowed
from ebsdarchive.verbs.compressing import compress
from ebsdarchive.verbs.describing import info
from ebsdarchive.verbs.fitting import NeuralOptions, fit
from ebsdarchive.verbs.naming import targets_below
from ebsdarchive.verbs.progress import Progress, silent
from ebsdarchive.verbs.standing import Asked, standing_of

__all__ = ["compress_many"]


def compress_many(
    sources: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    profile: str = "auto",
    neural: bool = True,
    drop_raw: bool = False,
    options: NeuralOptions | None = None,
    index_pattern: str | None = None,
    metadata: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    force: bool = False,
    check_all: bool = False,
    progress: Progress = silent,
    follower: Follower = unfollowed,
) -> list[Outcome]:
    """Make an archive of each scan in files and folders.

    A scan whose archive is there, sound (all patterns are decoded and compared) and of the same
    source and options, is done before. An archive that lacks its neural layer is given one, from
    the checkpoint of an interrupted fit where there is one; one that is damaged or was made with
    other options is made anew. A scan that fails does not stop the rest.

    The folder gets a record of archives that were found or made sound
    (`ebsdarchive-archives.jsonl`). They are not decoded, nor their sources digested again, as long
    as neither changes in size, times or inode.

    Parameters
    ----------
    sources
        Vendors' files, folders of images, and folders that are walked for both.
    output
        Folder for the archives, which keep the folders below those that are named.
    profile, neural, drop_raw, options
        As for `compress`.
    index_pattern
        How the names of images give their places, in folders of images.
    metadata
        What people say about all of the scans, as for `compress`. An archive that is there already
        is given them where it has none.
    force
        Make all archives anew, whatever stands in their places.
    check_all
        Decode archives and digest sources that seem to be as they were, too.
    follower
        Told of every scan as it begins and ends.

    Returns
    -------
    list of Outcome
        With the figures `raw_ratio`, `neural_ratio` and `mae_percent`, None without such a layer.

    Raises
    ------
    ArgumentError
        If two scans want the same name, or at least one layer is not to be kept.
    FormatError
        If there are no scans.
    """
    folder = Path(output)
    if drop_raw and not neural:
        raise ArgumentError(
            "compress: expected at least one layer, found drop_raw without neural; keep one"
        )
    found = find_scans([Path(source) for source in sources], folder)
    if not found.files and not found.closed:
        raise FormatError(
            f"{', '.join(map(str, sources))}: expected scans, found none among "
            f"{len(found.passed_over)} files; `ebsdarchive formats` lists what is read"
        )
    asked = Asked(profile, neural, drop_raw, options or NeuralOptions(), index_pattern)
    if metadata is not None:
        asked = replace(asked, metadata=given_metadata(metadata))

    record = ArchiveRecord(folder)

    def work(one: FoundFile, target: Path) -> Result:
        return _archived(one, target, asked, metadata, force, check_all, record, progress)

    return run_batch(found, targets_below(folder, found.files, ".archive.h5"), work, follower)


def _archived(
    one: FoundFile,
    target: Path,
    asked: Asked,
    metadata: str | os.PathLike[str] | Mapping[str, Any] | None,
    force: bool,
    check_all: bool,
    record: ArchiveRecord,
    progress: Progress,
) -> Result:
    """Make the archive of a scan, or what is missing of it."""
    if asked.index_pattern is not None and not _is_of_images(one.path):
        asked = replace(asked, index_pattern=None)
    opened = open_scan(one.path, scan=one.scan, index_pattern=asked.index_pattern)
    source = source_state(opened)
    known = not check_all and record.holds(target, opened)
    standing = "to replace" if force else standing_of(target, opened, asked, known, progress)
    if standing in ("done", "to fit"):
        is_new = standing == "to fit"
        if is_new:
            fit(target, options=asked.options, progress=progress)
        if metadata is not None and not open_archive(target).metadata():
            annotate(target, metadata=metadata, progress=progress)
            is_new = True
        record.keep(target, opened, source)
        return "done" if is_new else "done before", _figures(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    compress(
        one.path,
        target,
        profile=asked.profile,
        neural=asked.neural,
        drop_raw=asked.drop_raw,
        options=asked.options,
        scan=one.scan,
        index_pattern=asked.index_pattern,
        metadata=metadata,
        force=standing == "to replace",
        progress=progress,
    )
    record.keep(target, opened, source)
    return "done", _figures(target)


def _is_of_images(path: Path) -> bool:
    return path.is_dir() and readable_for(path).name == "images"


def _figures(target: Path) -> dict[str, Any]:
    """Ratios and error of an archive."""
    layers = info(target)["layers"]
    raw, field = (layers.get(name, {}) for name in ("raw", "neural"))
    return {
        "raw_ratio": raw.get("ratio"),
        "neural_ratio": field.get("ratio"),
        "mae_percent": field.get("mae_percent"),
    }
