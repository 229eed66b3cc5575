"""Making archives: a new one, one with further layers, or one with some layers of another.

Each is written beside its target, read back, and only then takes its place.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from ebsdarchive.archive import description, layers
from ebsdarchive.archive.check import check_structure
from ebsdarchive.archive.copying import copy_node, page_bytes_of
from ebsdarchive.archive.file import Archive, archive_group
from ebsdarchive.archive.layout import arrange_for_cloud
from ebsdarchive.archive.metadata import copy_metadata
from ebsdarchive.archive.nodes import attributes_of
from ebsdarchive.archive.raw import check_blocks
from ebsdarchive.archive.remote import require_local
from ebsdarchive.archive.steps import bring_up_to_date
from ebsdarchive.archive.store import open_for_reading, open_for_writing, replacing
from ebsdarchive.archive.trust import readable
from ebsdarchive.archive.views import write_views
from ebsdarchive.errors import ArchiveError, CorruptionError
from ebsdarchive.scan import Scan
from ebsdarchive.schema import CURRENT_VERSION

__all__ = ["adding_layers", "copied_archive", "new_archive", "seal"]

Progress = Callable[[float, float], None]


@contextmanager
def new_archive(
    path: str | os.PathLike[str],
    scan: Scan,
    *,
    force: bool = False,
    archive_id: str | None = None,
    cloud: bool = False,
    progress: Progress | None = None,
) -> Iterator[h5py.File]:
    """Make an archive: yields the open file, with the scan described, for layers to be added.

    The caller adds layers and records provenance; at the end the views are written, the file is
    read back and takes its place.

    Parameters
    ----------
    cloud
        Whether the file is arranged for reading over a network (see `layout`).
    progress
        Told (patterns, of all) during the read-back.
    """
    check = _reading_back(["raw", "neural"], progress)
    with (
        replacing(path, force=force, check=check) as temporary,
        _arranged(temporary, cloud),
        open_for_writing(temporary) as file,
    ):
        archive = file.create_group("archive")
        archive.attrs["encoding-type"] = "archive"
        archive.attrs["encoding-version"] = CURRENT_VERSION
        archive.attrs["archive_id"] = archive_id or str(uuid.uuid4())
        description.write_scan(archive, scan)
        yield file
        seal(file, scan)


@contextmanager
def adding_layers(
    path: str | os.PathLike[str], names: list[str], progress: Progress | None = None
) -> Iterator[h5py.File]:
    """Add layers to an archive: yields a writable copy of the file, which then takes its place.

    What the file holds already is copied as bytes and not touched; an archive of an older format
    version becomes one of the current version. The new layers are read back. The layout is kept.

    Parameters
    ----------
    names
        Layers that the caller writes; those of them that exist are removed first.
    """
    require_local(path)
    before = Archive(path)
    with before.group() as group:
        page_bytes = page_bytes_of(group.file)
    check = _reading_back(names, progress)
    with (
        replacing(path, start_from_target=True, check=check) as temporary,
        _arranged(temporary, page_bytes is not None),
        open_for_writing(temporary, "r+", page_bytes=page_bytes) as file,
    ):
        bring_up_to_date(file)
        archive = archive_group(file)
        for name in names:
            if name in archive:
                del archive[name]
        yield file
        if set(before.layers) - set(names) - set(layers.layer_names(archive)):
            raise ArchiveError(f"{before.path}: a layer was lost while adding {names}")
        seal(file, description.read_scan(archive, before.patterns()))


@contextmanager
def copied_archive(
    archive: Archive,
    output: str | os.PathLike[str],
    names: list[str],
    *,
    cloud: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Iterator[h5py.File]:
    """Make an archive of some layers of another one; yields the open file before it is sealed.

    The caller may add others; raw patterns are read back in any case.

    Parameters
    ----------
    cloud
        Whether the file is arranged for reading over a network (see `layout`).
    """
    check = _reading_back([*names, *({"raw"} - set(names))], progress)
    with (
        replacing(output, force=force, check=check) as temporary,
        _arranged(temporary, cloud),
        open_for_reading(archive.path) as old,
        open_for_writing(temporary) as file,
    ):
        with readable(old):
            source = archive_group(old)
            target = file.create_group("archive")
            for key, value in attributes_of(source).items():
                target.attrs[key] = value
            target.attrs["encoding-version"] = CURRENT_VERSION
            for name in ("scan", "source", "provenance"):
                copy_node(source[name], target, name)
            copy_metadata(source, target)
        for name in names:
            layers.copy_layer(source, target, name)
        yield file
        seal(file, description.read_scan(target, archive.patterns()))


@contextmanager
def _arranged(temporary: Path, cloud: bool) -> Iterator[None]:
    """Arrange a file for reading over a network, if it shall be, once it is written and closed."""
    yield
    if cloud:
        arrange_for_cloud(temporary)


def seal(file: h5py.File, scan: Scan) -> None:
    """Write what depends on all of the archive: its table of contents and the views."""
    layers.write_contents(file["archive"])
    write_views(file, scan)


def _reading_back(names: list[str], progress: Progress | None) -> Callable[[Path], None]:
    """The check of a file that was just written: its structure, and the pattern layers `names`."""

    def check(path: Path) -> None:
        faults = check_structure(path)
        with open_for_reading(path) as file:
            archive = file["archive"]
            present = [name for name in names if name in archive]
            nodes = [node for name in present for node in layers.block_nodes(archive, name)]
        for node in nodes:
            faults += check_blocks(str(path), node, progress)
        if faults:
            raise CorruptionError(
                f"{path}: expected to read back what was written, found {len(faults)} faults, "
                f"first {faults[0]}; nothing was changed"
            )

    return check
