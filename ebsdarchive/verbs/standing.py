"""What an archive that is there already is worth to a batch that is about to make it.

The rule: an archive of the same source that is sound and holds what is asked for is done, also
where it holds more. What can be made again from the source is made again; anything else that
stands at the place is left alone.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import h5py

from ebsdarchive.archive.check import check_archive
from ebsdarchive.archive.description import size_and_digest
from ebsdarchive.archive.file import Archive, archive_group, readable
from ebsdarchive.archive.nodes import attributes_of
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.errors import ArchiveError, OutputError, VersionError
from ebsdarchive.metadata.documents import changed
from ebsdarchive.scan import Scan
from ebsdarchive.verbs.fitting import ERROR_MAP, NeuralOptions
from ebsdarchive.verbs.progress import Progress, stage

__all__ = ["Asked", "Standing", "standing_of"]

Standing = Literal["absent", "done", "to fit", "to replace"]
_OWN = {"raw", "neural", "maps/mean_intensity", ERROR_MAP}


@dataclass(frozen=True)
class Asked:
    """What archives shall hold; see `ebsdarchive.compress`."""

    profile: str
    neural: bool
    drop_raw: bool
    options: NeuralOptions
    index_pattern: str | None
    metadata: dict[str, Any] | None = None


def standing_of(
    target: Path, scan: Scan, asked: Asked, known: bool, progress: Progress
) -> Standing:
    """What is to be done for the archive `target` of a scan.

    Parameters
    ----------
    known
        Whether the archive is known to be sound and of this scan: it is compared with what is
        asked for alone.

    Returns
    -------
    "absent" (there is no such file), "done", "to fit" (it lacks nothing but the neural layer asked
    for), or "to replace" (it is of this source, but damaged or made otherwise).

    Raises
    ------
    OutputError
        If the file is not an archive, or one of another source or with other metadata, or to be
        replaced although it holds layers or metadata that were added to it.
    VersionError
        If the archive is of a format version that is not known here.
    """
    if not target.exists():
        return "absent"
    if not target.is_file() or not h5py.is_hdf5(target):
        raise _in_the_way(target, "another file")
    try:
        with open_for_reading(target) as file:
            archive_group(file)
    except VersionError:
        raise
    except ArchiveError as error:
        if _is_truncated(target):
            return "to replace"  # nobody can read anything of it
        raise _in_the_way(target, str(error).rpartition("found ")[2]) from error
    if not known:
        _require_same_source(target, scan)
        report = check_archive(target, data=True, progress=stage(progress, "checking archive"))
        if not report.sound:
            _require_nothing_added(target, list(report.layers), asked, "damage")
            return "to replace"
    archive = Archive(target)
    standing = _compared(archive, asked)
    if standing == "to replace":
        _require_nothing_added(target, archive.layers, asked, "one made with other options")
    said = archive.metadata()
    if said and changed(said, replacing=asked.metadata or {}) != said:
        raise _in_the_way(target, "one with other metadata (`annotate` changes them)")
    return standing


def _compared(archive: Archive, asked: Asked) -> Standing:
    """What a sound archive of the same source lacks of what is asked for."""
    made = _parameters_of_compress(archive)
    if made.get("index_pattern") != asked.index_pattern:
        return "to replace"
    if not asked.drop_raw and (
        "raw" not in archive.layers or made.get("profile", asked.profile) != asked.profile
    ):
        return "to replace"
    if not asked.neural or _options_of_field(archive) == asked.options.recorded():
        return "done"
    return "to fit" if "raw" in archive.layers else "to replace"


def _parameters_of_compress(archive: Archive) -> dict[str, Any]:
    """What `compress` was called with, by the archive's provenance."""
    for document in reversed(archive.provenance()):
        for activity in document["activity"].values():
            if activity["prov:label"] == "compress":
                return dict(json.loads(activity["ea:parameters"]))
    return {}


def _options_of_field(archive: Archive) -> dict[str, Any] | None:
    """The options that the neural layer was fitted with; later ones at their defaults."""
    if "neural" not in archive.layers:
        return None
    config = json.loads(archive.attributes("neural").get("config", "{}"))
    return {**asdict(NeuralOptions()), **config["options"]} if "options" in config else None


def _require_same_source(target: Path, scan: Scan) -> None:
    """Raise OutputError unless an archive says that it is of this scan of this source."""
    assert scan.source.path is not None
    try:
        with open_for_reading(target) as file, readable(file):
            group = archive_group(file)
            said = attributes_of(group["source"])
            name = attributes_of(group["scan"]).get("name")
    except ArchiveError as error:
        raise _in_the_way(target, "one whose record of its source is damaged") from error
    own = size_and_digest(Path(scan.source.path), scan.source.parts)
    if any(said.get(key) != value for key, value in own.items()) or name != scan.name:
        raise _in_the_way(
            target,
            f"one of {said.get('file_name', 'a scan in memory')} (scan {name}, SHA-256 "
            f"{str(said.get('file_sha256'))[:12]}…)",
        )


def _require_nothing_added(target: Path, layers: list[str], asked: Asked, found: str) -> None:
    """Raise OutputError if a file to be replaced holds what `compress` cannot make again."""
    added = [name for name in layers if name not in _OWN]
    with suppress(ArchiveError):  # metadata that cannot be read are lost already
        said = Archive(target).metadata()
        added += ["metadata"] if said and said != (asked.metadata or {}) else []
    if added:
        raise _in_the_way(target, f"{found}, with what was added later ({', '.join(added)})")


def _is_truncated(target: Path) -> bool:
    """Whether an HDF5 file cannot be opened at all."""
    try:
        with h5py.File(target, "r", locking="best-effort"):
            return False
    except OSError as error:
        return "truncated" in str(error)


def _in_the_way(target: Path, found: str) -> OutputError:
    return OutputError(
        f"{target}: expected no file or an archive of this scan, found {found}; it is left as it "
        f"is, --force replaces it"
    )
