"""The paper's size: 900 x 1000 points of 120 x 120 px, 26 GB, made small at the paper's error.

    python benchmarks/large.py [--folder DIR] [--scan FILE.up2] [--shape NY,NX] [--network KIND]

Simulates W4 to an up2 file (or takes one that was), then runs `compress --drop-raw --target-mae
0.655` on it as a user does, and prints ratio, error, times and peak memory. It takes an hour or
more, with sine layers several.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import h5py
from memory import watched
from works import LARGE_TWINNED

import ebsdarchive

PAPER_PCT = 0.655
LIMIT_MIB = 4096


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--shape", default="900,1000")
    parser.add_argument("--network", default="lattice", choices=("sine", "lattice", "auto"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        scan = options.scan or Path(name) / "w4.up2"
        if not scan.exists():
            shape = tuple(map(int, options.shape.split(",")))
            ebsdarchive.simulate(scan, **{**LARGE_TWINNED, "grid_shape": shape})
        run(scan, Path(name) / "w4.h5", options.network)


def run(scan: Path, archive: Path, network: str) -> None:
    """Compress to the paper's error, and print what came out."""
    size = scan.stat().st_size
    arguments = ["compress", str(scan), "-o", str(archive), "--drop-raw"]
    arguments += ["--target-mae", str(PAPER_PCT), "--network", network]
    seconds, _, together = watched(arguments)
    layer = ebsdarchive.info(archive)["layers"]["neural"]
    with h5py.File(archive) as file:
        log = json.loads(file["archive/neural"].attrs["config"])["log"]
    trained = ", ".join(f"sine, {made['width']} wide" for made in log.get("training", []))
    lattices = ", ".join(
        f"lattice of {made['labels']:,} labels" for made in log.get("lattices", [])
    )
    spent = ", ".join(f"{stage} {took:.0f}" for stage, took in log["seconds"].items())
    print("| what | |")
    print("|---|---|")
    print(f"| patterns | {size / 1e9:.1f} GB |")
    print(f"| neural layer | {layer['stored_bytes'] / 1e6:.2f} MB, {layer['ratio']:,.0f}x |")
    print(f"| MAE | {layer['mae_percent']:.4f} % of full range, asked for {PAPER_PCT} % |")
    print(f"| rank | {layer['rank']}, by the noise floor {log['rank_rule']['rank']} |")
    print(f"| networks | {trained or lattices} |")
    print(f"| time | {seconds:.0f} s: {spent} |")
    below = "below" if together < LIMIT_MIB else "ABOVE"
    print(f"| peak memory | {together:,.0f} MiB, {below} 4 GiB |")


if __name__ == "__main__":
    main()
