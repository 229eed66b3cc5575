"""Peak memory of each command on a simulated scan that is larger than it.

    python benchmarks/memory.py [--gigabytes 8] [--folder DIR] [--time 60]

Simulates a scan of 60 x 60 px patterns (16 bit) to an up2 file, then runs the commands as a user
does and samples the resident memory of the process and all its children every 50 ms. "peak of one
process" is the operating system's own figure; "peak of all" adds the worker processes up.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

LIMIT_MIB = 2048


def watched(arguments: list[str]) -> tuple[float, float, float]:
    """Seconds, peak MiB of the largest process, and peak MiB of all processes together."""
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "ebsdarchive", *arguments])
    root = psutil.Process(process.pid)
    largest = together = 0
    while process.poll() is None:
        sizes = []
        try:
            for member in [root, *root.children(recursive=True)]:
                sizes.append(member.memory_info().rss)
        except psutil.NoSuchProcess:
            pass
        if sizes:
            largest, together = max(largest, *sizes), max(together, sum(sizes))
        time.sleep(0.05)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)}: exit code {process.returncode}")
    return time.monotonic() - begun, largest / 2**20, together / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--time", type=float, default=60.0, help="seconds to train")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        run(Path(name), options.gigabytes, options.time)


def run(folder: Path, gigabytes: float, seconds: float) -> None:
    rows = round((gigabytes * 1e9 / 7200 / 1.2) ** 0.5)
    columns = round(rows * 1.2) + 1
    scan, archive = str(folder / "scan.up2"), str(folder / "scan.archive.h5")
    fine = str(folder / "fine.up2")
    commands = [
        ["simulate", scan, "--shape", f"{columns},{rows}", "--grains", "400"],
        ["compress", scan, "-o", archive, "--time", str(seconds)],
        ["verify", archive, "--data"],
        ["query", archive, "--path", f"0,0:{columns - 1},{rows - 1}", "-o", str(folder / "p.h5")],
        ["query", archive, "--grid", "0,0:299,299", "--shape", "600,600", "-o", fine],
        ["export", archive, "-o", str(folder / "export.up2")],
        ["export", archive, "--layer", "neural", "-o", str(folder / "field.up2")],
    ]
    print(f"scan of {columns} x {rows} points, {columns * rows * 7200 / 1e9:.2f} GB\n")
    print("| command | peak of one process MiB | peak of all MiB | below 2 GiB | seconds |")
    print("|---|---|---|---|---|")
    for arguments in commands:
        taken, largest, together = watched(arguments)
        shown = " ".join(a.replace(str(folder) + "/", "") for a in arguments)
        verdict = "yes" if together < LIMIT_MIB else "NO"
        print(f"| {shown} | {largest:.0f} | {together:.0f} | {verdict} | {taken:.0f} |", flush=True)
        for made in ("fine.up2", "export.up2", "field.up2"):
            (folder / made).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
