"""What the headers of vendors' HDF5 files say about detector and steps, and nothing more.

kikuchipy fills in defaults for what a file does not say; here an entry that is missing stays
unknown. Patterns are left to `hdf5_patterns`, orientations and
phases to `hdf5_maps`.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.conformity import plain
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.errors import FormatError
from ebsdarchive.geometry import Grid, pc_to_bruker
from ebsdarchive.scan import Detector

__all__ = [
    "EMSOFT_PATTERNS",
    "FLAVOURS",
    "Flavour",
    "bruker_order",
    "emsoft_detector",
    "known_step",
    "read_header",
    "require_emsoft_size",
]


@dataclass(frozen=True)
class Flavour:
    """Where an HDF5 flavour keeps things; paths in a scan's group, "" where it has no entry.

    Parameters
    ----------
    size
        Rows and columns of the scan, height and width of a pattern.
    radians
        Angles are in radians, and the detector's tilt is the second of three Euler angles, 90
        degrees less.
    hexagonal
        Entry whose text begins with "Hex" where the grid is hexagonal.
    """

    name: str
    patterns: tuple[str, ...]
    size: tuple[str, str, str, str]
    convention: str
    pc: tuple[str, str, str]
    steps: tuple[str, str]
    sample_tilt: tuple[str, ...]
    tilt: str
    azimuth: str = ""
    twist: str = ""
    pixel_size: str = ""
    binning: tuple[str, ...] = ()
    radians: bool = False
    hexagonal: str = ""


_HEADER = "EBSD/Header/"
_DATA = "EBSD/Data/"
_CALIBRATION = _HEADER + "Pattern Center Calibration/"
EMSOFT_PATTERNS = "/EMData/EBSD/EBSDPatterns"
FLAVOURS = {
    "kikuchipy": Flavour(
        "kikuchipy h5ebsd",
        (_DATA + "patterns",),
        (
            _HEADER + "n_rows",
            _HEADER + "n_columns",
            _HEADER + "pattern_height",
            _HEADER + "pattern_width",
        ),
        "bruker",
        (_HEADER + "pcx", _HEADER + "pcy", _HEADER + "pcz"),
        (_HEADER + "step_x", _HEADER + "step_y"),
        (_HEADER + "sample_tilt",),
        _HEADER + "elevation_angle",
        _HEADER + "azimuth_angle",
        _HEADER + "twist_angle",
        _HEADER + "detector_pixel_size",
        (_HEADER + "binning",),
    ),
    "edax": Flavour(
        "EDAX HDF5",
        (_DATA + "Pattern",),
        (
            _HEADER + "nRows",
            _HEADER + "nColumns",
            _HEADER + "Pattern Height",
            _HEADER + "Pattern Width",
        ),
        "edax",
        (_CALIBRATION + "x-star", _CALIBRATION + "y-star", _CALIBRATION + "z-star"),
        (_HEADER + "Step X", _HEADER + "Step Y"),
        (_HEADER + "Sample Tilt",),
        _HEADER + "Camera Elevation Angle",
        _HEADER + "Camera Azimuthal Angle",
        hexagonal=_HEADER + "Grid Type",
    ),
    "bruker nano": Flavour(
        "Bruker HDF5",
        (_DATA + "RawPatterns",),
        (
            _HEADER + "NROWS",
            _HEADER + "NCOLS",
            _HEADER + "PatternHeight",
            _HEADER + "PatternWidth",
        ),
        "bruker",
        (_DATA + "PCX", _DATA + "PCY", _DATA + "DD"),
        (_HEADER + "XSTEP", _HEADER + "YSTEP"),
        (_HEADER + "SampleTilt", _HEADER + "Sample Tilt"),
        _HEADER + "CameraTilt",
    ),
    "oxford instruments": Flavour(
        "Oxford H5OINA",
        (_DATA + "Processed Patterns", _DATA + "Unprocessed Patterns"),
        (
            _HEADER + "Y Cells",
            _HEADER + "X Cells",
            _HEADER + "Pattern Height",
            _HEADER + "Pattern Width",
        ),
        "oxford",
        (_DATA + "Pattern Center X", _DATA + "Pattern Center Y", _DATA + "Detector Distance"),
        (_HEADER + "X Step", _HEADER + "Y Step"),
        (_HEADER + "Tilt Angle",),
        _HEADER + "Detector Orientation Euler",
        binning=(_HEADER + "Camera Mode", _HEADER + "Camera Binning Mode"),
        radians=True,
    ),
}


def read_header(path: Path, group: str, flavour: Flavour, patterns: str) -> tuple[Grid, Detector]:
    """Grid and detector of a scan, as far as its file knows them.

    Parameters
    ----------
    patterns
        Path of the dataset of patterns in the scan's group.

    Raises
    ------
    FormatError
        If patterns or projection centres are not as many, or as large, as the header says.
    """
    ny, nx, sy, sx = _size(path, group, flavour)
    step_x, step_y = (known_step(_number(path, group, name)) for name in flavour.steps)
    grid = Grid("square", nx, ny, step_x, step_y)
    if flavour.hexagonal and _text(path, group, flavour.hexagonal).lower().startswith("hex"):
        grid = replace(grid, kind="hexagonal", n_columns_even=_even(path, group, patterns, nx, ny))
    grid = _own_grid(path, ny * nx) or grid
    _require_shape(path, f"/{group}/{patterns}", (grid.size, sy, sx))
    tilt = _number(path, group, flavour.tilt)
    sample_tilt = _number(path, group, *flavour.sample_tilt)
    if flavour.radians:
        euler = _values(path, group, flavour.tilt)
        tilt = math.degrees(euler[1]) - 90 if euler is not None and len(euler) == 3 else None
        sample_tilt = None if sample_tilt is None else math.degrees(sample_tilt)
    centres = _projection_centres(path, group, flavour, grid.size)
    detector = Detector(
        shape=(sy, sx),
        pc_bruker=None if centres is None else pc_to_bruker(centres, flavour.convention, (sy, sx)),
        pc_original=centres,
        pc_convention=None if centres is None else flavour.convention,
        sample_tilt_deg=sample_tilt,
        tilt_deg=tilt,
        azimuth_deg=_number(path, group, flavour.azimuth),
        twist_deg=_number(path, group, flavour.twist),
        pixel_size_um=_number(path, group, flavour.pixel_size),
        binning=_binning(path, group, flavour),
    )
    return grid, detector


def _even(path: Path, group: str, patterns: str, nx: int, ny: int) -> int:
    """Points in even rows of a hexagonal grid: one less than in odd rows, or as many."""
    with open_for_reading(path) as file:
        count = math.prod(file[group][patterns].shape[:-2])
    return nx if count == nx * ny else nx - 1


def _size(path: Path, group: str, flavour: Flavour) -> tuple[int, int, int, int]:
    """Rows and columns of the scan, height and width of a pattern."""
    numbers = [_number(path, group, name) for name in flavour.size]
    if None in numbers:
        raise FormatError(
            f"{path}: /{group}: expected a header with the size of scan and patterns, found no "
            f"{flavour.size[numbers.index(None)]}"
        )
    ny, nx, sy, sx = (int(number) for number in numbers if number is not None)
    places = _bruker_places(path, group)
    if places is not None:  # a region of interest, of its own size
        nx, ny = (len(np.unique(place)) for place in places)
        if len(np.unique(np.stack(places), axis=1).T) != nx * ny or len(places[0]) != nx * ny:
            raise FormatError(
                f"{path}: /{group}: expected a rectangular region of interest, found "
                f"{len(places[0])} points in {ny} rows and {nx} columns"
            )
    return ny, nx, sy, sx


def require_emsoft_size(path: Path) -> None:
    """Raise FormatError unless EMsoft's patterns are as many as angles, and of the size stated."""
    with open_for_reading(path) as file:
        names = file["NMLparameters/EBSDNameList"]
        sy, sx = (int(np.ravel(names[key][()])[0]) for key in ("numsy", "numsx"))
        n = len(file["EMData/EBSD/EulerAngles"])
    _require_shape(path, EMSOFT_PATTERNS, (n, sy, sx))


