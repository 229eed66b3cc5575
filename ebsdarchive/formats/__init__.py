"""Vendor files: a file comes in here and becomes a `Scan`, or patterns leave through a writer.

One module per family of formats. `open_scan` picks the reader, `writer_for` the writer.
"""

from __future__ import annotations

import os
from pathlib import Path

from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.scan import Scan

__all__ = ["READABLE", "open_scan"]

READABLE = {
    ".up1": "EDAX up1",
    ".up2": "EDAX up2",
    ".h5": "kikuchipy, EDAX, Bruker or EMsoft HDF5",
    ".hdf5": "kikuchipy, EDAX, Bruker or EMsoft HDF5",
    ".h5ebsd": "kikuchipy, EDAX or Bruker HDF5",
    ".h5oina": "Oxford H5OINA",
    ".ebsp": "Oxford ebsp",
    ".dat": "NORDIF",
}


def open_scan(
    path: str | os.PathLike[str], *, dataset: str | None = None, scan_index: int | None = None
) -> Scan:
    """Open a vendor file; patterns stay in the file until they are read.

    Parameters
    ----------
    dataset, scan_index
        HDF5 files with several scans: the scan's name, or its number counted from 0.

    Raises
    ------
    FormatError
        If the file is missing, of no known format, damaged, or its header and data disagree.
    """
    file = Path(path)
    if not file.exists():
        raise FormatError(f"{file}: expected a file, found none")
    if file.is_dir():
        raise FormatError(f"{file}: expected a file, found a folder")
    try:
        file.open("rb").close()
    except OSError as error:
        reason = "no permission" if isinstance(error, PermissionError) else error.strerror
        raise FormatError(f"{file}: expected a readable file, found {reason}") from error
    extension = file.suffix.lower()
    if extension not in READABLE:
        raise FormatError(
            f"{file}: expected a file that ends in {', '.join(READABLE)}, found "
            f"{extension or 'no ending'}; export the scan from its software in one of these formats"
        )
    if file.stat().st_size == 0:
        raise FormatError(f"{file}: expected content of {READABLE[extension]}, found an empty file")
    if extension in (".up1", ".up2"):
        from ebsdarchive.formats.edax_up import read_up

        if dataset is not None or scan_index is not None:
            raise ArgumentError(f"{file}: expected no scan to be named, found one; it has one")
        return read_up(file)
    from ebsdarchive.formats.kikuchipy_readers import read_with_kikuchipy

    return read_with_kikuchipy(file, dataset=dataset, scan_index=scan_index)
