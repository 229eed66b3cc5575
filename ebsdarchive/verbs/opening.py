"""What a command that only reads may be given: an archive's layer, or a vendor's file."""

from __future__ import annotations

import os

from ebsdarchive.archive.file import Archive, is_archive, open_archive
from ebsdarchive.errors import ArgumentError
from ebsdarchive.exchange import open_scan
from ebsdarchive.scan import Scan

__all__ = ["Opened", "open_either"]


class Opened:
    """A scan, and the archive and layer that it comes from, if it does.

    Parameters
    ----------
    scan
        With the patterns of the layer.
    archive, layer
        None for a vendor's file.
    """

    def __init__(self, scan: Scan, archive: Archive | None, layer: str | None) -> None:
        self.scan, self.archive, self.layer = scan, archive, layer

    @property
    def range_counts(self) -> tuple[float, float] | None:
        """Lowest and highest count of the scan where the layer has them on record."""
        if self.archive is None or self.layer is None:
            return None
        said = self.archive.attributes(self.layer)
        return (said["range_min"], said["range_max"]) if "range_min" in said else None


def open_either(
    path: str | os.PathLike[str],
    layer: str | None = None,
    default: str | None = None,
    *,
    scan: str | int | None = None,
    geometry: str | os.PathLike[str] | None = None,
) -> Opened:
    """Open an archive's layer, or a vendor's file.

    Parameters
    ----------
    layer
        Of an archive; a vendor's file has none.
    default
        Layer to take where none is named and the archive holds it; else its first.
    scan, geometry
        Of a vendor's file; see `ebsdarchive.exchange.open_scan`. An archive has neither.
    """
    if not is_archive(path):
        if layer is not None:
            raise ArgumentError(f"{path}: expected an archive to name a layer of, found a scan")
        return Opened(open_scan(path, scan=scan, geometry=geometry), None, None)
    require_no_choice(path, scan, geometry)
    archive = open_archive(path)
    name = layer or (default if default in archive.layers else archive.pattern_layers[0])
    assert name is not None
    return Opened(archive.scan(name), archive, name)


def require_no_choice(path: str | os.PathLike[str], *choice: object) -> None:
    """Raise ArgumentError if an archive is opened as if it were a file of several scans."""
    if any(value is not None for value in choice):
        raise ArgumentError(
            f"{path}: expected a vendor's file to choose a scan of, or to give a geometry or index "
            f"pattern to, found an archive; it holds one scan, and its geometry"
        )