def _require_shape(path: Path, dataset: str, expected: tuple[int, int, int]) -> None:
    with open_for_reading(path) as file:
        shape = file[dataset].shape
    if len(shape) not in (3, 4):
        raise FormatError(
            f"{path}: {dataset}: expected 3 or 4 dimensions (n, sy, sx), found {len(shape)}; "
            f"is this a single pattern?"
        )
    found = (math.prod(shape[:-2]), *shape[-2:])
    if expected != found or 0 in found:
        raise FormatError(
            f"{path}: {dataset}: expected {expected[0]} patterns of {expected[1]} x {expected[2]} "
            f"pixels from the header, found {found[0]} of {found[1]} x {found[2]}; is the file "
            f"complete?"
        )


def known_step(step: float | None) -> float | None:
    """A step in µm; None for what cannot be one, such as 0 where a writer did not know it."""
    return step if step is not None and math.isfinite(step) and step > 0 else None


def emsoft_detector(path: Path, shape: tuple[int, int]) -> Detector:
    """The detector of a simulation by EMsoft; kikuchipy takes the PC as that of version 5 too."""
    with open_for_reading(path) as file:
        names = file["NMLparameters/EBSDNameList"]
        keys = ("xpc", "ypc", "L", "thetac", "delta", "binning")
        *original, tilt, pixel_size, binning = (float(np.ravel(names[key][()])[0]) for key in keys)
    return Detector(
        shape=shape,
        pc_bruker=pc_to_bruker(original, "emsoft5", shape, pixel_size, binning),
        pc_original=np.array(original),
        pc_convention="emsoft5",
        tilt_deg=tilt,
        pixel_size_um=pixel_size,
        binning=binning,
    )


