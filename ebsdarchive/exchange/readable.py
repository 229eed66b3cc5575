"""The table of the formats that are read: names, endings, versions, and the module that reads each.

`open_scan` picks the reader from it and the `formats` command prints it; a format is added here,
with a module that has `scan_names(path)` and `read(path, scan)`. Where files of its endings may
hold no patterns, the module also has `names_with_patterns(path)`, for whoever looks for scans in
folders: the names of those scans that can be read, or NoPatternsError.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ebsdarchive.errors import FormatError

__all__ = ["IMAGES", "READABLE", "NoPatternsError", "Readable", "module_of", "readable_for"]


class NoPatternsError(FormatError):
    """A sound file of an ending that is read, but not a scan: a map alone, or of other software."""


@dataclass(frozen=True)
class Readable:
    """A format that is read.

    Parameters
    ----------
    name
        Vendor or program, and the format's own name.
    endings
        Endings of its files, in lower case.
    versions
        Versions of the format that are read; "" where it has none.
    reads
        What is taken from it besides the patterns.
    module
        Module of this package that reads it.
    folder
        Whether a scan is a folder rather than a file.
    """

    name: str
    endings: tuple[str, ...]
    versions: str
    reads: str
    module: str
    folder: bool = False


_HDF5 = (".h5", ".hdf5", ".h5ebsd")
IMAGES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")

READABLE = (
    Readable(
        "EDAX up1, up2",
        (".up1", ".up2"),
        "0, 1, 3, 4, 5",
        "square and hexagonal grid, steps; header and extra patterns verbatim",
        "edax_up",
    ),
    Readable(
        "EDAX OIM HDF5",
        (*_HDF5, ".oh5"),
        "OIM Analysis",
        "square and hexagonal grid, projection centre, tilts, phases, orientations",
        "hdf5_scans",
    ),
    Readable(
        "EDAX APEX",
        (".edaxh5",),
        "2.1, 2.2, 2.5",
        "maps (grid, phases, orientations), joined with the up1 or up2 file beside",
        "edax_apex",
    ),
    Readable(
        "Oxford H5OINA",
        (".h5oina",),
        "1.0 to 8.0",
        "processed and unprocessed patterns, projection centres, tilts, phases, orientations",
        "hdf5_scans",
    ),
    Readable(
        "Oxford ebsp",
        (".ebsp", ".uebsp"),
        "0 to 6, uncompressed",
        "grid and steps from beam positions",
        "oxford_ebsp",
    ),
    Readable(
        "Bruker HDF5",
        _HDF5,
        "Esprit 2",
        "order by IX and IY, projection centres, tilts, phases, orientations",
        "hdf5_scans",
    ),
    Readable(
        "NORDIF",
        (".dat",),
        "",
        "grid, microscope and tilts from Setting.txt, background from the image beside",
        "nordif_dat",
    ),
    Readable(
        "ThermoFisher pat",
        (".pat",),
        "1",
        "grid, background; step from the .ebsd file beside",
        "thermofisher_pat",
    ),
    Readable(
        "EMsoft HDF5",
        _HDF5,
        "EMEBSD",
        "detector, beam energy, phase, orientations",
        "hdf5_scans",
    ),
    Readable(
        "kikuchipy HDF5",
        _HDF5,
        "h5ebsd",
        "projection centres, tilts, microscope, background, phases, orientations",
        "hdf5_scans",
    ),
    Readable(
        "images",
        IMAGES,
        "",
        "a folder of images, one a pattern; grid from their names; JPEG is noted as lossy",
        "image_folder",
        folder=True,
    ),
    Readable(
        "netCDF",
        (".nc", ".nc4"),
        "4",
        "array with named dimensions; steps from its coordinates",
        "labelled_arrays",
    ),
    Readable(
        "Zarr",
        (".zarr",),
        "2, 3",
        "array with named dimensions; steps from its coordinates (extra: zarr)",
        "labelled_arrays",
        folder=True,
    ),
)


def readable_for(path: Path) -> Readable:
    """The format of a file or folder, by its ending; HDF5 flavours are told apart by content.

    Raises
    ------
    FormatError
        If no format that is read has the file's ending, or a folder holds no images.
    """
    if path.is_dir():
        return _readable_folder(path)
    ending = path.suffix.lower()
    for readable in READABLE:
        if ending in readable.endings and not readable.folder:
            return readable
    known = ", ".join(dict.fromkeys(e for r in READABLE if not r.folder for e in r.endings))
    if ending in IMAGES:
        raise FormatError(
            f"{path}: expected a scan, found a single image; name the folder that holds the scan's "
            f"images"
        )
    raise FormatError(
        f"{path}: expected a file that ends in {known}, or a folder of images or .zarr, found "
        f"{ending or 'no ending'}; export the scan from its software in one of these formats"
    )


def _readable_folder(path: Path) -> Readable:
    """Zarr by ending or marker, and images by what lies in the folder."""
    markers = ("zarr.json", ".zgroup", ".zarray")
    is_zarr = path.suffix.lower() == ".zarr" or any((path / name).is_file() for name in markers)
    for readable in READABLE:
        if readable.folder and (".zarr" in readable.endings) == is_zarr:
            return readable
    raise AssertionError("the table names both kinds of folder")


def module_of(readable: Readable) -> ModuleType:
    """The module that reads a format, loaded when it is needed."""
    return importlib.import_module(f"{__package__}.{readable.module}")
