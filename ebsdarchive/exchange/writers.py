"""Patterns leave: one function that writes a `Scan` to a file of any format written here.

Integers are made by `quantise`; formats that hold no geometry get a JSON file beside them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive import __version__
from ebsdarchive.archive.store import open_for_writing, replacing
from ebsdarchive.archive.views import write_kikuchipy_layout
from ebsdarchive.errors import OutputError
from ebsdarchive.exchange.estimates import Estimates
from ebsdarchive.exchange.quantise import Quantisation, choose_quantisation, range_of
from ebsdarchive.geometry import pc_from_bruker
from ebsdarchive.scan import Scan

__all__ = ["WRITABLE", "Written", "write_patterns"]

Progress = Callable[[float, float], None]
MEMORY_BYTES = 2 << 30  # formats that are written in one piece stop here

WRITABLE = {
    ".up1": "EDAX up1, 8 bit",
    ".up2": "EDAX up2, 16 bit",
    ".h5": "kikuchipy h5ebsd",
    ".npz": "NumPy archive",
    ".nc": "netCDF 4",
    ".tif": "TIFF stack",
    ".png": "labelled picture",
}


@dataclass(frozen=True)
class Written:
    """What was written: the file, the quantisation, the file beside it, and what is estimated."""

    path: str
    count: int
    nbytes: int
    quantisation: Quantisation
    sidecar: str | None = None
    estimates: Estimates | None = None


def write_patterns(
    scan: Scan,
    output: str | os.PathLike[str],
    *,
    positions: npt.NDArray[np.float64],
    measured_dtype: str,
    dtype: str | None = None,
    intensity_range: tuple[float, float] | None = None,
    origin: dict[str, Any] | None = None,
    overview: tuple[npt.NDArray, tuple[float, float]] | None = None,
    estimates: Estimates | None = None,
    force: bool = False,
    formats: tuple[str, ...] = tuple(WRITABLE),
    progress: Progress | None = None,
) -> Written:
    """Write the patterns of a scan.

    Parameters
    ----------
    positions
        (n, 2) position (x, y) of each pattern in steps of the archived scan.
    measured_dtype
        Type that the camera gave; what of it fits into `dtype` keeps its counts.
    dtype
        "uint8", "uint16" or "float32"; by default what the format holds, or the patterns' own.
    intensity_range
        Lowest and highest count of the whole scan, for types too small for its counts.
    origin
        Plain values that say where the patterns come from; kept in or beside the file.
    overview
        A map (ny, nx) of the archived scan and its extent in steps, for pictures.
    estimates
        Which patterns are filled from others; kept in or beside the file, marked in a picture.
    formats
        Endings that the caller allows.

    Raises
    ------
    OutputError
        If the ending is not one of `formats`, the type does not fit the format, or the file cannot
        be written.
    """
    path = Path(output)
    extension = {".tiff": ".tif", ".hdf5": ".h5"}.get(path.suffix.lower(), path.suffix.lower())
    if extension not in formats:
        raise OutputError(
            f"{path}: expected a name that ends in {', '.join(formats)}, "
            f"found {path.suffix or 'no ending'}"
        )
    fixed = {".up1": "uint8", ".up2": "uint16"}.get(extension)
    if fixed and dtype not in (None, fixed):
        raise OutputError(f"{path}: expected dtype {fixed} for {extension}, found {dtype}")
    wanted = dtype or fixed or scan.patterns.dtype.name
    if not np.can_cast(measured_dtype, wanted, "safe") and wanted != "float32":
        intensity_range = intensity_range or range_of(scan.patterns)
    quantisation = choose_quantisation(wanted, measured_dtype, intensity_range)
    if extension in (".npz", ".nc", ".tif", ".png"):
        nbytes = scan.grid.size * int(np.prod(scan.detector.shape)) * np.dtype(wanted).itemsize
        if nbytes > MEMORY_BYTES:
            raise OutputError(
                f"{path}: expected at most {MEMORY_BYTES >> 20} MiB of patterns for {extension}, "
                f"found {nbytes >> 20} MiB; write .h5 or .up2, which are streamed"
            )

    def blocks() -> Iterator[npt.NDArray]:
        for _, stop, block in scan.blocks():
            yield quantisation.apply(block)
            if progress is not None:
                progress(stop, scan.grid.size)

    origin = {"written_by": f"ebsdarchive {__version__}", **(origin or {})}
    if estimates is not None:
        origin |= estimates.record()
    beside = path.with_name(path.name + ".json") if extension in (".up1", ".up2", ".tif") else None
    if beside is not None and beside.exists() and not force:
        raise OutputError(f"{beside}: expected no such file, found one; use --force to replace it")
    with replacing(path, force=force) as temporary:
        job = _Job(
            temporary, scan, blocks(), positions, wanted, quantisation, origin, overview, estimates
        )
        _WRITERS[extension](job)
    if beside is not None:
        _write_sidecar(beside, path, scan, positions, quantisation, origin, estimates)
    return Written(
        str(path),
        scan.grid.size,
        path.stat().st_size,
        quantisation,
        None if beside is None else str(beside),
        estimates,
    )


@dataclass(frozen=True)
class _Job:
    """What a writer needs; `blocks` are already of `dtype`."""

    path: Path
    scan: Scan
    blocks: Iterator[npt.NDArray]
    positions: npt.NDArray[np.float64]
    dtype: str
    quantisation: Quantisation
    origin: dict[str, Any]
    overview: tuple[npt.NDArray, tuple[float, float]] | None
    estimates: Estimates | None

    @property
    def flags(self) -> dict[str, Any]:
        """(n,) flags of estimated patterns, by name; none where nothing was to be filled."""
        return {} if self.estimates is None else self.estimates.arrays()

    def with_background(self) -> Scan:
        """The scan with its background in the same counts as the patterns that are written."""
        if self.scan.static_background is None or self.quantisation.is_identity:
            return self.scan
        rule = replace(self.quantisation)  # its counts of clipped pixels are those of the patterns
        return replace(self.scan, static_background=rule.apply(self.scan.static_background))

    def stack(self) -> npt.NDArray:
        """All patterns at once."""
        return np.concatenate(list(self.blocks))


def _write_up(job: _Job) -> None:
    from ebsdarchive.exchange.edax_up import write_up

    write_up(job.path, job.blocks, job.scan.grid, job.scan.detector.shape, job.dtype)


def _write_h5(job: _Job) -> None:
    with open_for_writing(job.path) as file:
        write_kikuchipy_layout(file, job.with_background(), None)
        dataset = file["Scan 1/EBSD/Data"].create_dataset(
            "patterns",
            shape=job.scan.patterns.shape,
            dtype=np.dtype(job.dtype).newbyteorder("<"),
            chunks=(1, *job.scan.detector.shape),
            compression="gzip",
            compression_opts=1,
            shuffle=np.dtype(job.dtype).itemsize > 1,
            fletcher32=True,
        )
        start = 0
        for block in job.blocks:
            dataset[start : start + len(block)] = block
            start += len(block)
        node = file.create_group("ebsdarchive_export")
        node.attrs["origin"] = json.dumps(job.origin)
        node.attrs["quantisation"] = json.dumps(job.quantisation.record())
        node.attrs["grid"] = json.dumps(asdict(job.scan.grid))  # kikuchipy's layout has no others
        node.create_dataset("positions", data=job.positions)
        node["positions"].attrs["units"] = "step"
        for name, values in job.flags.items():
            node.create_dataset(name, data=values)


def _write_npz(job: _Job) -> None:
    with open(job.path, "wb") as file:
        np.savez_compressed(
            file,
            patterns=job.stack(),
            positions=job.positions,
            origin=json.dumps(job.origin | {"quantisation": job.quantisation.record()}),
            **job.flags,
        )


def _write_nc(job: _Job) -> None:
    import xarray

    dataset = xarray.Dataset(
        {
            "patterns": (("point", "v", "u"), job.stack(), {"units": "counts"}),
            **{name: ("point", values) for name, values in job.flags.items()},
        },
        coords={
            "x": ("point", job.positions[:, 0], {"units": "step", "long_name": "x"}),
            "y": ("point", job.positions[:, 1], {"units": "step", "long_name": "y"}),
        },
        attrs={
            "origin": json.dumps(job.origin),
            "quantisation": json.dumps(job.quantisation.record()),
            "n_rows": job.scan.grid.n_rows,
            "n_columns": job.scan.grid.n_columns,
        },
    )
    encoding = {"patterns": {"zlib": True, "complevel": 4, "fletcher32": True}}
    dataset.to_netcdf(job.path, engine="h5netcdf", encoding=encoding)


def _write_tif(job: _Job) -> None:
    import tifffile

    with open(job.path, "wb") as file:
        tifffile.imwrite(file, job.stack(), photometric="minisblack")


def _write_png(job: _Job) -> None:
    from ebsdarchive.exchange.picture import pattern_sheet

    sheet = pattern_sheet(
        job.stack(),
        job.positions,
        job.scan.grid,
        job.origin,
        job.overview,
        job.scan.static_background,
        None if job.estimates is None else job.estimates.filled,
    )
    sheet.save(job.path, format="PNG")


_WRITERS = {
    ".up1": _write_up,
    ".up2": _write_up,
    ".h5": _write_h5,
    ".npz": _write_npz,
    ".nc": _write_nc,
    ".tif": _write_tif,
    ".png": _write_png,
}


def _write_sidecar(
    beside: Path,
    path: Path,
    scan: Scan,
    positions: npt.NDArray[np.float64],
    quantisation: Quantisation,
    origin: dict[str, Any],
    estimates: Estimates | None,
) -> None:
    """What the format of `path` cannot hold, as JSON beside it."""
    detector, grid = scan.detector, scan.grid
    convention = "edax" if path.suffix.lower() in (".up1", ".up2") else "bruker"
    centre = None
    if detector.pc_bruker is not None:
        mean = np.atleast_2d(detector.pc_bruker).mean(axis=0)
        centre = pc_from_bruker(mean, convention, detector.shape).tolist()
    known = {
        "projection_centre": centre,
        "projection_centre_convention": convention if centre else None,
        "sample_tilt_deg": detector.sample_tilt_deg,
        "detector_tilt_deg": detector.tilt_deg,
        "detector_azimuth_deg": detector.azimuth_deg,
        "detector_twist_deg": detector.twist_deg,
        "pixel_size_um": detector.pixel_size_um,
        "binning": detector.binning,
        "beam_energy_kev": scan.microscope.beam_energy_kev,
        "n_columns_even": grid.n_columns_even,
        "step_x_um": grid.step_x_um,
        "step_y_um": grid.step_y_um,
    }
    content: dict[str, Any] = {
        "file": path.name,
        "origin": origin,
        "grid": {"kind": grid.kind, "n_rows": grid.n_rows, "n_columns": grid.n_columns},
        "pattern_shape": list(detector.shape),
        "quantisation": quantisation.record(),
        **{key: value for key, value in known.items() if value is not None},
    }
    if estimates is not None:
        content["patterns"] = estimates.lists()
    if len(positions) <= 10_000:
        content["positions_steps"] = positions.tolist()
    with replacing(beside, force=True) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
