"""Older format versions: a chain of steps, each from one version to the next.

A step changes an open file in place; the file is always a copy. Format 1.0 is the first release, so
the chain is empty so far.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py

from ebsdarchive.archive.check import check_structure
from ebsdarchive.archive.file import format_version
from ebsdarchive.archive.store import LIBVER, open_for_reading, replacing
from ebsdarchive.errors import ArgumentError, CorruptionError, VersionError
from ebsdarchive.schema import CURRENT_VERSION

__all__ = ["STEPS", "upgrade_file"]

# {version: (next version, step)}
STEPS: dict[str, tuple[str, Callable[[h5py.File], None]]] = {}


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
    if version not in STEPS:
        known = ", ".join([*STEPS, CURRENT_VERSION])
        raise VersionError(
            f"{os.fspath(path)}: format version {version} is not known here (known: {known}); "
            f"update ebsdarchive to read it"
        )
    with replacing(output, force=force, check=_check) as temporary:
        shutil.copyfile(path, temporary)
        with h5py.File(temporary, "r+", libver=LIBVER) as file:
            current = version
            while current != CURRENT_VERSION:
                current, step = STEPS[current]
                step(file)
    return version, CURRENT_VERSION


def _check(path: Path) -> None:
    faults = check_structure(path)
    if faults:
        raise CorruptionError(
            f"{path}: expected a sound archive after the upgrade, found {faults[0]}; nothing was "
            f"written"
        )
