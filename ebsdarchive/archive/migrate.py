"""Rewrites an archive of an older format version as one of the current version.

The upgrade itself is recorded as an activity; the steps it takes are in `steps`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np

from ebsdarchive.archive import description, layers, provenance
from ebsdarchive.archive.check import check_structure
from ebsdarchive.archive.file import archive_group, format_version, readable
from ebsdarchive.archive.making import seal
from ebsdarchive.archive.nodes import attributes_of
from ebsdarchive.archive.steps import bring_up_to_date, require_step
from ebsdarchive.archive.store import (
    file_sha256,
    open_for_reading,
    open_for_writing,
    replacing,
)
from ebsdarchive.errors import ArgumentError, CorruptionError
from ebsdarchive.scan import ArrayPatterns
from ebsdarchive.schema import CURRENT_VERSION

__all__ = ["upgrade_file"]


def upgrade_file(
    path: str | os.PathLike[str], output: str | os.PathLike[str], *, force: bool = False
) -> tuple[str, str]:
    """Write `path` as a new file of the current format version; returns both versions."""
    with open_for_reading(path) as file:
        version = format_version(file)
    if version == CURRENT_VERSION:
        raise ArgumentError(
            f"{os.fspath(path)}: expected an older format version, found the current one "
            f"({version}); there is nothing to upgrade"
        )
    require_step(version, os.fspath(path))
    with replacing(output, force=force, check=_check) as temporary:
        shutil.copyfile(path, temporary)
        with open_for_writing(temporary, "r+") as file, readable(file):
            bring_up_to_date(file)
            archive = archive_group(file)
            activity = provenance.Activity("upgrade", {"from": version, "to": CURRENT_VERSION})
            activity.used[Path(path).name] = file_sha256(path)
            digests, names = layers.contents(archive), layers.layer_names(archive)
            activity.generated = {name: digests[name] for name in names}
            provenance.record(archive, activity)
            seal(file, description.read_scan(archive, _declared_patterns(archive)))
    return version, CURRENT_VERSION


def _declared_patterns(archive: h5py.Group) -> ArrayPatterns:
    """Patterns of the shape and type that the scan says, taking no memory; to be looked at only."""
    said = attributes_of(archive["scan"])
    zero = np.zeros((), np.dtype(said["dtype"]))
    return ArrayPatterns(np.broadcast_to(zero, (said["n"], said["sy"], said["sx"])))


def _check(path: Path) -> None:
    faults = check_structure(path)
    if faults:
        raise CorruptionError(
            f"{path}: expected a sound archive after the upgrade, found {faults[0]}; nothing was "
            f"written"
        )
