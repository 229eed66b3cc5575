"""Patterns leave: one function that writes a `Scan` to a file or folder of any format.

The formats are in `writing.registry`. Integers are made by `quantise`; what a format cannot hold
goes into files beside it (`writing.beside`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.folder import FOLDER_RECORD, replacing_folder
from ebsdarchive.archive.store import replacing
from ebsdarchive.errors import OutputError
from ebsdarchive.exchange.columns import Column
from ebsdarchive.exchange.estimates import Estimates
from ebsdarchive.exchange.quantise import Quantisation, choose_quantisation, range_of
from ebsdarchive.exchange.writing.beside import (
    files_beside,
    losses,
    require_free_beside,
    write_sidecar,
)
from ebsdarchive.exchange.writing.job import WRITTEN_BY, Job
from ebsdarchive.exchange.writing.orientations import in_sample_frame
from ebsdarchive.exchange.writing.registry import choose_format
from ebsdarchive.scan import Scan

__all__ = ["Written", "write_patterns"]

Progress = Callable[[float, float], None]
MEMORY_BYTES = 2 << 30  # formats that are written in one piece stop here


@dataclass(frozen=True)
class Written:
    """What was written.

    Parameters
    ----------
    path, format
        The file or folder, and the key of its format.
    count, nbytes
        Patterns, and bytes of the file or of all files in the folder.
    quantisation
        What was scaled, rounded or limited.
    sidecar
        The JSON file with what the format cannot hold, if it needs one.
    beside
        Other files that were written with it.
    losses
        What is in none of them, a line each.
    estimates
        Which patterns were filled from others, where that was asked for.
    """

    path: str
    format: str
    count: int
    nbytes: int
    quantisation: Quantisation
    sidecar: str | None = None
    beside: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    estimates: Estimates | None = None


def write_patterns(
    scan: Scan,
    output: str | os.PathLike[str],
    *,
    positions: npt.NDArray[np.float64],
    measured_dtype: str,
    own_dtype: str | None = None,
    dtype: str | None = None,
    format: str | None = None,
    version: int | None = None,
    intensity_range: tuple[float, float] | None = None,
    origin: dict[str, Any] | None = None,
    overview: tuple[npt.NDArray, tuple[float, float]] | None = None,
    sample_frame: str = "edax",
    columns: Sequence[Column] = (),
    estimates: Estimates | None = None,
    force: bool = False,
    formats: tuple[str, ...] | None = None,
    keep_header: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write the patterns of a scan.

    Parameters
    ----------
    positions
        (n, 2) position (x, y) of each pattern in steps of the archived scan.
    measured_dtype
        Type that the camera gave; what of it fits into `dtype` keeps its counts.
    own_dtype
        Type to write where the format holds it; by default that of the patterns.
    dtype
        "uint8", "uint16" or "float32" to have this type and no other.
    format, version
        Key of a format, by default that of the ending; and its version where it has several.
    intensity_range
        Lowest and highest count of the whole scan, for types too small for its counts.
    origin
        Plain values that say where the patterns come from; kept in or beside the file.
    overview
        A map (ny, nx) of the archived scan and its extent in steps, for pictures.
    sample_frame
        Of the scan's orientations, "edax" (which is kikuchipy's) or "oxford".
    columns
        More values of each pattern, for h5, npz and nc.
    estimates
        Which patterns are filled from others; kept in or beside the file, marked in a picture.
    formats
        Keys of formats that the caller allows; by default all.
    keep_header
        Whether an up1 or up2 file gets the header of the scan's source, where that is of the same
        format, and its "extra" patterns; grid and type of the patterns are the source's own.

    Raises
    ------
    OutputError
        If the ending stands for no format, the format does not hold the type or grid, or the file
        cannot be written.
    """
    path = Path(output)
    chosen = choose_format(path, format, formats)
    wanted = chosen.dtype_for(dtype, own_dtype or scan.patterns.dtype.name, measured_dtype, path)
    version = chosen.version_for(version, path)
    chosen.require_grid(scan.grid, path)
    if scan.orientations is not None:
        turned = in_sample_frame(scan.orientations, sample_frame, chosen.sample_frame)
        scan = replace(scan, orientations=turned)
    if not np.can_cast(measured_dtype, wanted, "safe") and wanted != "float32":
        intensity_range = intensity_range or range_of(scan.patterns)
    quantisation = choose_quantisation(wanted, measured_dtype, intensity_range)
    if chosen.in_memory:
        nbytes = scan.grid.size * int(np.prod(scan.detector.shape)) * np.dtype(wanted).itemsize
        if nbytes > MEMORY_BYTES:
            raise OutputError(
                f"{path}: expected at most {MEMORY_BYTES >> 20} MiB of patterns for {chosen.key}, "
                f"found {nbytes >> 20} MiB; write .h5 or .up2, which are streamed"
            )

    def blocks() -> Iterator[npt.NDArray]:
        for _, stop, block in scan.blocks():
            yield quantisation.apply(block)
            if progress is not None:
                progress(stop, scan.grid.size)

    beside = files_beside(chosen, path, scan)
    require_free_beside(beside, force)
    origin = {"written_by": WRITTEN_BY, **(origin or {})}
    if estimates is not None:
        origin |= estimates.record()
    place = replacing_folder if chosen.folder else replacing
    with place(path, force=force) as temporary, ExitStack() as stack:
        job = Job(
            path=temporary,
            target=path,
            scan=scan,
            blocks=blocks(),
            positions=positions,
            dtype=wanted,
            quantisation=quantisation,
            origin=origin,
            version=version,
            overview=overview,
            columns=(*columns, *(() if estimates is None else estimates.columns())),
            estimates=estimates,
            frame=_frame_of(scan, chosen.key) if keep_header else None,
        )
        chosen.write(job)
        if chosen.folder and chosen.convention is not None:
            write_sidecar(temporary / FOLDER_RECORD, job, chosen.convention)
        for file in beside:  # all or none: they take their places after the last is complete
            file.write(stack.enter_context(replacing(file.path, force=force)), job)
    names = [str(file.path) for file in beside]
    if chosen.folder and chosen.convention is not None:
        names.insert(0, str(path / FOLDER_RECORD))
    sidecar = names.pop(0) if chosen.convention is not None else None
    return Written(
        path=str(path),
        format=chosen.key,
        count=scan.grid.size,
        nbytes=_size(path),
        quantisation=quantisation,
        sidecar=sidecar,
        beside=tuple(names),
        losses=losses(chosen, scan),
        estimates=estimates,
    )


def _frame_of(scan: Scan, key: str) -> tuple[bytes, bytes] | None:
    """Header and trailer of a source that is an up1 or up2 file as the one to be written."""
    source = scan.source
    if source.header is None or not source.format.startswith(f"EDAX {key} "):
        return None
    return source.header, source.trailer or b""


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
