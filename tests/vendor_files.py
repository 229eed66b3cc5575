"""Small files of every vendor's format, written by the tables of their layouts."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ebsdarchive.scan import Scan

NY, NX, SY, SX = 2, 3, 5, 7
N = NY * NX

_rng = np.random.default_rng(7)
PATTERNS = _rng.integers(0, 250, (N, SY, SX)).astype(np.uint8)
CENTRES = np.round(_rng.uniform(0.3, 0.8, (N, 3)), 4).astype(np.float32)
BACKGROUND = _rng.integers(1, 250, (SY, SX)).astype(np.uint8)


# ---------------------------------------------------------------- small files of each flavour


def one(value: Any) -> np.ndarray:
    return np.atleast_1d(np.asarray(value))


def kikuchipy_content(n: int = N) -> dict[str, Any]:
    header = {
        "n_rows": NY,
        "n_columns": NX,
        "pattern_height": SY,
        "pattern_width": SX,
        "step_x": 0.75,
        "step_y": 0.5,
        "pcx": CENTRES[:n, 0].reshape(-1, NX if n == N else 1),
        "pcy": CENTRES[:n, 1].reshape(-1, NX if n == N else 1),
        "pcz": CENTRES[:n, 2].reshape(-1, NX if n == N else 1),
        "binning": 4,
        "detector_pixel_size": 59.2,
        "sample_tilt": 69.5,
        "elevation_angle": 5.25,
        "azimuth_angle": -0.5,
        "twist_angle": 0.25,
        "static_background": BACKGROUND,
    }
    return {
        "manufacturer": b"kikuchipy",
        "version": b"0.13.1",
        **{f"Scan 1/EBSD/Header/{key}": value for key, value in header.items()},
        "Scan 1/EBSD/Data/patterns": PATTERNS,
        "Scan 1/SEM/Header/beam_energy": 20.0,
        "Scan 1/SEM/Header/microscope": "Zeiss Supra",
    }


def _edax() -> dict[str, Any]:
    header = {
        "Grid Type": b"SqrGrid",
        "nRows": NY,
        "nColumns": NX,
        "Pattern Height": SY,
        "Pattern Width": SX,
        "Step X": np.float32(0.75),
        "Step Y": np.float32(0.5),
        "Pattern Center Calibration/x-star": CENTRES[0, 0],
        "Pattern Center Calibration/y-star": CENTRES[0, 1],
        "Pattern Center Calibration/z-star": CENTRES[0, 2],
        "Sample Tilt": 69.5,
        "Camera Elevation Angle": 5.25,
        "Camera Azimuthal Angle": -0.5,
        "Working Distance": 16.5,
        "Operator": "Größe".encode("latin-1"),
    }
    return {
        " Manufacturer": one(b"EDAX"),
        " Version": one(b"OIM Analysis 8.6.0050 x64 [18 Oct 2021]"),
        **{f"Map/EBSD/Header/{key}": one(value) for key, value in header.items()},
        "Map/EBSD/Data/Pattern": PATTERNS,
    }


def _bruker() -> dict[str, Any]:
    header = {
        "Grid Type": b"isometric",
        "NROWS": NY,
        "NCOLS": NX,
        "PatternHeight": SY,
        "PatternWidth": SX,
        "XSTEP": 0.75,
        "YSTEP": 0.5,
        "SampleTilt": 69.5,
        "CameraTilt": 5.25,
        "KV": 20.0,
        "DetectorFullHeightMicrons": 23700,
        "StaticBackground": BACKGROUND.astype(np.uint16),
    }
    return {
        "Manufacturer": b"Bruker Nano",
        "Version": b"Esprit 2.X",
        **{f"Scan/EBSD/Header/{key}": value for key, value in header.items()},
        "Scan/EBSD/Data/RawPatterns": PATTERNS,
        "Scan/EBSD/Data/PCX": CENTRES[:, 0],
        "Scan/EBSD/Data/PCY": CENTRES[:, 1],
        "Scan/EBSD/Data/DD": CENTRES[:, 2],
    }


def _oxford() -> dict[str, Any]:
    header = {
        "Y Cells": NY,
        "X Cells": NX,
        "Pattern Height": SY,
        "Pattern Width": SX,
        "X Step": np.float32(0.75),
        "Y Step": np.float32(0.5),
        "Tilt Angle": np.deg2rad(69.5),
        "Detector Orientation Euler": np.deg2rad([0, 95.25, 0]),
        "Beam Voltage": 20.0,
        "Camera Mode": b"Speed 1 (622x512 px)",
        "Processed Static Background": BACKGROUND,
        "Unprocessed Static Background": BACKGROUND // 2,
    }
    return {
        "Manufacturer": b"Oxford Instruments",
        "Format Version": b"7.0",
        "Index": b"1",
        **{f"1/EBSD/Header/{key}": value for key, value in header.items()},
        "1/EBSD/Data/Processed Patterns": PATTERNS,
        "1/EBSD/Data/Unprocessed Patterns": PATTERNS // 2,
        "1/EBSD/Data/Pattern Center X": CENTRES[:, 0],
        "1/EBSD/Data/Pattern Center Y": CENTRES[:, 1],
        "1/EBSD/Data/Detector Distance": CENTRES[:, 2],
    }


def _emsoft() -> dict[str, Any]:
    names = {"numsy": SY, "numsx": SX, "xpc": 1.5, "ypc": -0.75, "L": 1500.0, "thetac": 5.25}
    names |= {"delta": 59.0, "binning": 2, "energymax": 20.0}
    return {
        "EMheader/EBSD/ProgramName": one(b"EMEBSD.f90"),
        **{f"NMLparameters/EBSDNameList/{key}": one(value) for key, value in names.items()},
        "EMData/EBSD/EBSDPatterns": PATTERNS,
        "EMData/EBSD/EulerAngles": np.linspace(0, 1, 3 * N, dtype=np.float32).reshape(N, 3),
        "EMData/EBSD/xtalname": one(b"folder/Ni.xtal"),
        "CrystalData/Natomtypes": one(1),
        "CrystalData/Atomtypes": one(28),
        "CrystalData/AtomData": np.array([[0.0], [0.0], [0.0], [1.0], [0.0035]]),
        "CrystalData/SpaceGroupNumber": one(225),
        "CrystalData/LatticeParameters": np.array([0.3524, 0.3524, 0.3524, 90, 90, 90]),
    }


FLAVOURS: dict[str, Callable[[], dict[str, Any]]] = {
    "kikuchipy": kikuchipy_content,
    "edax": _edax,
    "bruker": _bruker,
    "oxford": _oxford,
    "emsoft": _emsoft,
}
PATTERNS_PATH = {
    "kikuchipy": "Scan 1/EBSD/Data/patterns",
    "edax": "Map/EBSD/Data/Pattern",
    "bruker": "Scan/EBSD/Data/RawPatterns",
    "oxford": "1/EBSD/Data/Processed Patterns",
    "emsoft": "EMData/EBSD/EBSDPatterns",
}
HEADER_PATH = {name: path.split("/Data/")[0] + "/Header/" for name, path in PATTERNS_PATH.items()}


def write_hdf5(path: Path, content: dict[str, Any]) -> Path:
    """A file with these datasets; None leaves one out."""
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if value is not None:
                file[name] = value
    return path


def write_flavour(folder: Path, flavour: str, **changes: Any) -> Path:
    """A small file of a flavour; `changes` are of its header, or of other paths with a slash."""
    content = FLAVOURS[flavour]()
    for name, value in changes.items():
        key = name if "/" in name or name in content else HEADER_PATH[flavour] + name
        assert value is not None or key in content, key
        if flavour == "edax" and value is not None and "/" not in name:
            value = one(value)
        content[key] = value
    return write_hdf5(folder / ("scan.h5oina" if flavour == "oxford" else "scan.h5"), content)


def up_file(
    path: Path,
    patterns: np.ndarray,
    n_columns: int,
    n_rows: int,
    *,
    version: int = 3,
    hexagonal: bool = False,
    extra: int = 0,
    steps: tuple[float, float] = (0.75, 0.5),
    gap: bytes = b"",
) -> Path:
    _, sy, sx = patterns.shape
    head = struct.pack("<4I", version, sx, sy, 42 + len(gap))
    head += struct.pack("<BIIBdd", extra, n_columns, n_rows, hexagonal, *steps)
    if version == 1:
        head = struct.pack("<4I", 1, sx, sy, 16 + len(gap))
    path.write_bytes(head + gap + patterns.tobytes())
    return path


def all_patterns(scan: Scan) -> np.ndarray:
    return scan.patterns.read(0, scan.grid.size)


def cut(path: Path, count: int) -> Path:
    """The file without its last bytes."""
    path.write_bytes(path.read_bytes()[:-count])
    return path


def ebsp_file(path: Path, patterns: np.ndarray, nx: int, order: list[int], version: int) -> Path:
    """Uncompressed patterns, the file's i-th of point order[i]; see kikuchipy's oxford_binary."""
    n, sy, sx = patterns.shape
    head = struct.pack("<q", -version) if version else b""
    head += b"\x01" if version > 3 else b""
    first = len(head) + 8 * n
    starts = np.zeros(n, np.int64)
    body = b""
    for point in order:
        starts[point] = first + len(body)
        x, y = 0.75 * (point % nx), 0.75 * (point // nx)
        if version >= 5:
            body += struct.pack("<2i", point % nx, point // nx)
        body += struct.pack("<4i", 0, sy, sx, patterns[point].nbytes) + patterns[point].tobytes()
        if version == 1:
            body += struct.pack("<dd", x, y)
        elif version > 1:
            body += struct.pack("<?d?d", True, x, True, y)
    path.write_bytes(head + starts.tobytes() + body)
    return path


def pat_file(
    path: Path,
    patterns: np.ndarray,
    nx: int,
    *,
    background: np.ndarray | None = None,
    whole_map: bool = True,
    version: int = 1,
    places: list[tuple[int, int]] | None = None,
) -> Path:
    """ThermoFisher's layout; see PyEBSDIndex's TFPatFile."""
    n, sy, sx = patterns.shape
    head = struct.pack("<5I", version, nx, n // nx, sx, sy)
    head += struct.pack("<hBh", -1 if whole_map else 0, 12, 0 if background is None else -1)
    body = b"" if background is None else background.astype("<u2").tobytes()
    for i, pattern in enumerate(patterns):
        place = (i % nx, i // nx) if places is None else places[i]
        body += struct.pack("<2I", *place) + pattern.astype("<u2").tobytes()
    path.write_bytes(head + body)
    return path


def matrices(n: int) -> np.ndarray:
    """(n, 3, 3) rotation matrices that differ."""
    from orix.quaternion import Rotation

    angles = np.random.default_rng(n).uniform(0.1, 1.4, (n, 3))
    return Rotation.from_euler(angles).to_matrix()


def apex_file(path: Path, maps: dict[str, tuple[int, int]], kind: str = "Square") -> Path:
    """An APEX project with maps of these columns and rows, one phase, first point not indexed."""
    layout = np.dtype([("matrix", "<f4", 9), ("IQ", "<f4"), ("CI", "<f4"), ("Phase", "<i4")])
    with h5py.File(path, "w") as file:
        root = file.create_group("Project")
        root.attrs["Company"] = np.array([b"EDAX, LLC"])
        root.attrs["PRODUCT_VERSION"] = np.array([b"2.5.1001.0001"])
        for name, (columns, rows) in maps.items():
            node = root.create_group(f"Sample/Area 1/{name}")
            node["Sample/Grid Type"] = np.array([kind.encode()])
            node["Sample/Step X"], node["Sample/Step Y"] = np.array([0.75]), np.array([0.5])
            node["Sample/Number Of Columns"] = np.array([columns])
            node["Sample/Number Of Rows"] = np.array([rows])
            points = np.zeros(columns * rows, layout)
            points["matrix"] = matrices(columns * rows).reshape(-1, 9)
            points["IQ"] = np.arange(columns * rows)
            points["Phase"][0] = -1
            node["EBSD/ANG/DATA/DATA"] = points
            phase = node.create_group("EBSD/ANG/HEADER/Phase/1")
            phase["Material Name"] = np.array([b"Nickel"])
            for key in ("A", "B", "C"):
                phase[f"Lattice Constant {key}"] = np.array([3.52])
            for key in ("Alpha", "Beta", "Gamma"):
                phase[f"Lattice Constant {key}"] = np.array([90.0])
    return path


def ang_file(path: Path, columns: int, rows: int, even: int | None = None, **changes: str) -> Path:
    """An EDAX ang file, hexagonal where even rows have a length of their own."""
    said = {
        "TEM_PIXperUM": "1.000000",
        "x-star": "0.512300",
        "y-star": "0.734500",
        "z-star": "0.645600",
        "WorkingDistance": "15.500000",
        "SampleTiltAngle": "69.500000",
        "CameraElevationAngle": "5.250000",
        "CameraAzimuthalAngle": "-0.500000",
        "": "",
        "Phase": "1",
        "MaterialName": "Nickel",
        "Formula": "Ni",
        "Symmetry": "43",
        "LatticeConstants": "3.520 3.520 3.520  90.000  90.000  90.000",
        "GRID:": "SqrGrid" if even is None else "HexGrid",
        "XSTEP:": "0.750000",
        "YSTEP:": "0.500000",
        "NCOLS_ODD:": str(columns),
        "NCOLS_EVEN:": str(columns if even is None else even),
        "NROWS:": str(rows),
        **{key.replace("_", "-") if "star" in key else key: v for key, v in changes.items()},
    }
    lines = [f"# {key} {value}" for key, value in said.items()]
    i = 0
    for row in range(rows):
        length = columns if even is None or row % 2 == 0 else even
        for column in range(length):
            x = 0.75 * (column + (0.5 * (row % 2) if even is not None else 0))
            confidence = -1 if i == 1 else 0.5
            lines.append(
                f"{0.1 * i:9.5f} {0.2:9.5f} {0.3:9.5f} {x:12.5f} {0.5 * row:12.5f} "
                f"{100 + i:.1f} {confidence:6.3f}  0 {i:6d} {1.5:6.3f}"
            )
            i += 1
    path.write_text("\n".join(lines) + "\n", encoding="latin-1")
    return path


def ctf_file(path: Path, columns: int, rows: int, comma: bool = False, name: str = "Ni") -> Path:
    """An Oxford ctf file, with decimal commas where wanted."""
    header = [
        "Channel Text File",
        "Prj\tMap",
        "Author\t[Unknown]",
        "JobMode\tGrid",
        f"XCells\t{columns}",
        f"YCells\t{rows}",
        "XStep\t0.75",
        "YStep\t0.5",
        "AcqE1\t0",
        "AcqE2\t0",
        "AcqE3\t0",
        "Euler angles refer to Sample Coordinate system (CS0)!\tMag\t500\tCoverage\t100\tDevice\t0"
        "\tKV\t20\tTiltAngle\t69.5\tTiltAxis\t0",
        "Phases\t1",
        f"3.520;3.520;3.520\t90.000;90.000;90.000\t{name}\t11\t225\t\t\tRef",
        "Phase\tX\tY\tBands\tError\tEuler1\tEuler2\tEuler3\tMAD\tBC\tBS",
    ]
    table = []
    for i in range(columns * rows):
        x, y = 0.75 * (i % columns), 0.5 * (i // columns)
        phase = 0 if i == 1 else 1
        table.append(
            f"{phase}\t{x:.4f}\t{y:.4f}\t8\t0\t{10.0 * i:.3f}\t20.000\t30.000\t0.4\t{100 + i}\t9"
        )
    text = "\n".join([*header, *table]) + "\n"
    text = text.replace(".", ",") if comma else text
    path.write_text(text, encoding="latin-1")
    return path
