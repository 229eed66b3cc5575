"""What a scan is, in memory: patterns that are read lazily, and what is known about them.

`None` always means "the source does not say"; nothing here is a default that someone could take
for a measurement.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import FormatError
from ebsdarchive.geometry import Grid

__all__ = [
    "ArrayPatterns",
    "Detector",
    "FilePatterns",
    "Microscope",
    "Orientations",
    "Patterns",
    "Phase",
    "SampleFrame",
    "Scan",
    "SourceFile",
    "read_at",
]

SampleFrame = Literal["edax", "oxford"]

PATTERN_DTYPES = ("uint8", "uint16", "float32")


@runtime_checkable
class Patterns(Protocol):
    """Patterns in storage order, read on demand; raw layers and vendor files look the same."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, sy, sx)."""

    @property
    def dtype(self) -> np.dtype: ...

    def read(self, start: int, stop: int) -> npt.NDArray:
        """(stop - start, sy, sx) patterns with index start … stop - 1."""


def read_at(patterns: Patterns, indices: npt.NDArray[np.int64]) -> npt.NDArray:
    """(m, sy, sx) patterns with the given indices (m,), in their order; runs are read at once."""
    used, place = np.unique(indices, return_inverse=True)
    runs = np.split(used, np.flatnonzero(np.diff(used) != 1) + 1)
    found = np.concatenate([patterns.read(int(run[0]), int(run[-1]) + 1) for run in runs])
    return found if np.array_equal(used, indices) else found[place]


class ArrayPatterns:
    """Patterns held by anything that slices like an array: ndarray, memmap, h5py dataset."""

    def __init__(self, array: Any) -> None:
        if array.ndim != 3:
            raise FormatError(f"patterns: expected 3 dimensions (n, sy, sx), found {array.ndim}")
        self._array = array
        self.shape: tuple[int, int, int] = tuple(array.shape)
        self.dtype = np.dtype(array.dtype).newbyteorder("=")

    def read(self, start: int, stop: int) -> npt.NDArray:
        return np.ascontiguousarray(self._array[start:stop], dtype=self.dtype)


class FilePatterns:
    """Patterns that stand one after another in a file, without any coding.

    They are read rather than mapped, so that a long scan does not fill the memory.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dtype: npt.DTypeLike,
        shape: tuple[int, int, int],
        offset: int = 0,
    ) -> None:
        self.path, self.offset, self.shape = os.fspath(path), offset, shape
        self._stored = np.dtype(dtype)
        self.dtype = self._stored.newbyteorder("=")

    def read(self, start: int, stop: int) -> npt.NDArray:
        size = self.shape[1] * self.shape[2]
        offset = self.offset + start * size * self._stored.itemsize
        values = np.fromfile(self.path, self._stored, (stop - start) * size, offset=offset)
        if values.size != (stop - start) * size:
            raise FormatError(
                f"{self.path}: expected patterns {start} to {stop - 1}, found the file cut short "
                f"since it was opened"
            )
        return values.reshape(-1, *self.shape[1:]).astype(self.dtype, copy=False)


@dataclass(frozen=True)
class Detector:
    """The EBSD detector, in the units of its field names.

    Parameters
    ----------
    shape
        Pattern (rows, columns) in binned pixels.
    pc_bruker
        (3,) for all points or (n, 3) per point: PCx, PCy, PCz as fractions of the pattern's width,
        height and height, origin upper left.
    pc_original, pc_convention
        The same numbers as the source gives them, and the name of its convention.
    sample_tilt_deg, tilt_deg, azimuth_deg, twist_deg
        Sample tilt; the detector's elevation, azimuth and twist.
    pixel_size_um, binning
        Unbinned detector pixel and binning factor.
    """

    shape: tuple[int, int]
    pc_bruker: npt.NDArray[np.float64] | None = None
    pc_original: npt.NDArray[np.float64] | None = None
    pc_convention: str | None = None
    sample_tilt_deg: float | None = None
    tilt_deg: float | None = None
    azimuth_deg: float | None = None
    twist_deg: float | None = None
    pixel_size_um: float | None = None
    binning: float | None = None


@dataclass(frozen=True)
class Microscope:
    """The microscope's settings for the scan."""

    name: str | None = None
    beam_energy_kev: float | None = None
    magnification: float | None = None
    working_distance_mm: float | None = None


