"""The archive as a file: opening one for reading, making a new one, adding layers to one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ebsdarchive.archive import description, layers, provenance
from ebsdarchive.archive.nodes import attributes_of, plain
from ebsdarchive.archive.raw import check_blocks
from ebsdarchive.archive.store import open_for_reading, open_for_writing, replacing
from ebsdarchive.archive.views import write_views
from ebsdarchive.errors import ArchiveError, CorruptionError, VersionError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Patterns, Scan
from ebsdarchive.schema import CURRENT_VERSION, known_versions

__all__ = ["Archive", "adding_layers", "archive_group", "new_archive", "open_archive"]

Progress = Callable[[float, float], None]


class Archive:
    """An archive, opened for reading. It holds no file handle between calls.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ArchiveError
        If the file is missing, is not HDF5, or is HDF5 but not an archive.
    VersionError
        If its format version is not known here.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        with self._open() as archive:
            self.archive_id = str(plain(archive.attrs.get("archive_id", "")))
            self.format_version = format_version(archive.file)
            self.layers = layers.layer_names(archive)
            self.pattern_layers = layers.pattern_layer_names(archive)
            self.grid: Grid = description.read_grid(archive)
            scan = attributes_of(archive["scan"])
            self.pattern_shape: tuple[int, int] = (scan["sy"], scan["sx"])
            self.dtype: str = scan["dtype"]

    def __repr__(self) -> str:
        sy, sx = self.pattern_shape
        return (
            f"<Archive {self.path}: format {self.format_version}, {self.grid.size} patterns of "
            f"{sy} x {sx} px ({self.dtype}), layers {', '.join(self.layers)}>"
        )

    def patterns(self, layer: str | None = None) -> Patterns:
        """The patterns of a layer; of the first there is of raw and neural by default."""
        with self._open() as archive:
            return layers.pattern_reader(archive, layer or self.pattern_layers[0])

    def scan(self, layer: str | None = None) -> Scan:
        """The scan with the patterns of a layer, as a source would give it."""
        patterns = self.patterns(layer)
        with self._open() as archive:
            return description.read_scan(archive, patterns)

    def attributes(self, layer: str) -> dict[str, Any]:
        """What a layer's node says of itself."""
        with self._open() as archive:
            return attributes_of(layers.layer_node(archive, layer))

    def map(self, name: str) -> Any:
        """(n_rows, n_columns, …) values of a map."""
        with self._open() as archive:
            return layers.layer_node(archive, f"maps/{name}")["data"][()]

    def provenance(self) -> list[dict[str, Any]]:
        """PROV-JSON documents of the activities that wrote to the archive, oldest first."""
        with self._open() as archive:
            return provenance.activities(archive)

    @property
    def raw_sha256(self) -> str:
        """Digest of the raw patterns, which lossy layers name even where raw is not kept."""
        with self._open() as archive:
            if "raw" in archive:
                return str(plain(archive["raw"].attrs["patterns_sha256"]))
            return str(plain(archive["neural"].attrs["raw_sha256"]))

    @contextmanager
    def _open(self) -> Iterator[h5py.Group]:
        with open_for_reading(self.path) as file, readable(file):
            yield archive_group(file)


def open_archive(path: str | os.PathLike[str]) -> Archive:
    """Open an archive for reading; see `Archive`."""
    return Archive(path)


@contextmanager
def readable(file: h5py.File) -> Iterator[None]:
    """Turn what h5py raises on damaged structures into a CorruptionError that names the file."""
    try:
        yield
    except (KeyError, OSError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0].strip("'\"") if str(error) else type(error).__name__
        raise CorruptionError(
            f"{file.filename}: expected a sound archive, found damage ({reason}); "
            f"run `ebsdarchive verify` to see what survives"
        ) from error


def format_version(file: h5py.File) -> str:
    """The format version that a file says it has; ArchiveError if it is no archive."""
    if plain(file.attrs.get("encoding-type", "")) != "ebsdarchive":
        content = ", ".join(list(file)[:5]) or "nothing"
        raise ArchiveError(
            f"{file.filename}: expected an ebsdarchive file, found other HDF5 content ({content}); "
            f"make an archive of it with `ebsdarchive compress`"
        )
    return str(plain(file.attrs.get("encoding-version", "unknown")))


def archive_group(file: h5py.File) -> h5py.Group:
    """The group ``/archive`` of a file of the current format version."""
    version = format_version(file)
    if version not in known_versions():
        raise VersionError(
            f"{file.filename}: format version {version} is not known here "
            f"(known: {', '.join(known_versions())}); update ebsdarchive to read it"
        )
    if version != CURRENT_VERSION:
        raise VersionError(
            f"{file.filename}: expected format version {CURRENT_VERSION}, found the older "
            f"{version}; run `ebsdarchive upgrade`"
        )
    archive = file.get("archive")
    if not isinstance(archive, h5py.Group):
        raise CorruptionError(f"{file.filename}: /archive: expected a group, found none")
    return archive


@contextmanager
def new_archive(
    path: str | os.PathLike[str],
    scan: Scan,
    *,
    force: bool = False,
    archive_id: str | None = None,
    progress: Progress | None = None,
) -> Iterator[h5py.File]:
    """Make an archive: yields the open file, with the scan described, for layers to be added.

    The caller adds layers and records provenance; at the end the views are written, the file is
    read back and takes its place.

    Parameters
    ----------
    progress
        Told (patterns, of all) during the read-back.
    """
    with replacing(path, force=force, check=lambda p: read_back(p, ["raw"], progress)) as temporary:
        with open_for_writing(temporary) as file:
            archive = file.create_group("archive")
            archive.attrs["encoding-type"] = "archive"
            archive.attrs["encoding-version"] = CURRENT_VERSION
            archive.attrs["archive_id"] = archive_id or str(uuid.uuid4())
            description.write_scan(archive, scan)
            yield file
            write_views(file, scan)


@contextmanager
def adding_layers(
    path: str | os.PathLike[str], names: list[str], progress: Progress | None = None
) -> Iterator[h5py.File]:
    """Add layers to an archive: yields a writable copy of the file, which then takes its place.

    What the file holds already is copied as bytes and not touched. The new layers are read back.

    Parameters
    ----------
    names
        Layers that the caller writes; those of them that exist are removed first.
    """
    before = Archive(path)
    with replacing(
        path, start_from_target=True, check=lambda p: read_back(p, names, progress)
    ) as temporary:
        with h5py.File(temporary, "r+", libver=("earliest", "v108")) as file:
            archive = archive_group(file)
            for name in names:
                if name in archive:
                    del archive[name]
            yield file
            if set(before.layers) - set(names) - set(layers.layer_names(archive)):
                raise ArchiveError(f"{before.path}: a layer was lost while adding {names}")
            write_views(file, description.read_scan(archive, before.patterns()))


def read_back(path: Path, names: list[str], progress: Progress | None = None) -> None:
    """Check a file that was just written: its structure, and the pattern layers in `names`."""
    from ebsdarchive.archive.check import check_structure

    faults = check_structure(path)
    with open_for_reading(path) as file:
        present = [name for name in names if name in file["archive"]]
    for name in present:
        if name == "raw":
            faults += check_blocks(str(path), "/archive/raw", progress)
        elif name.startswith("restored/"):
            faults += check_blocks(str(path), f"/archive/{name}/patterns", progress)
    if faults:
        raise CorruptionError(
            f"{path}: expected to read back what was written, found {len(faults)} faults, first "
            f"{faults[0]}; nothing was changed"
        )
