"""The scans that benchmarks run on: real ones from the shared folder, simulated ones made here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (filters)
import numpy as np

from ebsdarchive import open_scan
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import ArrayPatterns, Detector, Scan, SourceFile
from ebsdarchive.simulation import Camera, simulate_scan

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SHOT_NOISE = Camera(electrons=1 / 0.03**2, read_noise=0.0)
# W4: the paper's size, 26 GB; noise such that the KLT's own error at the paper's rank, 512, is
# about 0.58 % of the full range, as on RX718: 0.52 % of signal that is left, 0.24 % of noise
LARGE_TWINNED = {
    "grid_shape": (900, 1000),
    "pattern_shape": (120, 120),
    "grains": 1500,
    "twin_fraction": 0.6,
    "seed": 4,
    "camera": Camera(electrons=50_000.0, read_noise=0.001),
}


def real_ni() -> Scan:
    """Real nickel superalloy, 40 x 40 points of 120 x 120 px, 16 bit, sparse levels."""
    return open_scan(SHARED / "rx718_40x40.h5")


def real_si() -> Scan:
    """Three real silicon patterns of 480 x 480 px, 8 bit."""
    with h5py.File(SHARED / "si_480.h5") as file:
        return in_memory(file["patterns"][()], Grid("square", 3, 1), "Si")


def simulated(ny: int, nx: int, sy: int, sx: int, grains: int, **options: object) -> Scan:
    """A simulated nickel scan held in memory; the same figures give the same scan."""
    return held(simulate_scan((ny, nx), (sy, sx), grains=grains, **options))  # type: ignore[arg-type]


def grains_and_truth(small: bool = False) -> tuple[Scan, Scan]:
    """W2: 300 x 300 points of 60 x 60 px, 200 grains, shot noise of 3 %; and its truth, rounded."""
    return _with_truth(small)


def grains_corner(side: int = 100) -> Scan:
    """The first `side` x `side` points of W2, noisy."""
    whole = simulate_scan((300, 300), (60, 60), grains=200, seed=2, camera=SHOT_NOISE)
    rows = [whole.patterns.read(300 * y, 300 * y + side) for y in range(side)]
    return in_memory(np.concatenate(rows), Grid("square", side, side), "corner of W2")


def deformed_and_truth(small: bool = False) -> tuple[Scan, Scan]:
    """W3: as W2, the grains deformed: cells of 8 points, 1 degree between them."""
    return _with_truth(small, cell_size=8.0, cell_spread_deg=1.0)


def _with_truth(small: bool, **options: object) -> tuple[Scan, Scan]:
    """A noisy scan and its truth; `small` is for trying things out: 60 x 60 points, 8 grains."""
    shape, grains = ((60, 60), 8) if small else ((300, 300), 200)
    noisy, truth = (
        simulate_scan(
            shape, (60, 60), grains=grains, seed=2, camera=SHOT_NOISE, clean=clean, **options
        )  # type: ignore[arg-type]
        for clean in (False, True)
    )
    return held(noisy), held(truth, np.dtype(np.uint16))


def held(scan: Scan, dtype: np.dtype | None = None) -> Scan:
    """`scan` with its patterns in memory, rounded where `dtype` is one of integers."""
    patterns = np.empty(scan.patterns.shape, dtype or scan.patterns.dtype)
    for start, stop, block in scan.blocks():
        patterns[start:stop] = np.rint(block) if block.dtype != patterns.dtype else block
    return replace(scan, patterns=ArrayPatterns(patterns))


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
