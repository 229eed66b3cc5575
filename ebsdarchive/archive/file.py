"""The archive as a file, opened for reading: what it is of, and which layers it holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import h5py

from ebsdarchive.archive import description, layers, provenance
from ebsdarchive.archive.metadata import read_metadata
from ebsdarchive.archive.nodes import attribute, attributes_of, read_array, require_kind
from ebsdarchive.archive.remote import is_url
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.archive.trust import readable, refuse_links
from ebsdarchive.errors import ArchiveError, CorruptionError, VersionError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import PATTERN_DTYPES, Patterns, Scan
from ebsdarchive.schema import known_versions

__all__ = [
    "Archive",
    "archive_group",
    "format_version",
    "is_archive",
    "open_archive",
    "readable",
]

_DENSEST = 1100  # points per byte: every archive holds a map of them, and gzip has its limits


class Archive:
    """An archive, opened for reading. It holds no file handle between calls.

    Parameters
    ----------
    path
        The file, or a URL of it, of which only those parts are fetched that are needed.

    Raises
    ------
    ArchiveError
        If the file is missing, is not HDF5, or is HDF5 but not an archive.
    VersionError
        If its format version is not known here.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        with self.group() as archive:
            self.archive_id = str(attribute(archive, "archive_id", ""))
            self.format_version = format_version(archive.file)
            self.file_bytes: int = archive.file.id.get_filesize()
            self.layers = layers.layer_names(archive)
            self.pattern_layers = layers.pattern_layer_names(archive)
            self.grid: Grid = description.read_grid(archive)
            scan = attributes_of(archive["scan"])
            self.pattern_shape: tuple[int, int] = (int(scan["sy"]), int(scan["sx"]))
            self.dtype: str = scan["dtype"]
            self._require_sense(scan["n"])

    def _require_sense(self, n: int) -> None:
        """Raise CorruptionError if what the scan is said to be cannot be."""
        if self.dtype not in PATTERN_DTYPES:
            raise CorruptionError(
                f"{self.path}: /archive/scan/@dtype: expected one of {', '.join(PATTERN_DTYPES)}, "
                f"found {self.dtype!r}; the file is damaged"
            )
        if self.grid.size != n or n > self.file_bytes * _DENSEST:
            raise CorruptionError(
                f"{self.path}: /archive/scan/grid: expected {n} points, found {self.grid.size}, in "
                f"a file of {self.file_bytes} bytes; the file is damaged"
            )

    def __repr__(self) -> str:
        sy, sx = self.pattern_shape
        return (
            f"<Archive {self.path}: format {self.format_version}, {self.grid.size} patterns of "
            f"{sy} x {sx} px ({self.dtype}), layers {', '.join(self.layers)}>"
        )

    def patterns(self, layer: str | None = None) -> Patterns:
        """The patterns of a layer; of the first there is of raw and neural by default."""
        with self.group() as archive:
            return layers.pattern_reader(archive, layer or self.pattern_layers[0])

    def scan(self, layer: str | None = None) -> Scan:
        """The scan with the patterns of a layer, as a source would give it.

        Its static background is what a restorer left of it, where one has removed it.
        """
        patterns = self.patterns(layer)
        with self.group() as archive:
            scan = description.read_scan(archive, patterns)
            background = layers.own_background(archive, layer or self.pattern_layers[0])
        return scan if background is None else replace(scan, static_background=background)

    def to_dask(self, layer: str | None = None, rows: int | None = None) -> Any:
        """The patterns of a layer as a dask array, read from the file block by block.

        It can be pickled: each block opens the file, in whatever process.

        Parameters
        ----------
        layer
            By default the first there is of raw and neural.
        rows
            Scan rows in a chunk; by default about 16 MiB of whole rows, and one at least.

        Returns
        -------
        (n_rows, n_columns, sy, sx) dask array, or (n, sy, sx) on a hexagonal grid; in counts.
        """
        from ebsdarchive.archive.lazy import dask_patterns

        return dask_patterns(self, layer, rows)

    def to_kikuchipy(
        self, layer: str | None = None, *, orientations: str | None = None, lazy: bool = True
    ) -> Any:
        """A kikuchipy signal with detector, static background and crystal map.

        Parameters
        ----------
        layer
            By default the first there is of raw and neural.
        orientations
            Name of an orientation map for the crystal map; by default the only one, or else the
            orientations that came with the scan. "none" for none.
        lazy
            Whether patterns are read when they are needed.

        Returns
        -------
        LazyEBSD, or EBSD.
        """
        from ebsdarchive.archive.kikuchipy_signal import to_signal

        return to_signal(self, layer, orientations, lazy)

    def attributes(self, layer: str) -> dict[str, Any]:
        """What a layer's node says of itself."""
        with self.group() as archive:
            return attributes_of(layers.layer_node(archive, layer))

    def map(self, name: str) -> Any:
        """(n_rows, n_columns, …) values of a map."""
        with self.group() as archive:
            node = layers.layer_node(archive, f"maps/{name}")
            require_kind(node, "map")
            return read_array(node["data"])

    def uncertainty(self, layer: str) -> Patterns:
        """The uncertainty of each pixel of a restored layer, in counts, where it is kept."""
        with self.group() as archive:
            return layers.read_uncertainty(archive, layer)

    def metadata(self) -> dict[str, Any]:
        """What people say about the scan, in the vocabulary of metadata; empty if nothing."""
        with self.group() as archive:
            return read_metadata(archive)

    def provenance(self) -> list[dict[str, Any]]:
        """PROV-JSON documents of the activities that wrote to the archive, oldest first."""
        with self.group() as archive:
            return provenance.activities(archive)

    @property
    def raw_sha256(self) -> str:
        """Digest of the raw patterns, which lossy layers name even where raw is not kept."""
        with self.group() as archive:
            if "raw" in archive:
                return str(attribute(archive["raw"], "patterns_sha256"))
            return str(attribute(archive["neural"], "raw_sha256"))

    @contextmanager
    def group(self) -> Iterator[h5py.Group]:
        """The open group ``/archive``; damage met inside becomes a CorruptionError."""
        with open_for_reading(self.path) as file, readable(file):
            yield archive_group(file)


