"""From up2 to up2 by the command: memory, header, and whether PyEBSDIndex indexes the result.

    python benchmarks/restore_large.py [--side 100] [--electrons 150] [--folder DIR]

Simulates scans of a quarter and of all of side x side points of 60 x 60 px, restores both with the
package's model, and indexes some patterns of the second, raw and restored, with PyEBSDIndex on the
up2 files as they are.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from memory import watched
from pyebsdindex import ebsd_index

from ebsdarchive.geometry import pc_from_bruker
from ebsdarchive.simulation.simulated import NICKEL_PC

HEADER = 16  # bytes: version, width, height, offset of the first pattern
INDEXED = 500


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=100, help="points along each axis")
    parser.add_argument("--electrons", default="150", help="per pixel")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        run(Path(name), options.side, options.electrons)


def run(folder: Path, side: int, electrons: str) -> None:
    print("| patterns | file MB | peak MiB | seconds | header equal |")
    print("|---|---|---|---|---|")
    raw, restored = folder / "raw.up2", folder / "restored.up2"
    for columns in (side // 4, side):
        shape = f"{columns},{side}"
        command = ["simulate", str(raw), "--shape", shape, "--grains", str(columns * side // 30)]
        subprocess.run(
            [sys.executable, "-m", "ebsdarchive", *command, "--electrons", electrons, "--force"],
            check=True,
        )
        taken, _, peak = watched(["restore", str(raw), "-o", str(restored), "--force"])
        size = raw.stat().st_size
        first = [np.fromfile(path, np.uint8, HEADER) for path in (raw, restored)]
        same = np.array_equal(*first) and restored.stat().st_size == size
        print(
            f"| {columns * side:,} | {size / 1e6:.1f} | {peak:.0f} | {taken:.0f} | "
            f"{'yes' if same else 'NO'} |",
            flush=True,
        )
    pc = pc_from_bruker(np.array(NICKEL_PC), "edax", (60, 60))
    print("\n| PyEBSDIndex on the up2 | mean confidence | mean fit deg |\n|---|---|---|")
    for path in (raw, restored):
        data, *_ = ebsd_index.index_pats(
            filename=str(path), npats=INDEXED, PC=pc, backgroundSub=True, useCPU=True
        )
        best = data[-1]
        print(f"| {path.stem} | {best['cm'].mean():.3f} | {best['fit'].mean():.2f} |", flush=True)


if __name__ == "__main__":
    main()
