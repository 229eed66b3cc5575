"""``export`` for many archives: a file of each, and what is done already is not done again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ebsdarchive.archive.file import Archive, open_archive
from ebsdarchive.archive.layers import layer_node, read_contents
from ebsdarchive.archive.orientation_maps import orientation_map_names
from ebsdarchive.errors import ArchiveError, ArgumentError
from ebsdarchive.exchange.finding import FoundFile, find_archives
from ebsdarchive.exchange.outlines import FORMATS as OUTLINE_FORMATS
from ebsdarchive.exchange.writers import Written
from ebsdarchive.exchange.writing.registry import WRITE_FORMATS
from ebsdarchive.verbs.batching import Follower, Outcome, Result, run_batch, unfollowed
from ebsdarchive.verbs.export_record import ExportRecord
from ebsdarchive.verbs.exporting import EXPORTED, export
from ebsdarchive.verbs.naming import targets_below
from ebsdarchive.verbs.progress import Progress, silent

__all__ = ["FILE_ENDINGS", "FOLDER_FORMATS", "export_many"]

# folders of pictures have no ending, and must not be the folder that other exports are in
_ENDINGS = {
    entry.key: entry.endings[0] if entry.endings else "_patterns"
    for entry in WRITE_FORMATS
    if entry.key in EXPORTED
}
FILE_ENDINGS = (*(e for entry in WRITE_FORMATS for e in entry.endings), *OUTLINE_FORMATS)
FOLDER_FORMATS = {entry.key for entry in WRITE_FORMATS if entry.folder}


def export_many(
    sources: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    format: str,
    format_version: int | None = None,
    layer: str | None = None,
    orientations: str | None = None,
    region: tuple[float, float, float, float] | None = None,
    fill: Sequence[str] = (),
    dtype: str | None = None,
    force: bool = False,
    check_all: bool = False,
    progress: Progress = silent,
    follower: Follower = unfollowed,
) -> list[Outcome]:
    """Write the patterns of each archive in files and folders to a file for other software.

    The folder gets a record of what was exported (`ebsdarchive-exports.jsonl`): an output that is
    there as it was written, of the same layer and options, is done before. Files of which size,
    times or inode changed are digested anew. An archive that fails does not stop the rest.

    Parameters
    ----------
    sources
        Archives, and folders that are walked for them.
    output
        Folder for the files, which keep the folders below those that are named.
    format
        Key of a format in `ebsdarchive.exchange.writing.registry`.
    format_version, layer, orientations, region, fill, dtype
        As for `export`.
    force
        Write all files anew, whatever stands in their places.
    check_all
        Digest files that seem to be as they were, too.
    follower
        Told of every archive as it begins and ends.

    Returns
    -------
    list of Outcome
        With the figures `patterns`, `nbytes` and `mae_percent` (None for measured patterns).

    Raises
    ------
    ArgumentError
        If the format is not known, or two archives want the same name.
    ArchiveError
        If there are no archives.
    """
    folder = Path(output)
    if format not in _ENDINGS:
        raise ArgumentError(f"format: expected one of {', '.join(_ENDINGS)}, found {format!r}")
    found = find_archives([Path(source) for source in sources], folder)
    if not found.files and not found.closed:
        raise ArchiveError(
            f"{', '.join(map(str, sources))}: expected archives, found none among "
            f"{len(found.passed_over)} files; make them with `ebsdarchive compress`"
        )
    asked = {
        "format": format,
        "format_version": format_version,
        "layer": layer,
        "orientations": orientations,
        "region": None if region is None else list(region),
        "fill": list(fill),
        "dtype": dtype,
    }
    record = ExportRecord(folder, check_all)

    def work(one: FoundFile, target: Path) -> Result:
        return _exported(one, target, record, asked, force, progress)

    targets = targets_below(folder, found.files, _ENDINGS[format])
    return run_batch(found, targets, work, follower)


def _exported(
    one: FoundFile,
    target: Path,
    record: ExportRecord,
    asked: dict[str, Any],
    force: bool,
    progress: Progress,
) -> Result:
    """Export an archive, unless that was done before."""
    archive = open_archive(one.path)
    layer = asked["layer"] or archive.pattern_layers[0]
    wanted = {**asked, "of": _digests(archive, layer)}
    standing = "ours" if force else record.standing(target, wanted)
    if standing == "done":
        return "done before", record.figures(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    record.begin(target, wanted)
    written = export(
        one.path,
        target,
        **{**asked, "layer": layer},
        force=standing == "ours",
        progress=progress,
    )
    assert isinstance(written, Written)  # polylines take no format
    figures = {
        "patterns": written.count,
        "nbytes": written.nbytes,
        "mae_percent": archive.attributes(layer).get("mae_percent"),
    }
    files = [written.path, written.sidecar, *written.beside]
    record.complete(target, wanted, [Path(file) for file in files if file is not None], figures)
    return "done", figures


def _digests(archive: Archive, layer: str) -> dict[str, str]:
    """Digests of what an export may be made from: scan, layers and orientation maps."""
    with archive.group() as group:
        contents = read_contents(group)
        path = layer_node(group, layer).name.removeprefix("/archive/")
        maps = [f"maps/{name}" for name in orientation_map_names(group)]
    return {name: contents[name] for name in ("scan", "raw", path, *maps) if name in contents}
