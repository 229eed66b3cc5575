"""Cold start: a query of one point to a picture beside importing torch, as whole processes.

    python benchmarks/cold_start.py ARCHIVE [--runs 9]

The archive needs a neural layer. The two commands run in turn, and the ratio is taken pair by pair.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("archive")
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        picture = str(Path(folder) / "p.png")
        query = [sys.executable, "-m", "ebsdarchive", "query", options.archive, "--layer", "neural"]
        query += ["--point", "1.5,1.25", "-o", picture, "--force"]
        commands = {
            "ebsdarchive query --point 1.5,1.25 -o p.png": query,
            'python -c "import torch"': [sys.executable, "-c", "import torch"],
            'python -c "import h5py, numpy"': [sys.executable, "-c", "import h5py, numpy"],
        }
        for command in commands.values():
            seconds(command)  # warm the disk
        times = [[seconds(command) for command in commands.values()] for _ in range(options.runs)]
    print("| command | median of ratios to the query | lowest | highest |")
    print("|---|---|---|---|")
    for i, name in enumerate(commands):
        ratios = [row[i] / row[0] for row in times]
        print(
            f"| `{name}` | {statistics.median(ratios):.2f} | {min(ratios):.2f} | "
            f"{max(ratios):.2f} |"
        )


if __name__ == "__main__":
    main()