def bruker_order(path: Path, group: str) -> npt.NDArray[np.int64] | None:
    """Bruker's files list patterns in any order: index in the file of each point of the grid."""
    places = _bruker_places(path, group)
    return None if places is None else np.lexsort(places)


def _bruker_places(path: Path, group: str) -> tuple[npt.NDArray, npt.NDArray] | None:
    """Column and row of each pattern in the file, where it says."""
    for folder in ("EBSD/SEM", "SEM"):
        for names in (("IX", "IY"), ("SEM IX", "SEM IY")):
            columns, rows = (_values(path, group, f"{folder}/{name}") for name in names)
            if columns is None or rows is None:
                continue
            if folder == "EBSD/SEM" or len(columns) == len(rows) == _bruker_count(path, group):
                return columns, rows
    return None


def _bruker_count(path: Path, group: str) -> int:
    """Number of Bruker's patterns: "SEM" may hold places of something else."""
    with open_for_reading(path) as file:
        item = file[group].get(_DATA + "RawPatterns")
        return 0 if item is None else len(item)


def _projection_centres(
    path: Path, group: str, flavour: Flavour, n: int
) -> npt.NDArray[np.float64] | None:
    """(3,) or (n, 3) in the file's own convention, in the order of the grid."""
    parts = [_values(path, group, name) for name in flavour.pc]
    if any(part is None for part in parts):
        return None
    lengths = {len(part) for part in parts if part is not None}
    if len(lengths) != 1 or not lengths <= {1, n}:
        raise FormatError(
            f"{path}: /{group}: expected 1 or {n} projection centres, found "
            f"{', '.join(map(str, sorted(lengths)))}; is the file complete?"
        )
    centres = np.stack(parts, axis=-1).astype(np.float64)  # type: ignore[arg-type]
    order = bruker_order(path, group)
    if len(centres) == 1:
        return centres[0]
    return centres if order is None else centres[order]


def _binning(path: Path, group: str, flavour: Flavour) -> float | None:
    """The binning factor; Oxford gives the camera's mode, such as "Speed 1 (622x512 px)"."""
    if not flavour.radians:
        return _number(path, group, *flavour.binning)
    modes = [_values(path, group, name) for name in flavour.binning]
    for mode in (str(plain(values[0])) for values in modes if values is not None):
        if found := re.search(r"\(\d+x(\d+) px\)", mode):
            rows = int(found.group(1))  # of 1024, but for Speed 3, which leaves out 2 x 20 rows
            return 8.0 if rows == 88 else float(max(1, round(1024 / max(1, rows))))
    return None


def _own_grid(path: Path, n: int) -> Grid | None:
    """The grid that an export of this package holds: kikuchipy's layout knows no hexagonal one."""
    with open_for_reading(path) as file:
        node = file.get("ebsdarchive_export")
        text = None if node is None else node.attrs.get("grid")
    grid = None if text is None else Grid(**json.loads(plain(text)))
    return grid if grid is not None and grid.size == n else None


def _number(path: Path, group: str, *names: str) -> float | None:
    """The first of the entries that the file has, if it is a finite number."""
    found = [values for name in names if (values := _values(path, group, name)) is not None]
    if not found or found[0].size == 0 or found[0].dtype.kind not in "iuf":
        return None
    return float(found[0][0]) if math.isfinite(found[0][0]) else None


def _text(path: Path, group: str, name: str) -> str:
    """A header entry of text, or nothing."""
    values = _values(path, group, name)
    return "" if values is None or not values.size else str(plain(values[0])).strip()


def _values(path: Path, group: str, name: str) -> npt.NDArray | None:
    """A header entry as a flat array, or None where the file does not have it."""
    if not name:
        return None
    with open_for_reading(path) as file:
        item = file[group].get(name)
        return None if item is None else np.ravel(item[()])
