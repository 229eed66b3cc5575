"""Oxford Instruments' layouts: H5OINA (format version 5.0) and uncompressed .ebsp.

The specification of H5OINA is public (github.com/oinanoanalysis/h5oina): angles in radians, an
attribute "Unit" on physical quantities, 8-bit patterns as "Processed Patterns", wider ones as
"Unprocessed Patterns".
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from ebsdarchive.archive.store import open_for_writing
from ebsdarchive.exchange.writing.hdf5 import (
    PLACEHOLDER,
    write_entries,
    write_export_node,
    write_stream,
)
from ebsdarchive.exchange.writing.job import WRITTEN_BY, Job
from ebsdarchive.exchange.writing.orientations import (
    bunge_angles,
    named_property,
    phase_entries,
    phase_numbers,
)
from ebsdarchive.geometry import pc_from_bruker
from ebsdarchive.scan import Scan

__all__ = ["write_ebsp", "write_h5oina"]

EBSP_VERSION = 4  # the newest that EMSphInx reads
_LAUE = ("-1", "2/m", "mmm", "4/m", "4/mmm", "-3", "-3m", "6/m", "6/mmm", "m-3", "m-3m")
_UNITS = {
    "Beam Voltage": "kV",
    "Working Distance": "mm",
    "Tilt Angle": "rad",
    "X Step": "um",
    "Y Step": "um",
    "Detector Orientation Euler": "rad",
    "Specimen Orientation Euler": "rad",
    "Scanning Rotation Angle": "rad",
    "Lattice Angles": "rad",
    "Lattice Dimensions": "angstrom",
    "Euler": "rad",
    "X": "um",
    "Y": "um",
    "Beam Position X": "um",
    "Beam Position Y": "um",
}


def write_h5oina(job: Job) -> None:
    """H5OINA with projection centres per point; patterns uncompressed."""
    scan = job.scan
    kind = "Processed" if job.dtype == "uint8" else "Unprocessed"
    with open_for_writing(job.path) as file:
        write_entries(
            file,
            {
                "Manufacturer": "Oxford Instruments",
                "Software Version": f"{WRITTEN_BY}, not Oxford Instruments' software",
                "Format Version": "5.0",
                "Index": "1",
            },
        )
        file["Index"].attrs["Type"] = "Single"
        group = file.create_group("1/EBSD")
        header, data = group.create_group("Header"), group.create_group("Data")
        write_entries(header, _header(scan))
        euler = None if scan.detector.tilt_deg is None else scan.detector.tilt_deg + 90
        if euler is not None:  # turned about x alone; the azimuth has no agreed place here
            header["Detector Orientation Euler"] = np.radians([[0, euler, 0]]).astype(np.float32)
        header["Specimen Orientation Euler"] = np.zeros((1, 3), np.float32)
        header["Specimen Orientation Euler"].attrs["note"] = PLACEHOLDER
        background = job.background()
        if background is not None:
            header[f"{kind} Static Background"] = background
        _write_phases(header.create_group("Phases"), scan)
        _write_points(data, scan)
        write_stream(data, f"{kind} Patterns", job)
        for node in (header, data):
            for name in set(node) & set(_UNITS):
                node[name].attrs["Unit"] = _UNITS[name]
        write_export_node(file, job)


def _header(scan: Scan) -> dict[str, Any]:
    grid, detector, microscope = scan.grid, scan.detector, scan.microscope
    binning = detector.binning
    tilt = detector.sample_tilt_deg
    numbers = {
        "X Step": (grid.step_x_um, 1.0),
        "Y Step": (grid.step_y_um, 1.0),
        "Beam Voltage": (microscope.beam_energy_kev, None),
        "Working Distance": (microscope.working_distance_mm, None),
        "Magnification": (microscope.magnification, None),
        "Tilt Angle": (None if tilt is None else np.radians(tilt), None),
        "Scanning Rotation Angle": (np.nan, None),  # the specification's "not known"
    }
    entries: dict[str, Any] = {
        "Project Label": scan.name or "",
        "X Cells": np.int32(grid.n_columns),
        "Y Cells": np.int32(grid.n_rows),
        "Pattern Width": np.int32(detector.shape[1]),
        "Pattern Height": np.int32(detector.shape[0]),
        "Camera Binning Mode": f"{binning:g}x{binning:g}" if binning else None,
    }
    for name, (value, placeholder) in numbers.items():
        known = None if value is None else np.float32(value)
        entries[name] = known if placeholder is None else (known, np.float32(placeholder))
    return entries


def _write_phases(group: h5py.Group, scan: Scan) -> None:
    for entry in phase_entries(scan):
        node = group.create_group(str(entry.number))
        write_entries(node, {"Phase Name": entry.name, "Reference": ""})
        if entry.lattice is not None:
            cell = np.array([entry.lattice], np.float32)
            node["Lattice Dimensions"], node["Lattice Angles"] = (
                cell[:, :3],
                np.radians(cell[:, 3:]),
            )
            for name in ("Lattice Dimensions", "Lattice Angles"):
                node[name].attrs["Unit"] = _UNITS[name]
        if entry.laue_group in _LAUE:
            write_entries(node, {"Laue Group": np.int32(_LAUE.index(entry.laue_group) + 1)})
            node["Laue Group"].attrs["Symbol"] = entry.laue_group
        if entry.space_group is not None:
            write_entries(node, {"Space Group": np.int32(entry.space_group)})


def _write_points(data: h5py.Group, scan: Scan) -> None:
    """What is known of each point: position, projection centre, phase and orientation."""
    grid, n = scan.grid, scan.grid.size
    if grid.step_x_um is not None and grid.step_y_um is not None:
        xy = grid.positions() * [grid.step_x_um, grid.step_y_um]
        centre = (xy.max(axis=0) + xy.min(axis=0)) / 2
        beam = (xy - centre) * [1, -1]  # from the centre, upwards
        for axis, name in enumerate("XY"):
            data[name] = xy[:, axis].astype(np.float32)
            data[f"Beam Position {name}"] = beam[:, axis].astype(np.float32)
    if scan.detector.pc_bruker is not None:
        pc = pc_from_bruker(scan.detector.pc_bruker, "oxford", scan.detector.shape)
        columns = np.broadcast_to(pc, (n, 3)).astype(np.float32).T
        names = ("Pattern Center X", "Pattern Center Y", "Detector Distance")
        for name, column in zip(names, columns, strict=True):
            data[name] = column
    if scan.orientations is None:
        return
    data["Euler"] = np.nan_to_num(bunge_angles(scan)).astype(np.float32)
    data["Euler"].attrs["note"] = (
        "in Oxford's sample frame CS1: phi1 is 90 degrees less than EDAX's"
    )
    data["Phase"] = phase_numbers(scan)
    fit = named_property(scan, "fit")
    if fit is not None:
        values = np.radians(scan.orientations.properties[fit]).astype(np.float32)
        data["Mean Angular Deviation"] = np.where(data["Phase"][()] > 0, values, np.nan)
        data["Mean Angular Deviation"].attrs["Unit"] = "rad"


def write_ebsp(job: Job) -> None:
    """Uncompressed .ebsp: version 4 with beam positions, or 0, without, where the step is unknown.

    A table of offsets, then for each pattern a head, the pixels and the beam's x and y in µm.
    """
    scan, (n, sy, sx) = job.scan, job.shape
    pixel = np.dtype(job.dtype).newbyteorder("<")
    fields: list[Any] = [("head", "<i4", 4), ("pixels", pixel, (sy, sx))]
    steps = (scan.grid.step_x_um, scan.grid.step_y_um)
    if None not in steps:
        fields += [("has_x", "u1"), ("x", "<f8"), ("has_y", "u1"), ("y", "<f8")]
    record = np.dtype(fields)
    head = b"" if None in steps else np.int64(-EBSP_VERSION).astype("<i8").tobytes() + b"\0"
    first = len(head) + 8 * n
    with open(job.path, "wb") as file:
        file.write(head)
        file.write((first + record.itemsize * np.arange(n, dtype=np.int64)).astype("<i8").data)
        start = 0
        for block in job.blocks:
            records = np.zeros(len(block), record)
            records["head"] = (0, sy, sx, sy * sx * pixel.itemsize)  # not compressed
            records["pixels"] = block
            if None not in steps:
                xy = scan.grid.positions_of(start, start + len(block)) * np.array(steps, float)
                records["has_x"] = records["has_y"] = 1
                records["x"], records["y"] = xy.T
            file.write(records.data)
            start += len(block)
