"""Export beside `cp` of the same bytes, and beside PyEBSDIndex's writer of up2 files.

    python benchmarks/export_speed.py [--count 10000] [--rounds 5]

Patterns of the real Ni scan, 120 x 120 px of 16 bit, repeated to a square map. Each round does all
in turn, and ratios are taken within a round; their median counts. An export reads and decodes the
archive, and flushes what it writes to disk, which plain `cp` leaves to the system: that is the row
below. PyEBSDIndex gets its patterns in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from works import everything, in_memory, real_ni

import ebsdarchive
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Scan


def repeated(count: int) -> Scan:
    """`count` patterns (a square number) of the real Ni scan."""
    side = round(count**0.5)
    patterns = everything(real_ni())
    grid = Grid("square", side, side, 1.0, 1.0)
    return in_memory(patterns[np.arange(grid.size) % len(patterns)], grid, "Ni, repeated")


def flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_with_pyebsdindex(scan: Scan, patterns: np.ndarray, path: Path) -> None:
    """The header, a blank file, and the patterns in it, as PyEBSDIndex does it."""
    from pyebsdindex.ebsd_pattern import UPFile

    file = UPFile()
    file.filepath, file.version, file.filePos = path, 3, 42
    file.patternH, file.patternW = scan.detector.shape
    file.nCols, file.nRows = scan.grid.n_columns, scan.grid.n_rows
    file.nPatterns = scan.grid.size
    file.xStep = file.yStep = 1.0
    file.hexflag = file.extraPatterns = 0
    with contextlib.redirect_stdout(io.StringIO()):
        file.write_header(writeBlank=True, bitdepth=16)
        file.write_data(newpatterns=patterns, flt2int="clip", scalevalue=1.0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    scan = repeated(options.count)
    patterns = everything(scan)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archives = {profile: folder / f"{profile}.h5" for profile in ("none", "archive")}
        for profile, path in archives.items():
            ebsdarchive.compress(scan, path, profile=profile, neural=False)
        source = folder / "source.up2"
        ebsdarchive.export(archives["none"], source)
        out = folder / "out"

        def copy(flushed: bool) -> None:
            subprocess.run(["cp", source, out.with_suffix(".up2")], check=True)
            if flushed:
                flush(out.with_suffix(".up2"))

        rows: dict[str, Callable[[], object]] = {
            "cp": lambda: copy(False),
            "cp, flushed to disk": lambda: copy(True),
        }
        for profile, path in archives.items():
            for ending, key in ((".up2", "up2"), (".oh5", "edax-h5"), (".h5", "kikuchipy-h5")):
                rows[f"export, {profile} to {key}"] = lambda path=path, ending=ending, key=key: (
                    ebsdarchive.export(path, out.with_suffix(ending), format=key)
                )
        rows["PyEBSDIndex, memory to up2"] = lambda: write_with_pyebsdindex(
            scan, patterns, out.with_suffix(".up2")
        )
        taken: dict[str, list[float]] = {what: [] for what in rows}
        for _ in range(options.rounds):
            for what, work in rows.items():
                for file in folder.glob("out*"):
                    file.unlink()
                os.sync()
                begun = time.perf_counter()
                work()
                taken[what].append(time.perf_counter() - begun)
                written = out.with_suffix(".up2")
                if written.exists() and written.read_bytes() != source.read_bytes():
                    raise SystemExit(f"{what}: wrote other patterns")
        print(f"{scan.grid.size} patterns, {source.stat().st_size / 1e6:.0f} MB as up2\n")
        print("| what | MB/s | time over cp's | time over flushed cp's |\n|---|---|---|---|")
        size = scan.nbytes / 1e6
        for what, seconds in taken.items():
            over = [
                statistics.median(np.divide(seconds, taken[base]))
                for base in ("cp", "cp, flushed to disk")
            ]
            print(
                f"| {what} | {size / statistics.median(seconds):.0f} | {over[0]:.2f} | "
                f"{over[1]:.2f} |"
            )


if __name__ == "__main__":
    main()