@dataclass(frozen=True)
class Phase:
    """A crystal phase; `lattice` is a, b, c in Å and alpha, beta, gamma in degrees."""

    phase_id: int
    name: str
    space_group: int | None = None
    point_group: str | None = None
    lattice: tuple[float, float, float, float, float, float] | None = None


@dataclass(frozen=True)
class Orientations:
    """Orientations that came with the scan: results of somebody's indexing, not ground truth.

    Parameters
    ----------
    quaternions
        (n, 4) unit quaternions (scalar first) that turn the sample frame into the crystal frame,
        as orix has them; NaN where not indexed.
    phase_id
        (n,) id of the phase of each point; -1 is not indexed.
    properties
        (n,) arrays by name: confidence_index, fit, image quality … as the source calls them.
    sample_frame
        The frame that they refer to: "edax" (RD, TD, ND, which are kikuchipy's and EMsoft's too) or
        "oxford" (CS1, and Bruker's).
    """

    quaternions: npt.NDArray[np.float64]
    phase_id: npt.NDArray[np.int32]
    properties: dict[str, npt.NDArray] = field(default_factory=dict)
    sample_frame: SampleFrame = "edax"


@dataclass(frozen=True)
class SourceFile:
    """Where a scan came from, and everything its file said about itself.

    Parameters
    ----------
    path
        The file, or None for a scan made in memory.
    format, reader
        Name of the file format, and the software that read it.
    header, trailer
        What stands in a binary file before and behind the scan's patterns, verbatim.
    metadata
        The reader's own view of the metadata, as plain JSON values.
    hdf5_patterns
        HDF5 sources only: path of the pattern dataset; all other nodes are kept by copy.
    companions
        Files beside `path` that belong to the scan (a settings file, a background image).
    parts
        Sources that are folders only: the files that make the scan, by their paths in it.
    """

    path: str | None
    format: str
    reader: str
    header: bytes | None = None
    trailer: bytes | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    hdf5_patterns: str | None = None
    companions: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scan:
    """A scan: its patterns, where they were taken, and what is known about them."""

    patterns: Patterns
    grid: Grid
    detector: Detector
    source: SourceFile
    microscope: Microscope = field(default_factory=Microscope)
    phases: tuple[Phase, ...] = ()
    orientations: Orientations | None = None
    static_background: npt.NDArray | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        where = self.source.path or self.source.format
        n, sy, sx = self.patterns.shape
        if n == 0 or sy == 0 or sx == 0:
            raise FormatError(
                f"{where}: expected patterns of at least 1 x 1 pixel, found {n} of {sy} x {sx}"
            )
        if self.patterns.dtype.name not in PATTERN_DTYPES:
            raise FormatError(
                f"{where}: expected patterns of type {', '.join(PATTERN_DTYPES)}, "
                f"found {self.patterns.dtype.name}; convert them first"
            )
        if n != self.grid.size:
            raise FormatError(
                f"{where}: expected {self.grid.size} patterns from the header "
                f"({self.grid.n_rows} rows of {self.grid.n_columns}, {self.grid.kind}), found {n}; "
                f"is the file complete?"
            )
        if self.detector.shape != (sy, sx):
            raise FormatError(
                f"{where}: expected patterns of {self.detector.shape} pixels, found {(sy, sx)}"
            )

    @property
    def pattern_bytes(self) -> int:
        """Bytes of one pattern."""
        _, sy, sx = self.patterns.shape
        return sy * sx * self.patterns.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all patterns, uncompressed."""
        return self.patterns.shape[0] * self.pattern_bytes

    def blocks(self, block_bytes: int = 16 << 20) -> Iterator[tuple[int, int, npt.NDArray]]:
        """(start, stop, patterns) over the whole scan, in blocks of scan rows.

        The next block is read by a thread while the caller works on this one.
        """
        with ThreadPoolExecutor(1) as ahead:
            coming: Future[npt.NDArray] | None = None
            ranges = list(self.grid.blocks(self.pattern_bytes, block_bytes))
            for (start, stop), following in zip(ranges, [*ranges[1:], None], strict=True):
                patterns = coming.result() if coming else self.patterns.read(start, stop)
                if following is not None:
                    coming = ahead.submit(self.patterns.read, *following)
                yield start, stop, patterns