def open_archive(path: str | os.PathLike[str]) -> Archive:
    """Open an archive for reading; see `Archive`."""
    return Archive(path)


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an archive, to judge by what it says of itself; no scan is read by URL."""
    if is_url(path):
        return True
    if not os.path.isfile(path):
        return False
    try:
        with open_for_reading(path) as file:
            return bool(attribute(file, "encoding-type", "") == "ebsdarchive")
    except (ArchiveError, OSError):  # damaged or locked: who opens it says what it is
        return False


def format_version(file: h5py.File) -> str:
    """The format version that a file says it has; ArchiveError if it is no archive."""
    if attribute(file, "encoding-type", "") != "ebsdarchive":
        content = ", ".join(list(file)[:5]) or "nothing"
        raise ArchiveError(
            f"{file.filename}: expected an ebsdarchive file, found other HDF5 content ({content}); "
            f"make an archive of it with `ebsdarchive compress`"
        )
    return str(attribute(file, "encoding-version", "unknown"))


def archive_group(file: h5py.File) -> h5py.Group:
    """The group ``/archive`` of a file of a known format version."""
    version = format_version(file)
    if version not in known_versions():
        raise VersionError(
            f"{file.filename}: format version {version} is not known here "
            f"(known: {', '.join(known_versions())}); update ebsdarchive to read it"
        )
    archive = file.get("archive")
    if not isinstance(archive, h5py.Group):
        raise CorruptionError(f"{file.filename}: /archive: expected a group, found none")
    refuse_links(file)
    return archive
