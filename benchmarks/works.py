"""The scans that benchmarks run on: real ones from the shared folder, simulated ones made here."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (filters)
import numpy as np

from ebsdarchive import open_scan
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import ArrayPatterns, Detector, Scan, SourceFile
from ebsdarchive.simulation import simulate_scan

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def real_ni() -> Scan:
    """Real nickel superalloy, 40 x 40 points of 120 x 120 px, 16 bit, sparse levels."""
    return open_scan(SHARED / "rx718_40x40.h5")


def real_si() -> Scan:
    """Three real silicon patterns of 480 x 480 px, 8 bit."""
    with h5py.File(SHARED / "si_480.h5") as file:
        return in_memory(file["patterns"][()], Grid("square", 3, 1), "Si")


def simulated(ny: int, nx: int, sy: int, sx: int, grains: int, **options: object) -> Scan:
    """A simulated nickel scan held in memory; the same figures give the same scan."""
    scan = simulate_scan((ny, nx), (sy, sx), grains=grains, **options)  # type: ignore[arg-type]
    patterns = np.concatenate([block for _, _, block in scan.blocks()])
    return Scan(
        patterns=ArrayPatterns(patterns),
        grid=scan.grid,
        detector=scan.detector,
        source=scan.source,
        phases=scan.phases,
        orientations=scan.orientations,
        static_background=scan.static_background,
    )


def in_memory(patterns: np.ndarray, grid: Grid, name: str) -> Scan:
    """A scan of an array."""
    return Scan(
        patterns=ArrayPatterns(patterns),
        grid=grid,
        detector=Detector(patterns.shape[1:]),
        source=SourceFile(None, name, "benchmarks"),
    )


def everything(scan: Scan) -> np.ndarray:
    """All patterns of a scan, (n, sy, sx)."""
    return np.concatenate([block for _, _, block in scan.blocks()])
