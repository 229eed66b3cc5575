"""Patterns one after another without a header: NORDIF's .dat and EMsoft's binary .data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ebsdarchive.exchange.writing.job import WRITTEN_BY, Job

__all__ = ["write_flat", "write_nordif_background", "write_nordif_settings"]


def write_flat(job: Job) -> None:
    """All patterns, little-endian, first row on top, nothing else."""
    dtype = np.dtype(job.dtype).newbyteorder("<")
    with open(job.path, "wb") as file:
        for block in job.blocks:
            file.write(np.ascontiguousarray(block, dtype).data)


def write_nordif_settings(path: Path, job: Job) -> None:
    """NORDIF's ``Setting.txt``, of which readers count the lines; unknown angles are "nan"."""
    scan, (_, sy, sx) = job.scan, job.shape
    detector, microscope, grid = scan.detector, scan.microscope, scan.grid

    def angle(value: float | None, sign: int = 1) -> str:
        return "nan" if value is None else f"{sign * value + 0.0:.10g}"

    blocks: dict[str, list[tuple[str, str, str]]] = {
        "NORDIF": [("Software version", f"none; {WRITTEN_BY} wrote this file", "")],
        "Microscope": [
            ("Manufacturer", "", ""),
            ("Model", microscope.name or "", ""),
            ("Magnification", f"{microscope.magnification or 0:.0f}", "#"),
            ("Scan direction", "", ""),
            ("Accelerating voltage", f"{microscope.beam_energy_kev or 0:g}", "kV"),
            ("Working distance", f"{microscope.working_distance_mm or 0:g}", "mm"),
            ("Tilt angle", angle(detector.sample_tilt_deg), "°"),
        ],
        "Detector angles": [
            ("Euler 1", "", "°"),
            ("Euler 2", "", "°"),
            ("Euler 3", "", "°"),
            ("Azimuthal", angle(detector.azimuth_deg), "°"),
            ("Elevation", angle(detector.tilt_deg, -1), "°"),
        ],
        "Acquisition settings": [
            ("Frame rate", "", "fps"),
            ("Resolution", f"{sx}x{sy}", "px"),
        ],
        "Area": [
            ("Top", "", "µm (px)"),
            ("Left", "", "µm (px)"),
            ("Width", "", "µm (px)"),
            ("Height", "", "µm (px)"),
            ("Step size", f"{grid.step_x_um or 0:.10g}", "µm"),
            ("Number of samples", f"{grid.n_rows}x{grid.n_columns}", "#"),
        ],
    }
    lines = []
    for name, entries in blocks.items():
        lines.append(f"[{name}]\t\t")
        lines += ["\t".join(entry) for entry in entries]
        lines.append("\t\t")
    text = "\r\n".join(lines) + "\r\n"
    path.write_bytes(text.encode("latin-1", errors="replace"))


def write_nordif_background(path: Path, job: Job) -> None:
    """The static background as 8-bit BMP."""
    from PIL import Image

    background = job.background()
    assert background is not None
    Image.fromarray(background.astype(np.uint8)).save(path, format="BMP")
