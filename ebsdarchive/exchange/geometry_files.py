"""Maps in text files, EDAX .ang and Oxford .ctf: grid, orientations and phases without patterns.

orix reads the table and the phases. The grid stands in the header, which orix leaves aside, and
Oxford's decimal commas are made points for it.

Angles of an .ang refer to EDAX's sample frame, those of a .ctf to Oxford's (CS1), whatever program
wrote it. The "CS0" of its header is the same, unless the specimen was turned in Oxford's software,
which a .ctf does not say.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.crystal_map import from_crystal_map
from ebsdarchive.errors import FormatError
from ebsdarchive.exchange.joining import MapFile, joined, require_in_order
from ebsdarchive.exchange.source_text import first_line, sound
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Microscope, Orientations, Phase, Scan

__all__ = ["GEOMETRY_FILES", "with_geometry"]

GEOMETRY_FILES = {".ang": "EDAX ang", ".ctf": "Oxford ctf", ".edaxh5": "EDAX APEX"}
_MOST_HEADER_LINES = 10_000


def with_geometry(scan: Scan, path: Path) -> Scan:
    """The scan joined with the map in an .ang, .ctf or .edaxh5 file.

    Raises
    ------
    FormatError
        If the file is none of these, or damaged.
    GeometryError
        If it is of other points than the scan.
    """
    ending = path.suffix.lower()
    if ending not in GEOMETRY_FILES:
        raise FormatError(
            f"{path}: expected a geometry file that ends in {', '.join(GEOMETRY_FILES)}, found "
            f"{ending or 'no ending'}"
        )
    with sound(path):
        if ending == ".edaxh5":
            from ebsdarchive.exchange.edax_apex import map_for

            return joined(scan, map_for(path, scan.grid))
        known = _read_ang(path) if ending == ".ang" else _read_ctf(path)
        return joined(scan, known)


def _read_ang(path: Path) -> MapFile:
    header = _header(path, lambda line: line.startswith("#"))
    said = _entries(line.lstrip("# ") for line in header)
    columns, rows = _whole(path, said, "NCOLS_ODD"), _whole(path, said, "NROWS")
    is_hexagonal = said.get("GRID", "").lower().startswith("hex")
    grid = Grid(
        "hexagonal" if is_hexagonal else "square",
        columns,
        rows,
        _positive(said.get("XSTEP")),
        _positive(said.get("YSTEP")),
        _whole(path, said, "NCOLS_EVEN") if is_hexagonal else None,
    )
    orientations, phases = _map(path, grid, decimal_commas=False)
    if len(phases) == 1:  # a single phase is 0 in the table and in orix's list, 1 in the header
        number = int(_positive(said.get("Phase")) or 1)
        phases = (replace(phases[0], phase_id=number),)
        if orientations is not None:
            ids = np.where(orientations.phase_id < 0, -1, number).astype(np.int32)
            orientations = replace(orientations, phase_id=ids)
    centre = [_number(said.get(name)) for name in ("x-star", "y-star", "z-star")]
    is_known = all(value is not None for value in centre) and any(centre)
    return MapFile(
        path,
        "EDAX ang",
        grid,
        orientations,
        phases,
        pc=np.array(centre, np.float64) if is_known else None,
        pc_convention="edax" if is_known else None,
        sample_tilt_deg=_number(said.get("SampleTiltAngle")),
        tilt_deg=_number(said.get("CameraElevationAngle")),
        azimuth_deg=_number(said.get("CameraAzimuthalAngle")),
        microscope=Microscope(working_distance_mm=_positive(said.get("WorkingDistance"))),
    )


def _read_ctf(path: Path) -> MapFile:
    header = _header(path, lambda line: not re.match(r"Phase\s+X\s+Y\s", line))
    said = _entries(header)
    grid = Grid(
        "square",
        _whole(path, said, "XCells"),
        _whole(path, said, "YCells"),
        _positive(said.get("XStep")),
        _positive(said.get("YStep")),
    )
    settings = " ".join(line for line in header if line.startswith("Euler angles refer"))
    named = dict(re.findall(r"(Mag|KV|TiltAngle)\s+([-+\d.,eE]+)", settings))
    orientations, phases = _map(path, grid, decimal_commas=True)
    if orientations is not None:
        orientations = replace(orientations, sample_frame="oxford")
    return MapFile(
        path,
        "Oxford ctf",
        grid,
        orientations,
        phases,
        sample_tilt_deg=_positive(named.get("TiltAngle")),
        microscope=Microscope(
            beam_energy_kev=_positive(named.get("KV")), magnification=_positive(named.get("Mag"))
        ),
    )


def _header(path: Path, belongs: Any) -> list[str]:
    """The lines at the beginning of a text file that belong to its header."""
    lines: list[str] = []
    with path.open(encoding="latin-1") as file:
        for line in file:
            if not belongs(line) or len(lines) == _MOST_HEADER_LINES:
                return lines
            lines.append(line.rstrip("\n"))
    return lines


def _entries(lines: Any) -> dict[str, str]:
    """First word of each line, without a colon, and the rest of it."""
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = re.sub(r"[:\s]+", " ", line, count=1).partition(" ")
        found.setdefault(name, value.strip())
    return found


def _whole(path: Path, said: dict[str, str], name: str) -> int:
    number = _number(said.get(name))
    if number is None or number < 0 or number != int(number):
        raise FormatError(
            f"{path}: expected a header with the whole number {name}, found "
            f"{said.get(name, 'none')!r}; is it a map of a grid?"
        )
    return int(number)


def _number(text: str | None) -> float | None:
    """A number, with decimal point or comma; None for what is none."""
    try:
        number = float((text or "").split()[0].replace(",", "."))
    except (ValueError, IndexError):
        return None
    return number if np.isfinite(number) else None


def _positive(text: str | None) -> float | None:
    number = _number(text)
    return number if number is not None and number > 0 else None


def _map(
    path: Path, grid: Grid, decimal_commas: bool
) -> tuple[Orientations | None, tuple[Phase, ...]]:
    """Orientations and phases by orix, whose points must be those of the grid in its order."""
    from orix import io

    options = {"autogen_names": False} if path.suffix.lower() == ".ang" else {}
    with _readable_by_orix(path, decimal_commas) as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            xmap = io.load(name, **options)
        except Exception as error:  # orix raises whatever a damaged table causes
            raise FormatError(
                f"{path}: expected a sound table of points, found: {first_line(error)}; is the "
                f"file complete?"
            ) from error
    if len(xmap.id) != grid.size:
        raise FormatError(
            f"{path}: expected {grid.size} points from the header, found {len(xmap.id)}; is the "
            f"file complete?"
        )
    x, y = (np.zeros(grid.size) if v is None else np.asarray(v, float) for v in (xmap.x, xmap.y))
    require_in_order(str(path), grid, x, y)
    return from_crystal_map(xmap)


@contextmanager
def _readable_by_orix(path: Path, decimal_commas: bool) -> Iterator[str]:
    """The file's name, or that of a copy in UTF-8 with decimal points where it is otherwise."""
    with path.open("rb") as file:
        sample = file.read(1 << 16)
    try:
        sample.decode("ascii")
        is_ascii = True
    except UnicodeDecodeError:
        is_ascii = False
    table = sample.partition(b"Euler1")[2].partition(b"\n")[2]
    if is_ascii and not (decimal_commas and b"," in table):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"copy{path.suffix.lower()}"
        in_table = False
        with path.open(encoding="latin-1") as file, copy.open("w", encoding="utf-8") as out:
            for line in file:
                out.write(line.replace(",", ".") if in_table and decimal_commas else line)
                in_table = in_table or bool(re.match(r"Phase\s+X\s+Y\s", line))
        yield str(copy)
