"""Vendor files: a file comes in here and becomes a `Scan`, or patterns leave through a writer.

One module per family of formats. `open_scan` picks the reader from the table in `readable`,
`writing.registry` has the table of what is written.
"""

from __future__ import annotations

import os
from pathlib import Path

from ebsdarchive.archive.remote import is_url
from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.exchange.readable import READABLE, Readable, module_of, readable_for
from ebsdarchive.scan import Scan

__all__ = ["READABLE", "Readable", "open_scan", "scan_names"]


def open_scan(
    path: str | os.PathLike[str],
    *,
    scan: str | int | None = None,
    geometry: str | os.PathLike[str] | None = None,
    index_pattern: str | None = None,
) -> Scan:
    """Open a vendor file, or a folder; patterns stay in it until they are read.

    Parameters
    ----------
    scan
        Where a file holds several scans: the name of one, or its number from 1, as `scan_names`
        lists them; by default the first.
    geometry
        An .ang, .ctf or .edaxh5 file of the same scan, which supplies grid, steps, orientations,
        phases and what else it knows and the source does not.
    index_pattern
        Folders of images: how their names give the place, such as "x{x}_y{y}.png" or "{n}.tif".

    Raises
    ------
    FormatError
        If the file is missing, of no known format, damaged, or its header and data disagree.
    GeometryError
        If the geometry file is of other points than the source.
    """
    file = _existing(path)
    readable = readable_for(file)
    module = module_of(readable)
    name = _chosen(file, module.scan_names(file), scan) if scan is not None else None
    if readable.name == "images":
        opened: Scan = module.read(file, name, index_pattern)
    elif index_pattern is not None:
        raise ArgumentError(
            f"{file}: expected a folder of images for an index pattern, found {readable.name}"
        )
    else:
        opened = module.read(file, name)
    if geometry is None:
        return opened
    from ebsdarchive.exchange.geometry_files import with_geometry

    return with_geometry(opened, _existing(geometry))


def scan_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the scans in a file, in the order of their numbers.

    Raises
    ------
    FormatError
        As `open_scan` does.
    """
    file = _existing(path)
    names: tuple[str, ...] = module_of(readable_for(file)).scan_names(file)
    return names


def _existing(path: str | os.PathLike[str]) -> Path:
    """The path of a file or folder that can be read and has content."""
    if is_url(path):
        raise FormatError(
            f"{path}: expected a scan on this machine, found a URL; download it, only archives "
            f"are read over a network"
        )
    file = Path(path)
    if not file.exists():
        raise FormatError(f"{file}: expected a file, found none")
    if file.is_dir():
        return file
    try:
        file.open("rb").close()
    except OSError as error:
        reason = "no permission" if isinstance(error, PermissionError) else error.strerror
        raise FormatError(f"{file}: expected a readable file, found {reason}") from error
    if file.stat().st_size == 0:
        raise FormatError(f"{file}: expected a scan, found an empty file; copy it again")
    return file


def _chosen(path: Path, names: tuple[str, ...], scan: str | int) -> str | None:
    """The name of a scan that is asked for by name or number; None in a file of one scan."""
    if scan in names:
        return str(scan)
    number = int(scan) if isinstance(scan, int) or scan.isdigit() else None
    if number is not None and 1 <= number <= len(names):
        return names[number - 1]
    if len(names) == 1:
        raise ArgumentError(
            f"{path}: expected no scan to be named, or {names[0]!r}, found {scan!r}; it has one"
        )
    listed = ", ".join(f"{i} {name}" for i, name in enumerate(names, 1))
    raise ArgumentError(f"{path}: expected one of the scans {listed}; found {scan!r}")
