"""The layout of EDAX's HDF5 files (.oh5, .h5), and the .ang file that stands beside a scan.

Readers take the layout by its manufacturer and a version that sorts behind "OIM Analysis 8.6.00",
so both are there; the version goes on to say who wrote the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ebsdarchive.archive.store import open_for_writing
from ebsdarchive.exchange.writing.hdf5 import write_entries, write_export_node, write_stream
from ebsdarchive.exchange.writing.job import WRITTEN_BY, Job
from ebsdarchive.exchange.writing.orientations import (
    NOT_INDEXED_RAD,
    Oriented,
    as_crystal_map,
    bunge_angles,
    named_property,
    phase_entries,
    phase_numbers,
)
from ebsdarchive.geometry import pc_from_bruker
from ebsdarchive.scan import Scan

__all__ = ["mean_pc_edax", "why_no_ang", "write_ang", "write_edax_h5"]

_CELL = ("a", "b", "c", "alpha", "beta", "gamma")


def write_edax_h5(job: Job) -> None:
    """EDAX's layout, patterns uncompressed; of projection centres that vary it holds the mean."""
    scan, (_, sy, sx) = job.scan, job.shape
    with open_for_writing(job.path) as file:
        about = f"exported by {WRITTEN_BY}, not by EDAX's software"
        write_entries(
            file,
            {
                "Manufacturer": "EDAX",
                "Version": f"OIM Analysis 8.6.00 layout, written by {WRITTEN_BY}",
                "Comments": about,
            },
        )
        group = file.create_group("Scan 1/EBSD")
        header = group.create_group("Header")
        grid, detector = scan.grid, scan.detector
        write_entries(
            header,
            {
                "nColumns": np.int32(grid.n_columns),
                "nRows": np.int32(grid.n_rows),
                "Grid Type": "HexGrid" if grid.is_hexagonal else "SqrGrid",
                "Step X": _single(grid.step_x_um, 1.0),
                "Step Y": _single(grid.step_y_um, 1.0),
                "Pattern Width": np.int32(sx),
                "Pattern Height": np.int32(sy),
                "Sample Tilt": _single(detector.sample_tilt_deg),
                "Camera Elevation Angle": _single(detector.tilt_deg),
                "Camera Azimuthal Angle": _single(detector.azimuth_deg),
                "Working Distance": _single(scan.microscope.working_distance_mm),
                "Operator": WRITTEN_BY,
                "Notes": about,
            },
        )
        centre = mean_pc_edax(scan)
        if centre is not None:
            calibration = header.create_group("Pattern Center Calibration")
            names = ("x-star", "y-star", "z-star")
            write_entries(
                calibration, dict(zip(names, centre.astype(np.float32)[:, None], strict=True))
            )
        data = group.create_group("Data")
        xy = grid.positions() * [grid.step_x_um or 1.0, grid.step_y_um or 1.0]
        data["X Position"], data["Y Position"] = (column.astype(np.float32) for column in xy.T)
        if scan.orientations is not None:
            _write_orientations(data, header.create_group("Phase"), scan)
        write_stream(data, "Pattern", job)
        write_export_node(file, job)


def mean_pc_edax(scan: Oriented) -> Any:
    """(3,) mean projection centre x*, y*, z* in EDAX's convention, or None."""
    if scan.detector.pc_bruker is None:
        return None
    mean = np.atleast_2d(scan.detector.pc_bruker).mean(axis=0)
    return pc_from_bruker(mean, "edax", scan.detector.shape)


def _single(value: float | None, placeholder: float | None = None) -> Any:
    """A number as float32; of an unknown one the placeholder, if readers need it."""
    known = None if value is None else np.float32(value)
    return known if placeholder is None else (known, np.float32(placeholder))


def _write_orientations(data: h5py.Group, phases: h5py.Group, scan: Scan) -> None:
    """Phi1, Phi, Phi2, Phase and what else is known of each point; and the phases."""
    angles = np.nan_to_num(bunge_angles(scan), nan=NOT_INDEXED_RAD).astype(np.float32)
    for name, column in zip(("Phi1", "Phi", "Phi2"), angles.T, strict=True):
        data[name] = column
    numbers = phase_numbers(scan)
    data["Phase"] = numbers.astype(np.int8)
    assert scan.orientations is not None
    for name, kind, missing in (("CI", "confidence", -1.0), ("Fit", "fit", 180.0)):
        found = named_property(scan, kind)
        if found is not None:
            values = np.where(numbers > 0, scan.orientations.properties[found], missing)
            data[name] = values.astype(np.float32)
    quality = named_property(scan, "quality")
    if quality is not None:
        data["IQ"] = scan.orientations.properties[quality].astype(np.float32)
    for entry in phase_entries(scan):
        node = phases.create_group(str(entry.number))
        write_entries(node, {"MaterialName": entry.name, "Formula": "", "Info": ""})
        if entry.point_group is not None:
            write_entries(node, {"Point Group": f"[{entry.point_group}]"})
        if entry.space_group is not None:  # not an entry of EDAX's, which knows Laue groups alone
            write_entries(node, {"SpaceGroupNumber": np.int32(entry.space_group)})
        if entry.edax_symmetry is not None:
            write_entries(node, {"Symmetry": np.int32(entry.edax_symmetry)})
        for letter, number in zip(_CELL, entry.lattice or (), strict=False):
            write_entries(node, {f"Lattice Constant {letter}": np.float32(number)})
        write_entries(node, {"NumberFamilies": np.int32(0)})


def why_no_ang(scan: Oriented) -> str | None:
    """Why `write_ang` cannot write a scan or map; None where it can."""
    if scan.orientations is None:
        return "there are no orientations"
    if scan.grid.is_hexagonal:
        return "orix writes square grids alone"
    if scan.grid.step_x_um is None or scan.grid.step_y_um is None:
        return "the step is not known"
    if scan.grid.n_rows == 1 or scan.grid.n_columns == 1:
        return "orix writes maps of at least two rows and columns"
    return None


def write_ang(path: Path, scan: Oriented) -> None:
    """EDAX's .ang of a square grid, by orix; its header then says what is known, and who wrote it.

    Points that are not indexed have Euler angles of 4 pi, a confidence of -1 and a fit of 180.
    """
    import orix
    from orix.io.plugins.ang import file_writer

    file_writer(
        str(path),
        as_crystal_map(scan),
        image_quality_prop=named_property(scan, "quality"),
        confidence_index_prop=named_property(scan, "confidence"),
        pattern_fit_prop=named_property(scan, "fit"),
    )
    known = {"OPERATOR:": f"{WRITTEN_BY} with orix {orix.__version__}"}
    centre = mean_pc_edax(scan)
    if centre is not None:
        known |= {
            name: f"{number:.6f}"
            for name, number in zip(("x-star", "y-star", "z-star"), centre, strict=True)
        }
    if scan.microscope.working_distance_mm is not None:
        known["WorkingDistance"] = f"{scan.microscope.working_distance_mm:.6f}"
    lines = path.read_text(encoding="latin-1").split("\n")
    for number, line in enumerate(lines):
        words = line.removeprefix("# ").split()
        if not line.startswith("#"):
            break
        if words and words[0] in known:
            lines[number] = f"# {words[0]:<22} {known[words[0]]}"
    path.write_text("\n".join(lines), encoding="latin-1")
