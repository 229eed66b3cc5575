"""All formats that are written here, one entry each: what it is called, holds and refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ebsdarchive.errors import ArgumentError, OutputError
from ebsdarchive.exchange.edax_up import write_up
from ebsdarchive.exchange.writing import arrays, edax_h5, flat, hdf5, images, oxford
from ebsdarchive.exchange.writing.job import Job
from ebsdarchive.geometry import Grid

__all__ = ["WRITE_FORMATS", "WriteFormat", "choose_format"]


@dataclass(frozen=True)
class WriteFormat:
    """A format of files or folders.

    Parameters
    ----------
    key
        Its name on the command line.
    title
        Its name in words.
    endings
        Of file names. A format is the default of an ending if none before it in the list has it;
        a folder of pictures has none.
    dtypes
        Types of pixels that it holds.
    write
        Writes a `Job`.
    convention
        Of the projection centre in the JSON beside it; None for formats that need none.
    converts
        Whether counts are scaled to its only type without being asked: the type is in its name.
    hexagonal
        Whether it holds hexagonal grids.
    equal_steps
        Whether it has one step for columns and rows.
    pc
        Projection centres in the file: none, one for all points (the mean), or each point's.
    orientations
        Where they go: nowhere, inside the file, or into an .ang beside it (or both).
    sample_frame
        That of its orientations, "edax" or "oxford"; see `orientations`.
    versions
        Versions of the format that can be asked for, the default first.
    folder
        Whether it is a folder.
    in_memory
        Whether all patterns must be in memory at once.
    """

    key: str
    title: str
    endings: tuple[str, ...]
    dtypes: tuple[str, ...]
    write: Callable[[Job], None]
    convention: str | None = None
    converts: bool = False
    hexagonal: bool = False
    equal_steps: bool = False
    pc: Literal["none", "one", "each"] = "none"
    orientations: Literal["none", "inside", "beside", "both"] = "none"
    sample_frame: Literal["edax", "oxford"] = "edax"
    versions: tuple[int, ...] = ()
    folder: bool = False
    in_memory: bool = False

    def dtype_for(self, asked: str | None, own: str, measured: str, path: Path) -> str:
        """The type to write: what is asked for, or the patterns' `own`, or the `measured` one.

        Raises
        ------
        OutputError
            If the format does not hold it, and nothing was asked for that would change counts.
        """
        if asked is not None and asked not in ("uint8", "uint16", "float32"):
            raise ArgumentError(f"dtype: expected uint8, uint16 or float32, found {asked!r}")
        for wanted in (asked,) if asked is not None else (own, measured):
            if wanted in self.dtypes:
                return str(wanted)
        if asked is None:
            safe = [dtype for dtype in self.dtypes if np.can_cast(measured, dtype, "safe")]
            if safe or self.converts:
                return (safe or self.dtypes)[0]
        advice = "" if asked is not None else f"; --dtype {self.dtypes[-1]} scales the counts"
        raise OutputError(
            f"{path}: expected dtype {' or '.join(self.dtypes)} for {self.key}, "
            f"found {asked or measured}{advice}"
        )

    def version_for(self, asked: int | None, path: Path) -> int | None:
        """The version to write. Raises OutputError for one that is not written here."""
        if asked is None:
            return self.versions[0] if self.versions else None
        if asked not in self.versions:
            known = " or ".join(map(str, self.versions)) or "no version to be named"
            raise OutputError(f"{path}: expected {known} for {self.key}, found version {asked}")
        return asked

    def require_grid(self, grid: Grid, path: Path) -> None:
        """Raise OutputError for a grid that the format does not hold."""
        if grid.is_hexagonal and not self.hexagonal:
            able = ", ".join(entry.key for entry in WRITE_FORMATS if entry.hexagonal)
            raise OutputError(
                f"{path}: expected a square grid for {self.key}, found a hexagonal one; "
                f"choose one of {able}"
            )
        if self.equal_steps and grid.step_x_um != grid.step_y_um:
            raise OutputError(
                f"{path}: expected equal steps along x and y for {self.key}, found "
                f"{grid.step_x_um} and {grid.step_y_um} um; choose another format"
            )


def _write_up(job: Job) -> None:
    write_up(
        job.path,
        job.blocks,
        job.scan.grid,
        job.scan.detector.shape,
        job.dtype,
        job.version or 3,
        job.frame,
    )


def _up(key: str, title: str, dtype: str) -> WriteFormat:
    return WriteFormat(
        key,
        title,
        (f".{key}",),
        (dtype,),
        _write_up,
        convention="edax",
        converts=True,
        hexagonal=True,
        orientations="beside",
        versions=(3, 1),
    )


_ANY = ("uint8", "uint16", "float32")
WRITE_FORMATS = (
    _up("up1", "EDAX up1, 8 bit", "uint8"),
    _up("up2", "EDAX up2, 16 bit", "uint16"),
    WriteFormat(
        "kikuchipy-h5",
        "kikuchipy h5ebsd",
        (".h5", ".hdf5", ".h5ebsd"),
        _ANY,
        hdf5.write_kikuchipy,
        hexagonal=True,
        pc="each",
        orientations="inside",
    ),
    WriteFormat(
        "edax-h5",
        "EDAX HDF5",
        (".oh5", ".h5"),
        ("uint8", "uint16"),
        edax_h5.write_edax_h5,
        hexagonal=True,
        pc="one",
        orientations="both",
    ),
    WriteFormat(
        "h5oina",
        "Oxford H5OINA 5.0",
        (".h5oina",),
        ("uint8", "uint16"),
        oxford.write_h5oina,
        pc="each",
        orientations="inside",
        sample_frame="oxford",
    ),
    WriteFormat(
        "ebsp",
        "Oxford ebsp, uncompressed",
        (".ebsp",),
        ("uint8", "uint16"),
        oxford.write_ebsp,
        convention="oxford",
    ),
    WriteFormat(
        "nordif",
        "NORDIF, 8 bit",
        (".dat",),
        ("uint8",),
        flat.write_flat,
        convention="bruker",
        equal_steps=True,
    ),
    WriteFormat(
        "emsoft-data",
        "EMsoft binary, float32",
        (".data",),
        ("float32",),
        flat.write_flat,
        convention="emsoft5",
    ),
    WriteFormat(
        "tiff-folder",
        "folder of TIFFs",
        (),
        _ANY,
        images.write_tiff_folder,
        convention="bruker",
        folder=True,
    ),
    WriteFormat(
        "png-folder",
        "folder of PNGs",
        (),
        ("uint8", "uint16"),
        images.write_png_folder,
        convention="bruker",
        folder=True,
    ),
    WriteFormat(
        "tiff-stack",
        "TIFF stack",
        (".tif", ".tiff"),
        _ANY,
        images.write_tiff_stack,
        convention="bruker",
        hexagonal=True,
    ),
    WriteFormat(
        "netcdf",
        "netCDF 4",
        (".nc",),
        _ANY,
        arrays.write_netcdf,
        hexagonal=True,
        pc="each",
    ),
    WriteFormat(
        "zarr",
        "Zarr 2",
        (".zarr",),
        _ANY,
        arrays.write_zarr,
        hexagonal=True,
        pc="each",
        folder=True,
    ),
    WriteFormat(
        "npz",
        "NumPy archive",
        (".npz",),
        _ANY,
        arrays.write_npz,
        hexagonal=True,
        pc="each",
    ),
    WriteFormat(
        "picture",
        "labelled picture",
        (".png",),
        _ANY,
        images.write_picture,
        hexagonal=True,
        in_memory=True,
    ),
)


def choose_format(
    path: Path, key: str | None = None, allowed: tuple[str, ...] | None = None
) -> WriteFormat:
    """The format of a file to be written: the named one, or the one that its ending stands for.

    Parameters
    ----------
    allowed
        Keys of the formats to choose from; by default all.

    Raises
    ------
    OutputError
        If there is none.
    """
    formats = [entry for entry in WRITE_FORMATS if allowed is None or entry.key in allowed]
    ending = path.suffix.lower()
    if key is None:
        for entry in formats:
            if ending in entry.endings:
                return entry
        endings = dict.fromkeys(ending for entry in formats for ending in entry.endings)
        raise OutputError(
            f"{path}: expected a name that ends in {', '.join(endings)}, "
            f"found {ending or 'no ending'}"
        )
    for entry in formats:
        if entry.key == key:
            if entry.endings and ending not in entry.endings:
                raise OutputError(
                    f"{path}: expected a name that ends in {' or '.join(entry.endings)} for "
                    f"{key}, found {ending or 'no ending'}"
                )
            if not entry.endings and any(ending in other.endings for other in WRITE_FORMATS):
                raise OutputError(
                    f"{path}: expected a name of a folder for {key}, found one that ends in "
                    f"{ending}"
                )
            return entry
    raise ArgumentError(
        f"format: expected one of {', '.join(entry.key for entry in formats)}, found {key!r}"
    )
